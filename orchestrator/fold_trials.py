"""How the records of versions and of a trial change: the part of the fold about rollouts. It decides nothing."""

from orchestrator.events import RolloutRequested, TrialObserved
from orchestrator.instructions import EndTrial, SplitTraffic, TakeVersion
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, RouterTally, TrialRecord
from orchestrator.versions import (
    REFUSED,
    REPLACED,
    ROLLED_BACK,
    RUNNING,
    TRIAL,
    VersionRecord,
    add_version,
    version_of,
)


def wish_trial(deployment: DeploymentRecord, event: RolloutRequested) -> None:
    """A new version, if nothing else is being changed about what runs; else the wish is to be refused."""
    if deployment.story.state == "running" and not deployment.renewal and deployment.trial is None:
        version = add_version(deployment.versions, event.spec, event.links, event.room)
        deployment.trial = TrialRecord(version.number, event.spec, event.terms, list(event.links))


def open_trial(deployment: DeploymentRecord, epoch: EpochRecord) -> None:
    """An epoch for the version on trial is being brought up."""
    trial = deployment.trial
    assert trial is not None, f"{deployment.name} has no trial"
    trial.asked, trial.epoch = None, epoch.number
    epoch.spec, epoch.version = trial.spec, trial.version


def observe_trial(deployment: DeploymentRecord, event: TrialObserved, now_s: float) -> None:
    """A router's newest counts; those of an earlier step or trial are late and mean nothing."""
    trial = deployment.trial
    if trial is None or (trial.epoch, trial.step) != (event.epoch, event.step):
        return
    trial.heard_s = now_s
    others = [tally for tally in trial.tallies if tally.router != event.router]
    trial.tallies = [*others, RouterTally(event.router, event.old, event.new)]


def commit_trial(
    known: Knowledge, deployment: DeploymentRecord, given: SplitTraffic | EndTrial | TakeVersion, now_s: float
) -> None:
    """Take in an order about a trial or a version."""
    match given:
        case SplitTraffic():
            _split_traffic(deployment, given, now_s)
        case EndTrial():
            _end_trial(deployment, given, now_s)
        case TakeVersion():
            _take_version(known, deployment, given, now_s)
            abandon_candidate(deployment, now_s)
            deployment.asked, deployment.look_again_s = None, None


def _split_traffic(deployment: DeploymentRecord, given: SplitTraffic, now_s: float) -> None:
    """Routers may send to the trial's epoch; with a new step counting begins anew."""
    trial, epoch = deployment.trial, deployment.epoch(given.epoch)
    assert trial is not None and epoch is not None, f"{given} speaks of a trial that is over"
    if epoch.story.state == "loading":
        epoch.story.step("try", now_s)
    epoch.routers += [router for router in given.routers if router not in epoch.routers]
    if given.step == trial.step:
        return
    weights = trial.terms.weights
    trial.step, trial.beside, trial.since_s, trial.heard_s, trial.tallies = given.step, given.beside, now_s, now_s, []
    trial.rung = weights.index(given.weight) if given.weight in weights else trial.rung
    note(deployment, trial.version, TRIAL, given.reason, now_s)


def _end_trial(deployment: DeploymentRecord, given: EndTrial, now_s: float) -> None:
    """The version on trial is not wanted any more. Routers that use its epoch are told by what follows."""
    trial, deployment.trial = deployment.trial, None
    assert trial is not None, f"{given} speaks of a trial that is over"
    epoch = deployment.epoch(trial.epoch)
    if epoch is not None and epoch.story.state == "loading":
        epoch.story.step("drop", now_s)
    note(deployment, given.version, ROLLED_BACK if trial.step else REFUSED, given.reason, now_s)
    deployment.reason = f"version {given.version} was rolled back: {given.reason}"


def _take_version(known: Knowledge, deployment: DeploymentRecord, given: TakeVersion, now_s: float) -> None:
    """Another version is in force; of the one before, the epoch in use is kept if there is room."""
    version = version_of(deployment.versions, given.version)
    assert version is not None, f"{given} speaks of a version that is forgotten"
    before = deployment.version
    deployment.spec_before, deployment.version_before = deployment.spec, before
    put_in_force(known, deployment, version)
    deployment.trial = None
    deployment.reason, deployment.kept = given.reason, deployment.active
    note(deployment, before, given.ends, given.reason, now_s)
    if given.to_load:
        deployment.renewal = "wanted"
    else:
        note(deployment, given.version, RUNNING, given.reason, now_s)


def abandon_candidate(deployment: DeploymentRecord, now_s: float) -> None:
    """What was to replace the active epoch is not wanted any more; if routers are switching to it, it stays."""
    candidate = deployment.epoch(deployment.candidate)
    if candidate is not None and candidate.story.state == "loading":
        candidate.story.step("drop", now_s)
    if candidate is None or candidate.story.state == "dropping":
        deployment.candidate = None


def put_in_force(known: Knowledge, deployment: DeploymentRecord, version: VersionRecord) -> None:
    """The deployment is to be this version, whose links may be others and whose plans are not known yet."""
    deployment.spec, deployment.version = version.spec, version.number
    deployment.links, deployment.room = list(version.links), list(version.room)
    deployment.plan_map, deployment.unfit, deployment.costs = None, [], {}
    deployment.planned_links = list(known.links_now(deployment))


def note_running(deployment: DeploymentRecord, epoch: EpochRecord, now_s: float) -> None:
    """An epoch is in use everywhere: so its version is in force, and none of the others."""
    for version in deployment.versions:
        if version.number == epoch.version and version.state != RUNNING:
            version.note(RUNNING, epoch.reason, now_s)
        elif version.number != epoch.version and version.state == RUNNING:
            version.note(REPLACED, f"version {epoch.version} took its place", now_s)


def note(deployment: DeploymentRecord, number: int, state: str, why: str, now_s: float) -> None:
    """Something became of a version, if it is remembered."""
    version = version_of(deployment.versions, number)
    if version is not None:
        version.note(state, why, now_s)
