"""What the control core knows: deployments, their epochs and stages, links, lost nodes.

These are the core's own records, changed in one file (fold.py) only and by nobody else. They are written
to and read from snapshots as plain values. Lists and dicts keep their order; there are no sets.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.costs import PlanCost
from orchestrator.errors import IllegalTransition
from orchestrator.events import NodeRoom
from orchestrator.instructions import FindPlan
from orchestrator.links_seen import LinkEstimate, link_key
from orchestrator.plan_map import PlanMap
from orchestrator.rollout_terms import RolloutTerms
from orchestrator.states import Story
from orchestrator.versions import VersionRecord
from partitioner.plan import Plan
from partitioner.topology import NodeId
from policies.rollout import Tally


@dataclass(slots=True)
class StageRecord:
    """A stage of an epoch on its node. `error` says why it failed, if it did."""

    name: str
    node: NodeId
    story: Story
    load_s: float = 0.0
    error: str = ""

    @property
    def is_there(self) -> bool:
        """Whether its node may hold something of it that nobody has ordered away yet."""
        return self.story.state in ("loading", "ready")


@dataclass(slots=True)
class EpochRecord:
    """A plan brought up under a number.

    `routers` were told to use it and have not drained it; those in `waiting` have not yet said they switched.
    `standby`: it is there in case it is needed, for the spec of digest `spec`, which is that of `version`.
    """

    number: int
    plan: Plan
    reason: str
    story: Story
    stages: list[StageRecord]
    routers: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    standby: bool = False
    spec: str = ""
    version: int = 0

    def stage(self, name: str, node: NodeId) -> StageRecord:
        """The stage of that name on that node, which only tells replicas apart; IllegalTransition if there is none."""
        named = [stage for stage in self.stages if stage.name == name]
        for stage in named:
            if stage.node == node or len(named) == 1:
                return stage
        what = f"stage {name} on {node}" if named else f"stage {name}"
        raise IllegalTransition(f"epoch {self.story.name}", self.story.state, what, self.story.told())

    @property
    def deployment(self) -> str:
        """The name of the deployment that it belongs to."""
        return self.story.name.rpartition("/")[0]

    @property
    def is_ready(self) -> bool:
        """Whether every stage of it is loaded, and nothing more is awaited of its replicas."""
        settled = all(stage.story.state in ("ready", "gone") for stage in self.stages)
        return settled and self.lost_stage is None

    @property
    def lost_stage(self) -> StageRecord | None:
        """The first stage that failed or whose node was lost, on every node that ran it; None while all can answer."""
        left = {stage.name for stage in self.stages if stage.story.state != "gone"}
        return next((stage for stage in self.stages if stage.name not in left), None)


@dataclass(slots=True)
class LoadRecord:
    """What a node last told of its part in a stage: its busy share, requests a second, seconds of each, the queue."""

    stage: str
    node: NodeId
    epoch: int
    at_s: float
    utilisation: float
    arrivals_per_s: float
    service_s: float
    queued: int


@dataclass(slots=True)
class WantRecord:
    """How many replicas of a stage its load wanted at a time."""

    stage: str
    at_s: float
    replicas: int


@dataclass(slots=True)
class RouterTally:
    """What one router has counted of both versions in the trial's newest step."""

    router: str
    old: Tally
    new: Tally


@dataclass(slots=True)
class TrialRecord:
    """A version beside the one in force, from the wish to promotion or rollback.

    `rung` is the weight that it has reached, `step` grows whenever counting begins anew: with the rung, and when
    `beside`, the epoch in use that it is counted against, is another. `since_s` is when, `heard_s` the newest count.
    """

    version: int
    spec: str
    terms: RolloutTerms
    links: list[LinkEstimate]
    asked: FindPlan | None = None
    epoch: int | None = None
    beside: int | None = None
    rung: int = 0
    step: int = 0
    since_s: float = 0.0
    heard_s: float = 0.0
    tallies: list[RouterTally] = field(default_factory=list)


@dataclass(slots=True)
class DeploymentRecord:
    """A deployment. `active` is the epoch in use, `candidate` the one that is to replace it.

    `links` are the topology's first guesses, `planned_links` those the last decision was made for,
    `asked` the question that is out, put at `asked_at_s`, `look_again_s` when a second look is due. `renewal`: a
    changed spec is "wanted", "asked" for, "opened" as an epoch, or "" when none is under way; `spec_before` is what it
    replaces.
    `plan_map` was drawn at `map_ticket`, the newest question asked for it, `costs` are what its plans take by key;
    `unfit` are its plans, as `fingerprint`
    names them, that failed while they stood by, which `room` lets some do. `version` is the number of the version in
    force, or to be; `kept` the epoch of the version before it, which stays loaded for an instant rollback. `loads` and
    `wants` are what autoscaling goes by, `unfit_replicas` nodes that could not load one.
    """

    name: str
    spec: str
    story: Story
    links: list[LinkEstimate]
    planned_links: list[LinkEstimate] = field(default_factory=list)
    epochs: list[EpochRecord] = field(default_factory=list)
    routers: list[str] = field(default_factory=list)
    active: int | None = None
    candidate: int | None = None
    asked: FindPlan | None = None
    reason: str = ""
    switched_at_s: float = 0.0
    look_again_s: float | None = None
    renewal: str = ""
    spec_before: str = ""
    room: list[NodeRoom] = field(default_factory=list)
    plan_map: PlanMap | None = None
    map_ticket: int = 0
    asked_at_s: float = -1e9
    costs: dict[str, PlanCost] = field(default_factory=dict)
    unfit: list[str] = field(default_factory=list)
    versions: list[VersionRecord] = field(default_factory=list)
    version: int = 0
    version_before: int = 0
    trial: TrialRecord | None = None
    kept: int | None = None
    loads: list[LoadRecord] = field(default_factory=list)
    wants: list[WantRecord] = field(default_factory=list)
    unfit_replicas: list[str] = field(default_factory=list)

    def epoch(self, number: int | None) -> EpochRecord | None:
        """The epoch of that number while anything of it is left."""
        return next((epoch for epoch in self.epochs if epoch.number == number), None)

    @property
    def is_idle(self) -> bool:
        """Whether it runs, and nothing about it is being searched or brought up."""
        return self.story.state == "running" and self.candidate is None and self.asked is None


@dataclass(slots=True)
class Knowledge:
    """Everything. `links` holds the newest observation of each link, by "source → target"."""

    deployments: dict[str, DeploymentRecord] = field(default_factory=dict)
    links: dict[str, LinkEstimate] = field(default_factory=dict)
    lost_nodes: list[NodeId] = field(default_factory=list)
    last_ticket: int = 0
    last_epochs: dict[str, int] = field(default_factory=dict)  # deployment → highest epoch ever, also of deleted ones

    def stages_on(self, node: NodeId) -> Iterator[StageRecord]:
        """Every stage of every epoch that was placed there."""
        for deployment in self.deployments.values():
            for epoch in deployment.epochs:
                yield from (stage for stage in epoch.stages if stage.node == node)

    def links_now(self, deployment: DeploymentRecord) -> tuple[LinkEstimate, ...]:
        """The deployment's links: as observed, else as its topology guessed them."""
        return tuple(self.links.get(link_key(link), link) for link in deployment.links)
