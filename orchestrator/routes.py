"""What a router must know of one epoch to send requests into it, as plain values that travel through Ray."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from nodes.backend import TensorSpec
from nodes.emulation import ShapedLink
from orchestrator.detour import Pace
from orchestrator.replicas_routing import Crew, Routes
from orchestrator.sequence_terms import Stateful
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
    `pace` is what a request takes, None where the plan isn't mapped. `replicas` are further workers of a stage, by its
    name, and `seconds` what stages that have some are planned to take. `version` is the deployment's that it runs, 0
    where a controller of before told none.
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
    replicas: Mapping[str, tuple[Reach, ...]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    version: int = 0
    made: tuple[TensorSpec, ...] = ()  # the outputs with dtypes and shapes; none where a controller of before told none
    plan: str = ""  # its id (plan_json.plan_id); "" where a controller of before told none
    rows: int = 1  # that a request may have at the most, where inputs have free rows
    preferred: tuple[int, ...] = ()  # rows that a run had better have; these three are the spec's `batching`
    max_delay_s: float = 0.0
    queue_limit: int = 1024
    pads: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # inputs that may be shorter (padding.py)
    sequence: Stateful | None = None  # of a model that keeps state from one request to the next
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of inputs in `pads`, where there are several
    entries: tuple[tuple[str, tuple[str, ...]], ...] = ()  # who gets which inputs, if others than the first do

    def __setstate__(self, state: list[Any]) -> None:
        """As pickled by this version or one before, which told less: what it did not know stays at its default."""
        for each in fields(self)[len(state) :]:
            plain = each.default if each.default_factory is MISSING else each.default_factory()
            object.__setattr__(self, each.name, plain)
        for each, value in zip(fields(self), state, strict=False):
            object.__setattr__(self, each.name, value)

    @property
    def first(self) -> tuple[str, Reach]:
        """The stage that takes the inputs."""
        return self.stages[0]

    @property
    def reaches(self) -> tuple[Reach, ...]:
        """Every worker that the router keeps a stream to: the stages', their replicas', then the watched ones."""
        return (*self.workers, *self.watched)

    @property
    def workers(self) -> tuple[Reach, ...]:
        """Workers that hold a stage: in a request's order, then the replicas."""
        further = (reach for reaches in self.replicas.values() for reach in reaches)
        return (*(reach for _, reach in self.stages), *further)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Nodes that a request of this epoch may meet, each once."""
        return tuple(dict.fromkeys(reach.node for reach in self.workers))

    def begin(self, way: tuple[NodeId, ...]) -> Reach:
        """The worker that takes the inputs of a request that goes this way."""
        first, own = self.first
        reaches = (own, *self.replicas.get(first, ()))
        return next((reach for reach in reaches if way and reach.node == way[0]), own)

    def at(self, stage: str) -> Reach:
        """The worker that holds a stage. KeyError for a stage that this epoch doesn't have."""
        return dict(self.stages)[stage]

    def known(self) -> Routes:
        """What the routing core needs to know."""
        crews = tuple(
            Crew(
                stage=stage,
                nodes=(own.node, *(reach.node for reach in self.replicas.get(stage, ()))),
                seconds=self.seconds.get(stage, 0.0),
            )
            for stage, own in (self.stages if self.replicas else ())
        )
        return Routes(epoch=self.epoch, nodes=self.nodes, outputs=self.outputs, crews=crews)

    def as_held(self, before: "EpochRoutes | None") -> "EpochRoutes":
        """These routes, to the workers that held the stages `before`: a later worker of a node has none of them."""
        if before is None or not before.replicas:
            return self
        return replace(self, stages=before.stages, replicas=before.replicas)


def entries_of(plan: Plan) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Which stages get which inputs, if branches run side by side; none of a plan whose first stage gets all."""
    return tuple((c.receiver, c.tensors) for c in plan.crossings if c.sender == ROUTER) if plan.parallel else ()


def entry(plan: Plan) -> Crossing:
    """The message with which a request begins, of a plan whose first stage gets all inputs."""
    return next(crossing for crossing in plan.crossings if crossing.sender == ROUTER)


def onward(plan: Plan, stage: Stage) -> Crossing | None:
    """The stage's message to the next one, of a plan that is a chain; None for the last."""
    return next(iter(outgoing(plan, stage)), None)


def outgoing(plan: Plan, stage: Stage) -> tuple[Crossing, ...]:
    """The stage's messages to others: one to the next, or one to each that reads it if branches run side by side."""
    return tuple(c for c in plan.crossings if c.sender == stage.name and c.receiver != ROUTER)


def incoming(plan: Plan, stage: Stage) -> tuple[Crossing, ...]:
    """The messages that the stage begins with."""
    return tuple(c for c in plan.crossings if c.receiver == stage.name)


def returned(plan: Plan, stage: Stage) -> Crossing | None:
    """The stage's answer to the router; None if it makes no model output."""
    return next((c for c in plan.crossings if c.sender == stage.name and c.receiver == ROUTER), None)
