"""The rules of rollouts: when a version on trial is planned, opened, judged, promoted and rolled back.

Rules on what is known, for the control core, which says when they are asked. Whether the new version is good is
policies/rollout.py's judgement; here it becomes instructions.
"""

from collections.abc import Iterator

from orchestrator.events import Event, PlanFound, PlanNotFound, PromoteRequested, RollbackRequested, RolloutRequested
from orchestrator.instructions import EndTrial, FindPlan, Instruction, Refuse, SplitTraffic, TakeVersion
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, TrialRecord
from orchestrator.links_seen import link_key
from orchestrator.orders import bring_up, switch
from orchestrator.rollout_terms import told
from orchestrator.versions import REPLACED, ROLLED_BACK, before, version_of
from policies.rollout import Promote, Rollback, Wait, judge, merged


def answer_rollout(known: Knowledge, deployment: DeploymentRecord, event: Event, now_s: float) -> Iterator[Instruction]:
    """What an event asks for by itself, if it is about rollouts."""
    trial = deployment.trial
    asked = None if trial is None else trial.asked
    match event:
        case RolloutRequested() if trial is not None and trial.asked is None and trial.epoch is None:
            yield _ask(known, deployment, trial, f"version {trial.version} is to be tried")
        case RolloutRequested():
            state = "on trial already" if trial is not None else deployment.renewal or deployment.story.state
            error = f"deployment {deployment.name!r} is {state}; a rollout begins beside a version that runs, alone"
            yield Refuse(deployment=deployment.name, error=error)
        case PlanFound() if asked is not None and asked.ticket == event.ticket:
            yield from bring_up(known, deployment, event.plan, asked.reason, version=asked.version)
        case PlanNotFound() if asked is not None and asked.ticket == event.ticket:
            yield from _end(deployment, event.reason)
        case PromoteRequested():
            yield from _promote_now(deployment, now_s)
        case RollbackRequested():
            yield from _roll_back(deployment, event, now_s)
        case _:
            pass


def go_on_with_trial(known: Knowledge, deployment: DeploymentRecord, now_s: float) -> Iterator[Instruction]:
    """Bring the trial up, count it against what is in use now, judge it."""
    trial = deployment.trial
    if trial is None or deployment.story.state != "running":
        return
    epoch = deployment.epoch(trial.epoch)
    if trial.asked is not None and trial.asked.excluded != tuple(known.lost_nodes):
        yield _ask(known, deployment, trial, "the nodes have changed since it was asked")
    elif epoch is not None and epoch.lost_stage is not None:
        gone = epoch.lost_stage
        yield from _end(deployment, f"its stage {gone.name} on {gone.node} is gone: {gone.error or 'node lost'}")
    elif epoch is not None and epoch.story.state == "loading" and epoch.is_ready:
        yield _split(deployment, trial, epoch, 0, "it is loaded")
    elif epoch is not None and epoch.story.state == "trial" and deployment.active is not None:
        if trial.beside != deployment.active:
            yield _split(deployment, trial, epoch, trial.rung, "what it is compared with runs in another epoch now")
        else:
            yield from _judged(deployment, trial, epoch, now_s)


def verdict(trial: TrialRecord, now_s: float) -> Promote | Rollback | Wait:
    """The judgement on what was counted so far."""
    terms = trial.terms
    return judge(
        old=merged(tally.old for tally in trial.tallies),
        new=merged(tally.new for tally in trial.tallies),
        age_s=now_s - trial.since_s,
        max_error_rate=terms.max_error_rate,
        max_slowdown=terms.max_slowdown,
        max_drift=terms.max_drift,
        max_disagreement=terms.max_disagreement,
        min_requests=terms.min_requests,
        min_s=terms.min_s,
    )


def welcome_to_trial(deployment: DeploymentRecord, router: str) -> Iterator[Instruction]:
    """Tell a router that joined of the version on trial."""
    trial = deployment.trial
    epoch = None if trial is None else deployment.epoch(trial.epoch)
    if trial is not None and epoch is not None and epoch.story.state == "trial":
        yield SplitTraffic(
            deployment=deployment.name,
            epoch=epoch.number,
            routers=(router,),
            version=trial.version,
            mode=trial.terms.mode,
            weight=trial.terms.weights[trial.rung],
            step=trial.step,
            beside=trial.beside,
        )


def _judged(
    deployment: DeploymentRecord, trial: TrialRecord, epoch: EpochRecord, now_s: float
) -> Iterator[Instruction]:
    found = verdict(trial, now_s)
    if isinstance(found, Rollback):
        yield from _end(deployment, found.reason)
    elif isinstance(found, Promote):
        if trial.rung + 1 < len(trial.terms.weights):
            yield _split(deployment, trial, epoch, trial.rung + 1, found.reason)
        elif trial.terms.promotes and deployment.is_idle:
            yield from _take(deployment, epoch, f"version {trial.version} was promoted: {found.reason}", now_s)


def _ask(known: Knowledge, deployment: DeploymentRecord, trial: TrialRecord, reason: str) -> Instruction:
    return FindPlan(
        deployment=deployment.name,
        ticket=known.last_ticket + 1,
        links=tuple(known.links.get(link_key(link), link) for link in trial.links),
        excluded=tuple(known.lost_nodes),
        reason=reason,
        version=trial.version,
    )


def _split(deployment: DeploymentRecord, trial: TrialRecord, epoch: EpochRecord, rung: int, why: str) -> Instruction:
    weight = trial.terms.weights[rung]
    return SplitTraffic(
        deployment=deployment.name,
        epoch=epoch.number,
        routers=tuple(deployment.routers),
        version=trial.version,
        mode=trial.terms.mode,
        weight=weight,
        step=trial.step + 1,
        beside=deployment.active,
        reason=f"{told(trial.terms.mode, weight)}: {why}",
    )


def _end(deployment: DeploymentRecord, reason: str) -> Iterator[Instruction]:
    trial = deployment.trial
    assert trial is not None, f"{deployment.name} has no trial to end"
    yield EndTrial(deployment=deployment.name, version=trial.version, reason=reason)


def _promote_now(deployment: DeploymentRecord, now_s: float) -> Iterator[Instruction]:
    trial = deployment.trial
    epoch = None if trial is None else deployment.epoch(trial.epoch)
    if trial is None:
        yield Refuse(deployment=deployment.name, error="there is no version on trial; begin with: isthmus rollout")
    elif epoch is None or epoch.story.state != "trial" or epoch.lost_stage is not None or not deployment.is_idle:
        yield Refuse(deployment=deployment.name, error="it is not the time: what runs or the trial is being brought up")
    else:
        yield from _take(deployment, epoch, f"version {trial.version} was promoted: it was asked for", now_s)


def _take(deployment: DeploymentRecord, epoch: EpochRecord, reason: str, now_s: float) -> Iterator[Instruction]:
    """Put the version of an epoch that is loaded in force; a second look is due at once, as its plans are not known."""
    yield TakeVersion(deployment=deployment.name, version=epoch.version, spec=epoch.spec, reason=reason, ends=REPLACED)
    yield switch(deployment, epoch, reason, look_again_s=now_s)


def _roll_back(deployment: DeploymentRecord, event: RollbackRequested, now_s: float) -> Iterator[Instruction]:
    """End the trial, or go back: at once to an epoch that is still loaded, else by bringing the version up again."""
    if deployment.trial is not None:
        yield from _end(deployment, "rollback was asked")
        return
    wanted = before(deployment.versions, deployment.version)
    if event.version is not None:
        wanted = version_of(deployment.versions, event.version)
    if wanted is None or wanted.number == deployment.version:
        numbers = ", ".join(str(version.number) for version in deployment.versions)
        error = f"there is no other version to go back to among {numbers}; see: isthmus rollout history"
        yield Refuse(deployment=deployment.name, error=error)
        return
    if deployment.story.state != "running" or deployment.renewal:
        state = deployment.renewal or deployment.story.state
        yield Refuse(
            deployment=deployment.name, error=f"deployment {deployment.name!r} is {state}; wait for that to end"
        )
        return
    reason = f"rollback to version {wanted.number} was asked"
    candidate = deployment.epoch(deployment.candidate)
    held = deployment.epoch(deployment.kept)
    is_held = held is not None and held.version == wanted.number and held.is_ready
    is_free = candidate is None or candidate.story.state == "loading"
    to_load = not (is_held and is_free and held is not None and held.story.state in ("standby", "draining"))
    yield TakeVersion(
        deployment=deployment.name,
        version=wanted.number,
        spec=wanted.spec,
        reason=reason,
        to_load=to_load,
        ends=ROLLED_BACK,
    )
    if held is not None and not to_load:
        yield switch(deployment, held, reason, look_again_s=now_s)
