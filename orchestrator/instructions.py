"""Everything the control core can want done, as values. A shell carries them out in the order given."""

from dataclasses import dataclass

from orchestrator.links_seen import LinkEstimate
from partitioner.plan import Plan
from partitioner.topology import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class FindPlan:
    """Search under these links without these nodes; answer with PlanFound or PlanNotFound and the ticket.

    A newer ticket of the same deployment replaces an older one, whose search may be given up. `version` is the one on
    trial that it is for, 0 for the version in force.
    """

    deployment: str
    ticket: int
    links: tuple[LinkEstimate, ...]
    excluded: tuple[NodeId, ...] = ()
    reason: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEpoch:
    """A plan is to be brought up under this number; LoadStage for each of its stages follows.

    `standby`: it is not to replace what runs, only to be ready. `links` are those it was looked up for, where the
    plan answers no FindPlan; a second look is due at `look_again_s`, if given. `version` is the one on trial that it
    is for, 0 for the version in force.
    """

    deployment: str
    epoch: int
    plan: Plan
    reason: str
    standby: bool = False
    links: tuple[LinkEstimate, ...] = ()
    look_again_s: float | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """The epoch that is being loaded to stand by is to replace what runs as soon as it can. Nothing to do."""

    deployment: str
    epoch: int
    reason: str
    links: tuple[LinkEstimate, ...] = ()
    look_again_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandBy:
    """The epoch stays loaded, unused. These routers may send to it by themselves while the one they use fails."""

    deployment: str
    epoch: int
    routers: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStage:
    """Load stage `index` of the epoch's plan on its node; answer with StageReady or StageFailed."""

    deployment: str
    epoch: int
    stage: str
    node: NodeId
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRouters:
    """Tell these routers to send new requests to this epoch; each answers with RouterSwitched.

    `links` and `look_again_s` as in OpenEpoch, where an epoch that stood by is taken up.
    """

    deployment: str
    epoch: int
    routers: tuple[str, ...]
    reason: str = ""
    links: tuple[LinkEstimate, ...] = ()
    look_again_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTraffic:
    """Tell these routers to let part `weight` of the requests concern this epoch, beside the one they use.

    How is told by `mode`, as in RolloutTerms; they count what becomes of them anew with each `step`.
    """

    deployment: str
    epoch: int
    routers: tuple[str, ...]
    version: int
    mode: str
    weight: float
    step: int
    beside: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTrial:
    """The version on trial is rolled back: routers leave it, then it is dropped."""

    deployment: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeVersion:
    """The deployment is this version from now on; SwitchRouters follows, unless `to_load`: it is yet to be brought up.

    `ends` says what becomes of the version that it replaces.
    """

    deployment: str
    version: int
    spec: str
    reason: str
    to_load: bool = False
    ends: str = "replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEpoch:
    """Tell these routers that the epoch gets no new request; each answers with EpochDrained when it has none left."""

    deployment: str
    epoch: int
    routers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropStage:
    """Unload a stage, or stop loading it; answer with StageStopped."""

    deployment: str
    epoch: int
    stage: str
    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepEpoch:
    """The running epoch stays, for this reason; a second look is due at `look_again_s`, if given. Nothing to do.

    `links` are those that this was looked up for, where it answers no FindPlan.
    """

    deployment: str
    reason: str
    look_again_s: float | None = None
    links: tuple[LinkEstimate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A wish cannot be granted; what runs is left as it is. To be told to whoever asked.

    `keeps_spec`: the wish was a changed spec, and the one before it holds again.
    """

    deployment: str
    error: str
    keeps_spec: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The deployment could not be brought up; all that was loaded is being dropped. To be told to whoever waits."""

    deployment: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """The deployment is gone from every node."""

    deployment: str


Instruction = (
    FindPlan | OpenEpoch | Promote | StandBy | LoadStage | SwitchRouters | DrainEpoch | DropStage | KeepEpoch | Refuse
    | Fail | Deleted | SplitTraffic | EndTrial | TakeVersion
)  # fmt: skip

INSTRUCTIONS: dict[str, type] = {kind.__name__: kind for kind in Instruction.__args__}
