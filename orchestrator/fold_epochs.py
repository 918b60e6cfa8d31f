"""How an epoch's record changes by the instructions given about it: the part of the fold that is about epochs."""

from collections.abc import Iterable

from orchestrator.fold_trials import open_trial
from orchestrator.instructions import DrainEpoch, DropStage, OpenEpoch, Promote, StandBy, SwitchRouters
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, StageRecord
from orchestrator.links_seen import LinkEstimate
from orchestrator.states import Story


def open_epoch(known: Knowledge, deployment: DeploymentRecord, opened: OpenEpoch, now_s: float) -> None:
    """A new epoch's record, to replace what runs or to stand by."""
    name = f"{deployment.name}/{opened.epoch}"
    stages = [
        StageRecord(stage.name, node, Story("stage", f"{name}/{stage.name} on {node}", "loading"))
        for stage in opened.plan.stages
        for node in (stage.node, *stage.replicas)
    ]
    story = Story("epoch", name, "loading")
    epoch = EpochRecord(opened.epoch, opened.plan, opened.reason, story, stages, standby=opened.standby)
    epoch.spec, epoch.version = deployment.spec, deployment.version
    deployment.epochs.append(epoch)
    known.last_epochs[deployment.name] = opened.epoch
    if opened.version:
        open_trial(deployment, epoch)
    if opened.standby or opened.version:
        return
    answered(deployment, opened.reason, opened.links)
    deployment.candidate = opened.epoch
    deployment.look_again_s = opened.look_again_s
    deployment.renewal = "opened" if deployment.renewal else ""
    if deployment.story.state == "planning":
        deployment.story.step("plan", now_s)


def answered(deployment: DeploymentRecord, reason: str, links: Iterable[LinkEstimate] = ()) -> None:
    """A decision was made for these links; a question that is out is settled, for those that it was asked with."""
    looked_up = list(links)
    if deployment.asked is not None:
        looked_up = looked_up or list(deployment.asked.links)
        deployment.asked = None
    deployment.planned_links = looked_up or deployment.planned_links
    deployment.reason = reason


def commit_epoch(
    deployment: DeploymentRecord, given: Promote | SwitchRouters | StandBy | DrainEpoch | DropStage, now_s: float
) -> None:
    """Take in an order about an epoch that is there."""
    epoch = deployment.epoch(given.epoch)
    assert epoch is not None, f"{given} speaks of an epoch that is gone"
    match given:
        case Promote():
            _take_up(deployment, epoch, given)
        case SwitchRouters():
            _switch(deployment, epoch, given, now_s)
        case StandBy():
            epoch.standby = True
            _step(epoch, "stand by", "standby", now_s)
            _add(epoch.routers, given.routers)
        case DrainEpoch():
            epoch.waiting.clear()
            _step(epoch, "drain", "draining", now_s)
        case DropStage():
            _step(epoch, "drop", "dropping", now_s)
            epoch.stage(given.stage, given.node).story.step("drop", now_s)
    if deployment.candidate == epoch.number and epoch.story.state in ("draining", "dropping"):
        deployment.candidate = None
    if deployment.active == epoch.number and epoch.story.state == "draining":
        deployment.active = None


def _step(epoch: EpochRecord, verb: str, state: str, now_s: float) -> None:
    """Go there, unless it is there."""
    if epoch.story.state != state:
        epoch.story.step(verb, now_s)


def _switch(deployment: DeploymentRecord, epoch: EpochRecord, given: SwitchRouters, now_s: float) -> None:
    if epoch.story.state in ("standby", "trial", "draining"):
        _take_up(deployment, epoch, given)
    if epoch.story.state in ("loading", "standby", "trial", "draining"):
        epoch.story.step("switch", now_s)
    _add(epoch.routers, given.routers)
    _add(epoch.waiting, given.routers)


def _take_up(deployment: DeploymentRecord, epoch: EpochRecord, given: Promote | SwitchRouters) -> None:
    """An epoch that stood by, or was to, is to replace the one that runs."""
    answered(deployment, given.reason, given.links)
    epoch.standby, epoch.reason = False, given.reason
    deployment.candidate, deployment.look_again_s = epoch.number, given.look_again_s


def _add(names: list[str], more: Iterable[str]) -> None:
    names += [name for name in more if name not in names]
