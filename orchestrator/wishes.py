"""What the control core is told of a blueprint: first guesses of its links, and the room for what stands by."""

from orchestrator.events import NodeRoom
from orchestrator.links_seen import LinkEstimate
from orchestrator.spec import DeploymentSpec, sharers_of


def guessed_links(spec: DeploymentSpec) -> tuple[LinkEstimate, ...]:
    """The links as the spec's topology has them."""
    return tuple(
        LinkEstimate(
            source=link.source, target=link.target, bytes_per_s=link.bytes_per_s, propagation_s=link.propagation_s
        )
        for link in spec.topology.links
    )


def room_of(spec: DeploymentSpec) -> tuple[NodeRoom, ...]:
    """What each node has room for, and who may share its stages; none where nothing may stand by or scale."""
    scales = spec.most_replicas > 1 and spec.objective != "throughput"  # for that the plan itself has its replicas
    pinned = [node for _, node in spec.pinned]
    return tuple(
        NodeRoom(
            node=node.name,
            standby_bytes=spec.standby_bytes,
            memory_bytes=node.memory_bytes,
            most_replicas=spec.most_replicas if scales else 1,
            sharers=sharers_of(spec.topology, spec.source, node.name, pinned) if scales else (),
        )
        for node in (spec.topology.nodes if spec.standby_bytes or scales else ())
    )
