"""Values that tests need and don't care about the details of: plans, links, requests for deployment."""

from orchestrator.events import DeployRequested, LinkObserved, NodeRoom
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import KnownPlan, LinkRange, PlanMap
from partitioner.latency_form import Carried, LatencyForm
from partitioner.plan import ROUTER, Certificate, Crossing, Plan, Predicted, Stage

CAMERA_CLOUD = LinkEstimate(source="camera", target="cloud", bytes_per_s=12.5e6, propagation_s=0.004)
CLOUD_CAMERA = LinkEstimate(source="cloud", target="camera", bytes_per_s=12.5e6, propagation_s=0.004)


def stage(name: str, node: str, *, operators: tuple[str, ...] = (), seconds: float = 0.01) -> Stage:
    """A stage of the given operators (one named after it, if none) on a node."""
    return Stage(
        name=name,
        node=node,
        backend="onnxruntime",
        precision="float32",
        operators=operators or (f"op-{name}",),
        inputs=("x",),
        outputs=("y",),
        weights_bytes=100,
        seconds=seconds,
        measured=True,
    )


def crossing(sender: str, receiver: str, source: str, target: str, *, codec: str = "raw") -> Crossing:
    """A message of one tensor, 7 ms between nodes and 1 ms within one."""
    far = source != target
    return Crossing(
        sender=sender,
        receiver=receiver,
        source=source,
        target=target,
        tensors=("t",),
        codecs=(codec,),
        nbytes=1000,
        propagation_s=0.004 if far else 0.0,
        transfer_s=0.002 if far else 0.0,
        codec_s=0.0,
        software_s=0.001,
    )


def plan_on(*nodes: str, latency_s: float | None = None, codec: str = "raw", source: str = "camera") -> Plan:
    """A chain of one stage per node, asked from `source`; its latency is the sum of its parts unless given."""
    stages = tuple(stage(f"s{index}", node) for index, node in enumerate(nodes))
    names, places = [ROUTER, *(s.name for s in stages), ROUTER], [source, *nodes, source]
    crossings = tuple(
        crossing(names[i], names[i + 1], places[i], places[i + 1], codec=codec) for i in range(len(names) - 1)
    )
    total_s = sum(s.seconds for s in stages) + sum(c.seconds for c in crossings)
    return Plan(
        model="m" * 64,
        stages=stages,
        crossings=crossings,
        predicted=Predicted(latency_s=total_s if latency_s is None else latency_s, throughput_per_s=10.0),
        certificate=Certificate(
            status="optimal", objective="latency", cost_model="additive", lower_bound=0.05, gap=0.0, method="mincut"
        ),
        unsplit_s={"camera": 0.4, "cloud": None},
        reason="the first half is cheaper than sending the image",
    )


def deploy_requested(
    name: str = "classify", *, room: tuple[NodeRoom, ...] = (), spec: str = "d" * 64
) -> DeployRequested:
    """A wish to deploy over one link, both ways 100 Mbps and 8 ms round trip."""
    return DeployRequested(deployment=name, spec=spec, links=(CAMERA_CLOUD, CLOUD_CAMERA), room=room)


def known_plan(plan: Plan, *, fixed_s: float, nbytes: int = 0) -> KnownPlan:
    """A plan with what it takes: seconds that stay, and bytes over the link from the camera to the cloud."""
    carried = (Carried("camera", "cloud", nbytes, 1),) if nbytes else ()
    return KnownPlan(plan=plan, form=LatencyForm(fixed_s=fixed_s, carried=carried))


def plan_map_of(*plans: KnownPlan, low_mbps: float = 0.1, high_mbps: float = 1000.0) -> PlanMap:
    """A map of these plans, complete while only the goodput from the camera to the cloud moves between the two."""
    reach = LinkRange(
        source="camera", target="cloud", low_bytes_per_s=low_mbps * 1e6 / 8, high_bytes_per_s=high_mbps * 1e6 / 8
    )
    return PlanMap(plans=plans, links=(CAMERA_CLOUD, CLOUD_CAMERA), ranges=(reach,))


def uplink(mbps: float, *, rtt_s: float = 0.008) -> LinkObserved:
    """The link from the camera to the cloud, observed at this rate."""
    return LinkObserved(
        source="camera", target="cloud", bytes_per_s=mbps * 1e6 / 8, propagation_s=rtt_s / 2, samples=20
    )
