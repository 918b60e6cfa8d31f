"""Everything the control core can be told, as values. It is told facts; it never goes and looks."""

from dataclasses import dataclass

from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import PlanMap
from orchestrator.rollout_terms import RolloutTerms
from partitioner.plan import Plan
from partitioner.topology import NodeId
from policies.rollout import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """A node's memory, None if its topology doesn't tell, and what of it may hold weights that only stand by.

    Its stages may run on `most_replicas` nodes at once: on itself and on `sharers`, each named with an engine.
    """

    node: NodeId
    standby_bytes: int
    memory_bytes: int | None = None
    most_replicas: int = 1
    sharers: tuple[tuple[str, NodeId], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequested:
    """A deployment is wanted. `spec` is the digest of its spec, `links` its topology's first guesses.

    Observations already made of a link go before its first guess. `room` is what epochs that stand by may take.
    """

    deployment: str
    spec: str
    links: tuple[LinkEstimate, ...] = ()
    room: tuple[NodeRoom, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRequested:
    """A new version of a running deployment is wanted beside it, to be promoted or rolled back by these terms."""

    deployment: str
    spec: str
    terms: RolloutTerms
    links: tuple[LinkEstimate, ...] = ()
    room: tuple[NodeRoom, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialObserved:
    """What a router has counted of both versions since it heard of `step` of the trial in that epoch."""

    deployment: str
    router: str
    epoch: int
    step: int
    old: Tally
    new: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequested:
    """The version on trial is to take over, whatever was counted of it so far."""

    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequested:
    """The trial is to end, or, without one, this version to come back: by default the one that ran before."""

    deployment: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFound:
    """The answer to FindPlan `ticket`. `current`: the running plan's price by the objective, under the same links.

    None where nothing runs yet, or what runs cannot be evaluated any more.
    """

    deployment: str
    ticket: int
    plan: Plan
    current: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNotFound:
    """FindPlan `ticket` has no answer: infeasible (the constraint that binds) or the search failed."""

    deployment: str
    ticket: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlansMapped:
    """Every plan worth knowing under the links, and without the nodes, that FindPlan `ticket` was about."""

    deployment: str
    ticket: int
    plan_map: PlanMap


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReady:
    """A node has loaded a stage and can run it."""

    deployment: str
    epoch: int
    stage: str
    node: NodeId
    load_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFailed:
    """A stage could not be loaded, or was lost after it was ready while its node lives."""

    deployment: str
    epoch: int
    stage: str
    node: NodeId
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLoad:
    """What a stage did on a node in the last `interval_s`, a second or more: told of deployments that may scale.

    `busy_s` was spent on the `served`, batches counted once; `arrived` came in and `queued` wait at the end.
    """

    deployment: str
    epoch: int
    stage: str
    node: NodeId
    interval_s: float
    busy_s: float
    served: int
    arrived: int
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStopped:
    """A stage is gone from its node."""

    deployment: str
    epoch: int
    stage: str
    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterJoined:
    """A router serves a deployment from now on; told again when it reconnects."""

    deployment: str
    router: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterLeft:
    """A router is gone, with whatever it had in flight."""

    deployment: str
    router: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSwitched:
    """A router sends its new requests to this epoch."""

    deployment: str
    router: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDrained:
    """A router has no request left in this epoch and will send none."""

    deployment: str
    router: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkObserved:
    """A link as measured from `samples` transfers; the newest word on it. `std`: of the goodput, relative."""

    source: NodeId
    target: NodeId
    bytes_per_s: float
    propagation_s: float
    samples: int = 1
    std: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLost:
    """A node's worker died or cannot be reached; what it had loaded counts as gone."""

    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined:
    """A node that was lost can be used again; it has nothing loaded."""

    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReplaced:
    """A node has another worker beside the old one, on which these deployments are to have nothing left.

    What is in use goes on where it is, until it has been loaded anew; what only stood by counts as gone.
    """

    node: NodeId
    deployments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRequested:
    """A deployment is to end: drained, then dropped."""

    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed; due second looks are taken. About one a second will do."""


Event = (
    DeployRequested | PlanFound | PlanNotFound | PlansMapped | StageReady | StageFailed | StageStopped
    | RouterJoined | RouterLeft | RouterSwitched | EpochDrained | LinkObserved | NodeLost | NodeJoined
    | WorkerReplaced | DeleteRequested | Tick | RolloutRequested | TrialObserved | PromoteRequested | RollbackRequested
    | StageLoad
)  # fmt: skip

EVENTS: dict[str, type] = {kind.__name__: kind for kind in Event.__args__}
