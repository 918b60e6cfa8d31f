"""What the control core is told of a blueprint: first guesses of its links, and the room for what stands by."""

from orchestrator.events import NodeRoom
from orchestrator.links_seen import LinkEstimate
from orchestrator.spec import DeploymentSpec


def guessed_links(spec: DeploymentSpec) -> tuple[LinkEstimate, ...]:
    """The links as the spec's topology has them."""
    return tuple(
        LinkEstimate(
            source=link.source, target=link.target, bytes_per_s=link.bytes_per_s, propagation_s=link.propagation_s
        )
        for link in spec.topology.links
    )


def room_of(spec: DeploymentSpec) -> tuple[NodeRoom, ...]:
    """What each node has room for; none where nothing may stand by."""
    return tuple(
        NodeRoom(node=node.name, standby_bytes=spec.standby_bytes, memory_bytes=node.memory_bytes)
        for node in (spec.topology.nodes if spec.standby_bytes else ())
    )
