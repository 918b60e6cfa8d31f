"""What a router must know of one epoch to send requests into it, as plain values that travel through Ray."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nodes.backend import TensorSpec
from nodes.emulation import ShapedLink
from orchestrator.detour import Pace
from partitioner.plan import ROUTER, Crossing, Plan, Stage
from partitioner.topology import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How to reach a node's worker."""

    node: NodeId
    address: str
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRoutes:
    """One epoch's stages in order with the addresses of their workers, and what goes in and comes out.

    `shaped` and `paths` are the emulated links of a one-machine deployment; empty on real machines.
    `pace` is what a request takes, None where the plan isn't mapped.
    """

    deployment: str
    epoch: int
    source: NodeId
    stages: tuple[tuple[str, Reach], ...]
    inputs: tuple[TensorSpec, ...]
    codecs: Mapping[str, str]
    outputs: tuple[str, ...]
    watched: tuple[Reach, ...] = ()  # nodes that nothing is sent to, kept in sight so that a better link is noticed
    shaped: tuple[ShapedLink, ...] = ()
    paths: Mapping[tuple[NodeId, NodeId], tuple[tuple[NodeId, NodeId], ...]] = field(default_factory=dict)
    pace: Pace | None = None

    @property
    def first(self) -> tuple[str, Reach]:
        """The stage that takes the inputs."""
        return self.stages[0]

    @property
    def reaches(self) -> tuple[Reach, ...]:
        """Every worker that the router keeps a stream to: the stages', then the watched ones."""
        return (*(reach for _, reach in self.stages), *self.watched)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Nodes that a request of this epoch meets, each once."""
        return tuple(dict.fromkeys(reach.node for _, reach in self.stages))


def entry(plan: Plan) -> Crossing:
    """The message with which a request begins."""
    return next(crossing for crossing in plan.crossings if crossing.sender == ROUTER)


def onward(plan: Plan, stage: Stage) -> Crossing | None:
    """The stage's message to the next one; None for the last."""
    return next((c for c in plan.crossings if c.sender == stage.name and c.receiver != ROUTER), None)


def returned(plan: Plan, stage: Stage) -> Crossing | None:
    """The stage's answer to the router; None if it makes no model output."""
    return next((c for c in plan.crossings if c.sender == stage.name and c.receiver == ROUTER), None)
