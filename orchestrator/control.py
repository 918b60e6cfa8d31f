"""The control core: events in, instructions out. It decides; a shell performs.

Sans-IO: no Ray, no gRPC, no clock, no randomness, no solver. `handle` first takes the event into its
knowledge (fold.py), then decides by rules on what is known. Every instruction is committed to the
knowledge before the next rule looks, so a rule may build on what the one before it gave.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from math import inf

from orchestrator.events import (
    DeployRequested,
    Event,
    LinkEstimate,
    NodeJoined,
    PlanFound,
    PlanNotFound,
    RouterJoined,
    Tick,
)
from orchestrator.fold import commit, observe
from orchestrator.instructions import (
    Deleted,
    DrainEpoch,
    DropStage,
    Fail,
    FindPlan,
    Instruction,
    KeepEpoch,
    LoadStage,
    OpenEpoch,
    Refuse,
    SwitchRouters,
)
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, link_key
from orchestrator.outstanding import outstanding
from orchestrator.plain import Plain, read_as, to_plain
from orchestrator.status import status
from partitioner.figures import score
from partitioner.plan import Plan, told
from policies.rebalance import Switch, hysteresis

DRIFT = 0.25  # a link this much faster or slower than the one planned for asks for a new plan
DRIFT_FLOOR_S = 0.0005  # propagation that moved by less than this is noise, however short the link
RETRY_S = 2.0  # between attempts to replace an epoch that has lost a stage


class Control:
    """All deployments of one cluster. Deterministic: the same events at the same times give the same instructions.

    `min_gain` is the part of today's latency a new plan must save, `min_dwell_s` the least time between
    two switches, `drift` the relative change of a link that asks for a new plan.
    """

    def __init__(
        self,
        *,
        min_gain: float = 0.15,
        min_dwell_s: float = 5.0,
        drift: float = DRIFT,
        knowledge: Knowledge | None = None,
    ) -> None:
        self._min_gain = min_gain
        self._min_dwell_s = min_dwell_s
        self._drift = drift
        self._known = knowledge or Knowledge()

    def handle(self, event: Event, now_s: float) -> tuple[Instruction, ...]:
        """What to do about it, in this order. `now_s` is any clock that never runs back.

        Raises UnknownDeployment or IllegalTransition, with the knowledge unchanged.
        """
        observe(self._known, event, now_s)
        given = []
        for instruction in self._decide(event, now_s):
            commit(self._known, instruction, now_s)
            given.append(instruction)
        return tuple(given)

    def fold(self, event: Event, instructions: Iterable[Instruction], now_s: float) -> None:
        """Take in what was once handled, deciding nothing: the instructions are those on record."""
        observe(self._known, event, now_s)
        for instruction in instructions:
            commit(self._known, instruction, now_s)

    def status(self) -> Plain:
        """Deployments, epochs, stages, links, lost nodes and the reason of the last decision, as plain values."""
        return status(self._known)

    def outstanding(self) -> tuple[Instruction, ...]:
        """The instructions whose answer is still awaited: what a shell does again after a restart."""
        return tuple(outstanding(self._known))

    def snapshot(self) -> Plain:
        """All that is known, as plain values for `restored`."""
        return to_plain(self._known)

    def restored(self, snapshot: Plain) -> "Control":
        """A core with this one's parameters and what the snapshot knows."""
        knowledge: Knowledge = read_as(Knowledge, snapshot)
        return Control(min_gain=self._min_gain, min_dwell_s=self._min_dwell_s, drift=self._drift, knowledge=knowledge)

    def _decide(self, event: Event, now_s: float) -> Iterator[Instruction]:
        name: str | None = getattr(event, "deployment", None)
        deployment = self._known.deployments.get(name) if name is not None else None
        if deployment is not None:
            yield from self._answer(deployment, event, now_s)
        for each in list(self._known.deployments.values()):
            if isinstance(event, Tick) and each.look_again_s is not None and each.look_again_s <= now_s:
                yield from self._ask(each, "a second look was due")
            if isinstance(event, NodeJoined) and each.is_idle:
                yield from self._ask(each, f"node {event.node} is back")
            yield from self._go_on(each, now_s)

    def _answer(self, deployment: DeploymentRecord, event: Event, now_s: float) -> Iterator[Instruction]:
        """What this event asks for by itself."""
        match event:
            case DeployRequested() if deployment.story.state == "planning" and deployment.asked is None:
                yield from self._ask(deployment, "deploy was asked")
            case DeployRequested() if deployment.renewal == "wanted" and deployment.spec == event.spec:
                pass  # asked for as soon as nothing else is under way, by _go_on
            case DeployRequested():
                state = "changing" if deployment.renewal else deployment.story.state
                error = f"deployment {deployment.name!r} is {state}; wait for that to end, or take another name"
                yield Refuse(deployment=deployment.name, error=error)
            case PlanFound() if deployment.asked is not None and deployment.asked.ticket == event.ticket:
                yield from self._choose(deployment, event, now_s)
            case PlanNotFound() if deployment.asked is not None and deployment.asked.ticket == event.ticket:
                yield from self._stay(deployment, event.reason, now_s)
            case RouterJoined():
                yield from _welcome(deployment, event.router)
            case _:
                pass

    def _go_on(self, deployment: DeploymentRecord, now_s: float) -> Iterator[Instruction]:
        """The rules, each on what is known by now: bring up, switch, drain, drop, look again."""
        candidate = deployment.epoch(deployment.candidate)
        if deployment.story.state == "deleting":
            yield from _let_go(deployment)
        elif candidate is not None and candidate.story.state == "loading":
            if candidate.lost_stage is not None:
                yield from self._give_up(deployment, candidate, now_s)
            elif all(stage.story.state == "ready" for stage in candidate.stages):
                routers = tuple(deployment.routers)
                reason = candidate.reason
                yield SwitchRouters(deployment=deployment.name, epoch=candidate.number, routers=routers, reason=reason)
        for epoch in list(deployment.epochs):
            if epoch.story.state == "active" and epoch.number != deployment.active:
                yield _drain(deployment, epoch)
            if epoch.story.state == "dropping" or (epoch.story.state == "draining" and not epoch.routers):
                yield from _drop(deployment, epoch)
        if deployment.story.state == "deleting" and not deployment.epochs:
            yield Deleted(deployment=deployment.name)
        elif deployment.renewal == "wanted" and deployment.is_idle:
            yield from self._ask(deployment, "a changed spec was deployed")
        else:
            yield from self._reconsider(deployment)

    def _reconsider(self, deployment: DeploymentRecord) -> Iterator[Instruction]:
        """Ask for a plan where a node was lost, a stage is gone or a link has drifted."""
        active = deployment.epoch(deployment.active)
        asked = deployment.asked
        if asked is not None and asked.excluded != tuple(self._known.lost_nodes):
            yield from self._ask(deployment, "the nodes have changed since it was asked")
        elif deployment.is_idle and active is not None:
            gone = active.lost_stage
            drifted = self._drifted(deployment)
            if gone is not None and deployment.look_again_s is None:
                yield from self._ask(deployment, f"stage {gone.name} on {gone.node} is gone: {gone.error or 'lost'}")
            elif drifted is not None:
                yield from self._ask(deployment, drifted)

    def _ask(self, deployment: DeploymentRecord, reason: str) -> Iterator[Instruction]:
        yield FindPlan(
            deployment=deployment.name,
            ticket=self._known.last_ticket + 1,
            links=self._known.links_now(deployment),
            excluded=tuple(self._known.lost_nodes),
            reason=reason,
        )

    def _choose(self, deployment: DeploymentRecord, found: PlanFound, now_s: float) -> Iterator[Instruction]:
        """Bring the found plan up, or keep what runs."""
        active = deployment.epoch(deployment.active)
        if deployment.renewal == "wanted":
            yield KeepEpoch(deployment=deployment.name, reason="a changed spec waits to be planned")
        elif active is None or active.lost_stage is not None or deployment.renewal:
            asked = deployment.asked
            yield from self._open(deployment, found.plan, asked.reason if asked is not None else "")
        elif same_work(active.plan, found.plan):
            yield KeepEpoch(deployment=deployment.name, reason="what runs is still the best plan")
        elif found.current is None:
            yield from self._open(deployment, found.plan, "what runs cannot be evaluated any more")
        else:
            yield from self._weigh(deployment, found.plan, found.current, now_s)

    def _weigh(self, deployment: DeploymentRecord, plan: Plan, current: float, now_s: float) -> Iterator[Instruction]:
        """Switch if it gains enough and the last switch is long past; if only that is in the way, look again then."""
        objective = "latency" if plan.certificate is None else plan.certificate.objective
        best = score(plan.predicted, objective) or 0.0
        figures = f"{told(best, objective)} against {told(current, objective)} under today's links"
        rule = partial(hysteresis, current=current, best=best, min_gain=self._min_gain, min_dwell_s=self._min_dwell_s)
        decision = rule(switched_s_ago=now_s - deployment.switched_at_s)
        if isinstance(decision, Switch):
            yield from self._open(deployment, plan, f"a better plan: {figures}")
        else:
            is_too_soon = isinstance(rule(switched_s_ago=inf), Switch)
            due_s = deployment.switched_at_s + self._min_dwell_s if is_too_soon else None
            yield KeepEpoch(deployment=deployment.name, reason=f"{decision.reason}: {figures}", look_again_s=due_s)

    def _open(self, deployment: DeploymentRecord, plan: Plan, reason: str) -> Iterator[Instruction]:
        name, epoch = deployment.name, self._known.last_epochs[deployment.name] + 1
        yield OpenEpoch(deployment=name, epoch=epoch, plan=plan, reason=reason)
        for index, stage in enumerate(plan.stages):
            yield LoadStage(deployment=name, epoch=epoch, stage=stage.name, node=stage.node, index=index)

    def _give_up(self, deployment: DeploymentRecord, epoch: EpochRecord, now_s: float) -> Iterator[Instruction]:
        """Drop what was being brought up; plan again if a node was lost, else stay with what runs, or fail."""
        failed = next((stage for stage in epoch.stages if stage.error), None)
        yield from _drop(deployment, epoch)
        if failed is None:
            yield from self._ask(deployment, "a node was lost while its stage was being loaded")
        else:
            yield from self._stay(deployment, f"stage {failed.name} on {failed.node}: {failed.error}", now_s)

    def _stay(self, deployment: DeploymentRecord, error: str, now_s: float) -> Iterator[Instruction]:
        active = deployment.epoch(deployment.active)
        if active is None:
            yield Fail(deployment=deployment.name, error=error)
            return
        if deployment.renewal in ("asked", "opened"):
            yield Refuse(deployment=deployment.name, error=error, keeps_spec=True)
        again_s = now_s + RETRY_S if active.lost_stage is not None else None
        yield KeepEpoch(deployment=deployment.name, reason=f"no new plan: {error}", look_again_s=again_s)

    def _drifted(self, deployment: DeploymentRecord) -> str | None:
        """How the first drifted link has changed since the last decision, or None."""
        now = self._known.links_now(deployment)
        for before, after in zip(deployment.planned_links, now, strict=True):
            if changed_by_more_than(self._drift, before, after):
                rates = f"{before.bytes_per_s * 8e-6:.3g} to {after.bytes_per_s * 8e-6:.3g} Mbps"
                delays = f"{before.propagation_s * 2e3:.3g} to {after.propagation_s * 2e3:.3g} ms round trip"
                return f"link {link_key(after)} went from {rates}, {delays}"
        return None


def changed_by_more_than(drift: float, before: LinkEstimate, after: LinkEstimate) -> bool:
    """Whether goodput or propagation moved by more than the part `drift` of what it was, up or down."""
    rates = sorted((before.bytes_per_s, after.bytes_per_s))
    moved_s = abs(after.propagation_s - before.propagation_s)
    return rates[1] > rates[0] * (1 + drift) or moved_s > max(drift * before.propagation_s, DRIFT_FLOOR_S)


def same_work(one: Plan, other: Plan) -> bool:
    """Whether both put the same operators on the same engines and send the same tensors in the same codecs."""
    return _work(one) == _work(other)


def _work(plan: Plan) -> tuple[object, ...]:
    stages = tuple((stage.node, stage.backend, stage.precision, stage.operators) for stage in plan.stages)
    return stages, tuple((crossing.tensors, crossing.codecs) for crossing in plan.crossings)


def _welcome(deployment: DeploymentRecord, router: str) -> Iterator[Instruction]:
    """Tell a router that joined, perhaps not for the first time, where things stand.

    It is not sent to an epoch that has lost a stage: its requests wait for the one to come.
    """
    newest = deployment.epoch(deployment.candidate)
    if newest is None or newest.story.state != "switching":
        newest = deployment.epoch(deployment.active)
    if newest is not None and (newest.lost_stage is None or router in newest.waiting):
        yield SwitchRouters(deployment=deployment.name, epoch=newest.number, routers=(router,), reason=newest.reason)
    for epoch in deployment.epochs:
        if epoch.story.state == "draining" and router in epoch.routers:
            yield DrainEpoch(deployment=deployment.name, epoch=epoch.number, routers=(router,))


def _let_go(deployment: DeploymentRecord) -> Iterator[Instruction]:
    """Drain whatever is in use and drop whatever is being brought up."""
    for epoch in list(deployment.epochs):
        if epoch.story.state in ("active", "switching"):
            yield _drain(deployment, epoch)
        elif epoch.story.state == "loading":
            yield from _drop(deployment, epoch)


def _drain(deployment: DeploymentRecord, epoch: EpochRecord) -> Instruction:
    return DrainEpoch(deployment=deployment.name, epoch=epoch.number, routers=tuple(epoch.routers))


def _drop(deployment: DeploymentRecord, epoch: EpochRecord) -> Iterator[Instruction]:
    for stage in epoch.stages:
        if stage.is_there:
            yield DropStage(deployment=deployment.name, epoch=epoch.number, stage=stage.name, node=stage.node)
