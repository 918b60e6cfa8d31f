"""The control core: events in, instructions out. It decides; a shell performs.

Sans-IO: no Ray, no gRPC, no clock, no randomness, no solver. `handle` first takes the event into its
knowledge (fold.py), then decides by rules on what is known. Every instruction is committed to the
knowledge before the next rule looks, so a rule may build on what the one before it gave.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import inf

from orchestrator.autoscaling import crewed, rescaled
from orchestrator.choosing import choose
from orchestrator.detour import Pace
from orchestrator.events import (
    DeployRequested,
    Event,
    NodeJoined,
    PlanFound,
    PlanNotFound,
    RouterJoined,
    Tick,
    WorkerReplaced,
)
from orchestrator.fold import commit, observe
from orchestrator.instructions import (
    Deleted,
    Fail,
    FindPlan,
    Instruction,
    KeepEpoch,
    Promote,
    Refuse,
)
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, StageRecord
from orchestrator.links_seen import LinkEstimate, changed_by_more_than, told_change
from orchestrator.orders import bring_up, drain, drop, let_go, renew, serves, stand_by, switch, welcome
from orchestrator.outstanding import outstanding
from orchestrator.plain import Plain, read_as, to_plain
from orchestrator.plan_map import PlanMap, Rates, fingerprint, rates_of
from orchestrator.replicas import alike, same_crews
from orchestrator.replicas_mending import mended_by, why_ask
from orchestrator.rollouts import answer_rollout, go_on_with_trial, welcome_to_trial
from orchestrator.standby import is_affordable, standbys
from orchestrator.status import status
from partitioner.figures import score
from partitioner.plan import Plan, told
from policies.rebalance import SPACING_S, Keep, Rule, Switch, hysteresis, rebalance

MATTERS = 0.1  # of what a known plan takes: links that move them by less ask for no search
DRIFT = 0.25  # a link this much faster or slower than the one planned for asks for a new plan
RETRY_S = 2.0  # between attempts to replace an epoch that has lost a stage


class Control:
    """All deployments of one cluster. Deterministic: the same events at the same times give the same instructions.

    `min_gain` is the part of today's latency a new plan must save, `min_dwell_s` the least time between
    two switches, `drift` the relative change of a link that asks for a new plan. `rule` judges known plans.
    """

    def __init__(
        self,
        *,
        min_gain: float = 0.15,
        min_dwell_s: float = SPACING_S,
        drift: float = DRIFT,
        rule: Rule = rebalance,
        knowledge: Knowledge | None = None,
    ) -> None:
        self._min_gain = min_gain
        self._min_dwell_s = min_dwell_s
        self._drift = drift
        self._rule = rule
        self._known = knowledge or Knowledge()
        self._wishes: dict[str, tuple[PlanMap | None, object, tuple[Plan, ...]]] = {}

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

    def pace(self, name: str, epoch: int | None) -> Pace | None:
        """What a request of this epoch takes, for routers; None where its plan isn't mapped."""
        deployment = self._known.deployments[name]
        record = deployment.epoch(epoch)
        if record is None or deployment.plan_map is None or (known := deployment.plan_map.of(record.plan)) is None:
            return None
        stage_s = max(stage.seconds for stage in known.plan.stages)
        return Pace(form=known.form, stage_s=stage_s, links=self._known.links_now(deployment))

    def latency_s(self, name: str, epoch: int | None) -> float | None:
        """What a request of this epoch takes alone under today's links; None where its plan isn't mapped."""
        pace = self.pace(name, epoch)
        return None if pace is None else pace.form.seconds(rates_of(pace.links))

    def deployments(self) -> Mapping[str, DeploymentRecord]:
        """The records of all deployments, to read."""
        return self._known.deployments

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
        own = {"min_gain": self._min_gain, "min_dwell_s": self._min_dwell_s, "drift": self._drift}
        return Control(**own, rule=self._rule, knowledge=knowledge)

    def _decide(self, event: Event, now_s: float) -> Iterator[Instruction]:
        name: str | None = getattr(event, "deployment", None)
        deployment = self._known.deployments.get(name) if name is not None else None
        if deployment is not None:
            yield from self._answer(deployment, event, now_s)
        for each in list(self._known.deployments.values()):
            is_due = each.look_again_s is not None and each.look_again_s <= now_s
            if isinstance(event, Tick) and is_due and each.is_idle:
                yield from self._ask(each, "a second look was due")
            if isinstance(event, NodeJoined) and each.is_idle:
                yield from self._ask(each, f"node {event.node} is back")
            if isinstance(event, WorkerReplaced) and each.is_idle and each.name in event.deployments:
                yield from renew(self._known, each, event.node)
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
                state = "trying a new version (isthmus rollback ends that)" if deployment.trial is not None else state
                error = f"deployment {deployment.name!r} is {state}; wait for that to end, or take another name"
                yield Refuse(deployment=deployment.name, error=error)
            case PlanFound() if deployment.asked is not None and deployment.asked.ticket == event.ticket:
                yield from self._choose(deployment, event, now_s)
            case PlanNotFound() if deployment.asked is not None and deployment.asked.ticket == event.ticket:
                yield from self._stay(deployment, event.reason, now_s)
            case RouterJoined():
                yield from welcome(deployment, event.router)
                yield from welcome_to_trial(deployment, event.router)
            case _:
                yield from answer_rollout(self._known, deployment, event, now_s)

    def _go_on(self, deployment: DeploymentRecord, now_s: float) -> Iterator[Instruction]:
        """The rules, each on what is known by now: bring up, switch, drain, drop, look again."""
        candidate = deployment.epoch(deployment.candidate)
        if deployment.story.state == "deleting":
            yield from let_go(deployment)
        elif candidate is not None and candidate.story.state == "loading":
            if candidate.lost_stage is not None:
                yield from self._give_up(deployment, candidate, now_s)
            elif candidate.is_ready:
                yield switch(deployment, candidate, candidate.reason)
        yield from self._clear(deployment)
        if deployment.story.state == "deleting" and not deployment.epochs:
            yield Deleted(deployment=deployment.name)
        elif deployment.renewal == "wanted" and deployment.is_idle:
            yield from self._ask(deployment, "a changed spec was deployed")
        else:
            yield from self._reconsider(deployment, now_s)
            yield from self._clear(deployment)
            yield from go_on_with_trial(self._known, deployment, now_s)
            yield from self._clear(deployment)
            yield from self._keep_ready(deployment)

    def _clear(self, deployment: DeploymentRecord) -> Iterator[Instruction]:
        """Drain what was replaced; let go of what is drained."""
        for epoch in list(deployment.epochs):
            tried = None if deployment.trial is None else deployment.trial.epoch
            is_replaced = epoch.story.state == "active" and epoch.number != deployment.active
            if is_replaced or (epoch.story.state == "trial" and epoch.number != tried):
                yield drain(deployment, epoch)
            if epoch.story.state == "dropping" or (epoch.story.state == "draining" and not epoch.routers):
                yield from self._retire(deployment, epoch)

    def _reconsider(self, deployment: DeploymentRecord, now_s: float) -> Iterator[Instruction]:
        """Take up another plan, or ask for one, where a node was lost, a stage is gone or a link has drifted."""
        active = deployment.epoch(deployment.active)
        asked = deployment.asked
        if asked is not None and asked.excluded != tuple(self._known.lost_nodes):
            yield from self._ask(deployment, "the nodes have changed since it was asked")
        elif deployment.is_idle and active is not None:
            gone = active.lost_stage
            drifted = self._drifted(deployment)
            if gone is not None:
                yield from self._replace(deployment, gone, now_s)
            elif gone is None and (why := why_ask(deployment, active, self._known.lost_nodes, now_s)) is not None:
                yield from self._ask(deployment, why)
            elif gone is None and (grown := rescaled(deployment, active, self._known.lost_nodes, now_s)) is not None:
                plan, reason = grown
                yield from self._take(deployment, plan, reason)
            else:
                yield from self._look_up(deployment, active, drifted, now_s)

    def _replace(self, deployment: DeploymentRecord, gone: StageRecord, now_s: float) -> Iterator[Instruction]:
        """What runs has lost a stage: take up the fastest epoch that stands by whole, else ask for the best plan.

        A plan that was just asked for in vain is asked for again after RETRY_S; whatever else was to be looked at later
        does not hold this up.
        """
        lost = f"stage {gone.name} on {gone.node} is gone: {gone.error or 'lost'}"
        rates = rates_of(self._known.links_now(deployment))
        same = [epoch for epoch in deployment.epochs if epoch.spec == deployment.spec]
        ready = [epoch for epoch in same if epoch.story.state == "standby" and epoch.lost_stage is None]
        stand_in = min(ready, key=lambda epoch: _seconds(deployment, epoch.plan, rates), default=None)
        again_s = deployment.look_again_s
        if stand_in is None and (again_s is None or again_s > now_s + RETRY_S):
            yield from self._ask(deployment, lost)
        elif stand_in is not None:
            yield switch(deployment, stand_in, f"{lost}; this one stood by", look_again_s=now_s)

    def _look_up(
        self, deployment: DeploymentRecord, active: EpochRecord, drifted: str | None, now_s: float
    ) -> Iterator[Instruction]:
        """Choose again among the known plans; where a link has drifted and the map may lack the best, ask for it."""
        plan_map, links = deployment.plan_map, self._known.links_now(deployment)
        running = None if plan_map is None else plan_map.of(active.plan)
        if plan_map is None or running is None:
            yield from [] if drifted is None else self._ask(deployment, drifted)
            return
        terms = {"min_gain": self._min_gain, "spacing_s": self._min_dwell_s}
        lost = self._known.lost_nodes
        decision, best = choose(deployment, plan_map, running, links, lost, now_s, **terms, rule=self._rule)
        is_complete = plan_map.is_complete_under(links, self._drift)
        if isinstance(decision, Switch):
            taken, takes = (told(deployment.costs[one.key].at(now_s), "latency") for one in (best, running))
            lasting = deployment.reason.partition(";")[0]  # what was said when the link had just changed
            reason = f"{drifted or lasting}; a known plan takes {taken} against {takes}"
            again_s = None if is_complete else now_s
            plan = crewed(deployment, active, best.plan, self._known.lost_nodes)
            yield from self._take(deployment, plan, reason, links=links, look_again_s=again_s)
        elif drifted is not None and (is_complete or not plan_map.may_lack_the_best(links, MATTERS)):
            yield KeepEpoch(deployment=deployment.name, reason=f"{drifted}; {decision.reason}", links=links)
        elif drifted is not None and (due_s := deployment.asked_at_s + self._min_dwell_s) > now_s:
            reason = f"{drifted}; a search for it waits, as the last one was just now"
            yield KeepEpoch(deployment=deployment.name, reason=reason, links=links, look_again_s=due_s)
        elif drifted is not None:
            yield from self._ask(deployment, drifted)

    def _keep_ready(self, deployment: DeploymentRecord) -> Iterator[Instruction]:
        """Bring up, one after the other, what should stand by; let go of what should not, but no sooner than what is
        wanted in its place is ready, where there is room: routers may be sending there.
        """
        active = deployment.epoch(deployment.active)
        if not deployment.is_idle or active is None or active.lost_stage is not None:
            return
        wanted = self._wanted(deployment, active)
        spare = [epoch for epoch in deployment.epochs if epoch.standby and epoch.story.state in ("loading", "standby")]
        fit = [epoch for epoch in spare if epoch.lost_stage is None and self._is_wanted(deployment, epoch, wanted)]
        for epoch in [epoch for epoch in fit if epoch.story.state == "loading" and epoch.is_ready]:
            yield stand_by(deployment, epoch, deployment.routers)
        for epoch in [epoch for epoch in spare if epoch not in fit and not self._stays(deployment, epoch, wanted)]:
            is_known = epoch.story.state == "standby" and epoch.routers
            yield from [drain(deployment, epoch)] if is_known else drop(epoch)
        kept = [epoch for epoch in deployment.epochs if epoch.standby or epoch.story.state == "draining"]
        held = [fingerprint(epoch.plan) for epoch in kept if epoch.story.state in ("loading", "standby", "draining")]
        missing = [plan for plan in wanted if fingerprint(plan) not in held]
        if missing and not any(epoch.story.state == "loading" for epoch in deployment.epochs):
            yield from bring_up(self._known, deployment, missing[0], "in case it is needed", standby=True)

    def _is_wanted(self, deployment: DeploymentRecord, epoch: EpochRecord, wanted: tuple[Plan, ...]) -> bool:
        return epoch.number == deployment.kept or serves(deployment, epoch, wanted)

    def _stays(self, deployment: DeploymentRecord, epoch: EpochRecord, wanted: tuple[Plan, ...]) -> bool:
        """Whether it is ready while what is wanted instead is not all so, and there is room for both."""
        ready = [fingerprint(one.plan) for one in deployment.epochs if one.story.state == "standby"]
        is_lacking = any(fingerprint(plan) not in ready for plan in wanted)
        is_ready = epoch.story.state == "standby" and epoch.lost_stage is None
        return is_ready and is_lacking and is_affordable(deployment, epoch.plan, *wanted)

    def _wanted(self, deployment: DeploymentRecord, active: EpochRecord) -> tuple[Plan, ...]:
        """What should stand by; remembered, as it follows from what seldom changes."""
        drawn, kept = deployment.plan_map, _kept_plan(deployment)
        given = (
            active.number, tuple(deployment.planned_links), tuple(self._known.lost_nodes), tuple(deployment.unfit),
            tuple(deployment.room), kept,
        )  # fmt: skip
        remembered = self._wishes.get(deployment.name)
        if remembered is None or remembered[0] is not drawn or remembered[1] != given:
            plans = standbys(deployment, active.plan, deployment.planned_links, self._known.lost_nodes, kept=kept)
            self._wishes[deployment.name] = remembered = (drawn, given, plans)
        return remembered[2]

    def _retire(self, deployment: DeploymentRecord, epoch: EpochRecord) -> Iterator[Instruction]:
        """What nobody sends to any more is dropped, unless it should stand by."""
        active = deployment.epoch(deployment.active)
        is_fit = epoch.story.state == "draining" and epoch.is_ready and deployment.story.state == "running"
        if is_fit and epoch.number == deployment.kept and is_affordable(deployment, epoch.plan):
            yield stand_by(deployment, epoch, ())  # for a rollback only: no router may answer from it by itself
        elif is_fit and active is not None and serves(deployment, epoch, self._wanted(deployment, active)):
            yield stand_by(deployment, epoch, deployment.routers)
        else:
            yield from drop(epoch)

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
        found = replace(found, plan=crewed(deployment, active, found.plan, self._known.lost_nodes))
        if deployment.renewal == "wanted":
            yield KeepEpoch(deployment=deployment.name, reason="a changed spec waits to be planned")
        elif active is None or active.lost_stage is not None or deployment.renewal:
            asked = deployment.asked
            yield from self._take(deployment, found.plan, asked.reason if asked is not None else "")
        elif alike(active.plan, found.plan):
            yield from self._mend(deployment, active, found.plan, now_s)
        elif found.current is None:
            yield from self._take(deployment, found.plan, "what runs cannot be evaluated any more")
        else:
            yield from self._weigh(deployment, found.plan, found.current, now_s)

    def _mend(
        self, deployment: DeploymentRecord, active: EpochRecord, plan: Plan, now_s: float
    ) -> Iterator[Instruction]:
        """Bring up a replica that the running epoch lacks, if the last switch is long past; else keep what runs."""
        why, due_s = mended_by(active, plan, self._known.lost_nodes), deployment.switched_at_s + self._min_dwell_s
        if why is None:
            yield KeepEpoch(deployment=deployment.name, reason="what runs is still the best plan")
        elif due_s > now_s:
            yield KeepEpoch(deployment=deployment.name, reason=f"{why}, but not yet", look_again_s=due_s)
        else:
            yield from self._take(deployment, plan, why)

    def _weigh(self, deployment: DeploymentRecord, plan: Plan, current: float, now_s: float) -> Iterator[Instruction]:
        """Switch if it gains enough and the last switch is long past; if only that is in the way, look again then.

        Where the plan is in the map already, what is remembered of it and the others decides.
        """
        if deployment.plan_map is not None and deployment.plan_map.of(plan) is not None:
            yield KeepEpoch(deployment=deployment.name, reason="a better plan is known; what is remembered decides")
            return
        objective = "latency" if plan.certificate is None else plan.certificate.objective
        best = score(plan.predicted, objective) or 0.0
        figures = f"{told(best, objective)} against {told(current, objective)} under today's links"
        decision, due_s = self._judge(deployment, current, best, now_s)
        if isinstance(decision, Switch):
            yield from self._take(deployment, plan, f"a better plan: {figures}")
        else:
            yield KeepEpoch(deployment=deployment.name, reason=f"{decision.reason}: {figures}", look_again_s=due_s)

    def _judge(
        self, deployment: DeploymentRecord, current: float, best: float, now_s: float
    ) -> tuple[Switch | Keep, float | None]:
        """Whether to switch; if only the last switch is too short ago, when to look again."""
        rule = partial(hysteresis, current=current, best=best, min_gain=self._min_gain, min_dwell_s=self._min_dwell_s)
        decision = rule(switched_s_ago=now_s - deployment.switched_at_s)
        is_too_soon = isinstance(decision, Keep) and isinstance(rule(switched_s_ago=inf), Switch)
        return decision, deployment.switched_at_s + self._min_dwell_s if is_too_soon else None

    def _take(
        self,
        deployment: DeploymentRecord,
        plan: Plan,
        reason: str,
        *,
        links: tuple[LinkEstimate, ...] = (),
        look_again_s: float | None = None,
    ) -> Iterator[Instruction]:
        """Have this plan replace what runs: at once where it stands by, else when it is loaded."""
        spare = (epoch for epoch in deployment.epochs if serves(deployment, epoch, (plan,)) and not epoch.lost_stage)
        held = next(
            (
                epoch
                for epoch in spare
                if epoch.standby and epoch.story.state in ("standby", "loading") and same_crews(epoch.plan, plan)
            ),
            None,
        )
        if held is None:
            yield from bring_up(self._known, deployment, plan, reason, links=links, look_again_s=look_again_s)
        elif held.story.state == "standby":
            yield switch(deployment, held, reason, links=links, look_again_s=look_again_s)
        else:
            yield Promote(
                deployment=deployment.name, epoch=held.number, reason=reason, links=links, look_again_s=look_again_s
            )

    def _give_up(self, deployment: DeploymentRecord, epoch: EpochRecord, now_s: float) -> Iterator[Instruction]:
        """Drop what was being brought up; plan again if a node was lost, else stay with what runs, or fail."""
        failed = next((stage for stage in epoch.stages if stage.error), None)
        yield from drop(epoch)
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
                return told_change(before, after)
        return None


def _kept_plan(deployment: DeploymentRecord) -> Plan | None:
    """What of the version before is still loaded."""
    epoch = deployment.epoch(deployment.kept)
    return None if epoch is None or epoch.number == deployment.active else epoch.plan


def _seconds(deployment: DeploymentRecord, plan: Plan, rates: Rates) -> float:
    known = None if deployment.plan_map is None else deployment.plan_map.of(plan)
    return inf if known is None else known.seconds(rates)
