"""What a request of an epoch does, step by step: runs on machines, and messages between them. Compiled from a plan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.replicas_routing import Crew, Routes
from orchestrator.routes import entry, onward, returned
from partitioner.plan import Crossing, Plan
from partitioner.topology import NodeId


@dataclass(frozen=True, slots=True)
class Run:
    """A stage on one of its machines: `place` is its number among the plan's stages; seconds on other ones if any."""

    stage: str
    node: NodeId
    seconds: float
    place: int
    elsewhere_s: Mapping[NodeId, float] = field(default_factory=dict)

    def seconds_on(self, node: NodeId) -> float:
        """What a run takes on this replica."""
        return self.seconds if node == self.node else self.elsewhere_s[node]


@dataclass(frozen=True, slots=True)
class Message:
    """Bits from one machine to another; `fixed_s`: coding and software at both ends, whatever the link."""

    source: NodeId
    target: NodeId
    bits: float
    fixed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a pipeline's runs take beside what is planned: batches by machine, seconds of each size; and by chance.

    `stretch` draws what a stage's seconds are multiplied by; None for always 1. `work_s`: seconds that these operators
    take on a node, by which replicas differ.
    """

    curves: Mapping[NodeId, Mapping[int, float]] = field(default_factory=dict)
    stretch: Callable[[], float] | None = None
    work_s: Callable[[tuple[str, ...], NodeId], float] = lambda operators, node: 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An epoch's steps in a request's order; `number` is the epoch's, unique among all deployments.

    `starts_here`: something of it runs on the user's own device.
    """

    number: int
    steps: tuple[Run | Message, ...]
    routes: Routes
    sent_bytes: int
    starts_here: bool
    service: Service = Service()


def way_of(plan: Plan, number: int, outputs: tuple[str, ...], service: Service) -> Way:
    """The steps of a plan whose stages run one after the other."""
    steps: list[Run | Message] = [_message(entry(plan))]
    for place, stage in enumerate(plan.stages):
        own_s = service.work_s(stage.operators, stage.node)
        others_s = {one: stage.seconds * service.work_s(stage.operators, one) / own_s for one in stage.replicas}
        steps.append(Run(stage.name, stage.node, stage.seconds, place, others_s))
        for crossing in (onward(plan, stage), returned(plan, stage)):
            if crossing is not None:
                steps.append(_message(crossing))
    nodes = tuple(dict.fromkeys(node for stage in plan.stages for node in (stage.node, *stage.replicas)))
    has_replicas = any(stage.replicas for stage in plan.stages)
    crews = tuple(
        Crew(stage=stage.name, nodes=(stage.node, *stage.replicas), seconds=stage.seconds)
        for stage in (plan.stages if has_replicas else ())
    )
    sent = sum(step.bits for step in steps if isinstance(step, Message) and step.source != step.target)
    return Way(
        number=number,
        steps=tuple(steps),
        routes=Routes(epoch=number, nodes=nodes, outputs=outputs, crews=crews),
        sent_bytes=round(sent / 8),
        starts_here=any(stage.node == entry(plan).source for stage in plan.stages),
        service=service,
    )


def _message(crossing: Crossing) -> Message:
    return Message(crossing.source, crossing.target, crossing.nbytes * 8.0, crossing.codec_s + crossing.software_s)
