"""How knowledge changes: `observe` takes in an event, `commit` an instruction that was given.

Together they are the fold that a journal replays: events and *recorded* instructions rebuild the knowledge
without deciding anything again. So whatever a decision changes must stand in its instruction.
"""

from orchestrator.autoscaling import is_of, note_load, unfit_name
from orchestrator.costs import costs_of
from orchestrator.errors import IllegalTransition, UnknownDeployment
from orchestrator.events import (
    DeleteRequested,
    DeployRequested,
    EpochDrained,
    Event,
    LinkObserved,
    NodeJoined,
    NodeLost,
    PlansMapped,
    PromoteRequested,
    RollbackRequested,
    RolloutRequested,
    RouterJoined,
    RouterLeft,
    RouterSwitched,
    StageFailed,
    StageLoad,
    StageReady,
    StageStopped,
    Tick,
    TrialObserved,
    WorkerReplaced,
)
from orchestrator.fold_epochs import answered, commit_epoch, open_epoch
from orchestrator.fold_trials import (
    abandon_candidate,
    commit_trial,
    note,
    note_running,
    observe_trial,
    put_in_force,
    wish_trial,
)
from orchestrator.instructions import (
    Deleted,
    DrainEpoch,
    DropStage,
    EndTrial,
    Fail,
    FindPlan,
    Instruction,
    KeepEpoch,
    LoadStage,
    OpenEpoch,
    Promote,
    Refuse,
    SplitTraffic,
    StandBy,
    SwitchRouters,
    TakeVersion,
)
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, StageRecord
from orchestrator.links_seen import LinkEstimate, link_key
from orchestrator.plan_map import fingerprint, rates_of
from orchestrator.states import Story
from orchestrator.versions import FAILED, REFUSED, add_version, version_of


def observe(known: Knowledge, event: Event, now_s: float) -> None:
    """Take in a fact. UnknownDeployment or IllegalTransition leave the knowledge as it was."""
    match event:
        case DeployRequested():
            _begin(known, event)
        case LinkObserved():
            _observe_link(known, event, now_s)
        case NodeLost():
            _lose_node(known, event, now_s)
        case NodeJoined():
            _find_node(known, event)
        case WorkerReplaced():
            _leave_worker(known, event, now_s)
        case Tick():
            pass
        case _:
            deployment = find(known, event)
            if deployment is not None:
                if isinstance(event, StageReady | StageFailed | StageStopped):
                    _check_epoch(known, event)
                _observe_deployment(deployment, event, now_s)
                if isinstance(event, PlansMapped):
                    _price(known, deployment, now_s)
                _settle(deployment, now_s)


def commit(known: Knowledge, instruction: Instruction, now_s: float) -> None:
    """Take in that this instruction was given."""
    deployment = known.deployments[instruction.deployment]
    match instruction:
        case FindPlan():
            _find_plan(known, deployment, instruction, now_s)
        case OpenEpoch():
            open_epoch(known, deployment, instruction, now_s)
        case KeepEpoch():
            answered(deployment, instruction.reason, instruction.links)
            abandon_candidate(deployment, now_s)
            deployment.look_again_s = instruction.look_again_s
        case Fail():
            answered(deployment, instruction.error)
            abandon_candidate(deployment, now_s)
            deployment.story.step("fail", now_s)
            note(deployment, deployment.version, FAILED, instruction.error, now_s)
        case SplitTraffic() | EndTrial() | TakeVersion():
            commit_trial(known, deployment, instruction, now_s)
        case Promote() | SwitchRouters() | StandBy() | DrainEpoch() | DropStage():
            commit_epoch(deployment, instruction, now_s)
        case Deleted():
            deployment.story.step("end", now_s)
            del known.deployments[instruction.deployment]
        case Refuse(keeps_spec=True):
            _return_to_spec(known, deployment, instruction.error, now_s)
        case LoadStage() | Refuse():
            pass
    _settle(deployment, now_s)


def _find_plan(known: Knowledge, deployment: DeploymentRecord, asked: FindPlan, now_s: float) -> None:
    known.last_ticket = asked.ticket
    if asked.version:
        assert deployment.trial is not None, f"{asked} speaks of a trial that is over"
        deployment.trial.asked = asked
        return
    if deployment.story.state == "loading":
        deployment.story.step("replan", now_s)
    abandon_candidate(deployment, now_s)
    deployment.asked, deployment.look_again_s = asked, None
    deployment.asked_at_s = now_s
    deployment.map_ticket = asked.ticket
    deployment.renewal = "asked" if deployment.renewal == "wanted" else deployment.renewal


def _return_to_spec(known: Knowledge, deployment: DeploymentRecord, error: str, now_s: float) -> None:
    """A changed spec was refused: the one before it is in force again."""
    note(deployment, deployment.version, REFUSED, error, now_s)
    earlier = version_of(deployment.versions, deployment.version_before)
    if earlier is None:
        deployment.spec = deployment.spec_before
    else:
        put_in_force(known, deployment, earlier)
    deployment.renewal = ""


def find(known: Knowledge, event: Event) -> DeploymentRecord | None:
    """The deployment an event speaks of; None for late news of a deleted one.

    UnknownDeployment where there never was one, or where someone asks something of one that is gone.
    """
    name: str = getattr(event, "deployment")  # noqa: B009 (only some events have it)
    deployment = known.deployments.get(name)
    is_wish = isinstance(
        event, DeleteRequested | RouterJoined | RolloutRequested | PromoteRequested | RollbackRequested
    )
    if deployment is None and (is_wish or name not in known.last_epochs):
        raise UnknownDeployment(name, tuple(known.deployments))
    return deployment


def _begin(known: Knowledge, event: DeployRequested) -> None:
    """A new record, or a changed spec for one that runs. A failed one's remains and routers are taken over."""
    before = known.deployments.get(event.deployment)
    is_steady = before is not None and not before.renewal and before.trial is None
    if before is not None and is_steady and before.story.state == "running":
        before.spec_before, before.version_before = before.spec, before.version
        put_in_force(known, before, add_version(before.versions, event.spec, event.links, event.room))
        before.renewal, before.kept, before.unfit_replicas = "wanted", None, []
    if before is not None and before.story.state != "failed":
        return
    known.last_epochs.setdefault(event.deployment, 0)
    versions = before.versions if before else []
    version = add_version(versions, event.spec, event.links, event.room)
    known.deployments[event.deployment] = DeploymentRecord(
        name=event.deployment,
        spec=event.spec,
        story=Story("deployment", event.deployment, "planning"),
        links=list(event.links),
        epochs=before.epochs if before else [],
        routers=before.routers if before else [],
        room=list(event.room),
        versions=versions,
        version=version.number,
    )


def _observe_link(known: Knowledge, event: LinkObserved, now_s: float) -> None:
    link = LinkEstimate(
        source=event.source,
        target=event.target,
        bytes_per_s=event.bytes_per_s,
        propagation_s=event.propagation_s,
        std=event.std,
    )
    known.links[link_key(link)] = link
    for deployment in known.deployments.values():
        if any(one.ends == link.ends for one in deployment.links):
            _price(known, deployment, now_s)


def _lose_node(known: Knowledge, event: NodeLost, now_s: float) -> None:
    if event.node not in known.lost_nodes:
        known.lost_nodes = [*known.lost_nodes, event.node]
    for stage in known.stages_on(event.node):
        stage.story.step("lose", now_s)
    for deployment in known.deployments.values():
        _settle(deployment, now_s)


def _find_node(known: Knowledge, event: NodeJoined) -> None:
    known.lost_nodes = [node for node in known.lost_nodes if node != event.node]
    for deployment in known.deployments.values():
        deployment.unfit_replicas = [one for one in deployment.unfit_replicas if not is_of(one, event.node)]


def _leave_worker(known: Knowledge, event: WorkerReplaced, now_s: float) -> None:
    for deployment in [one for one in known.deployments.values() if one.name in event.deployments]:
        spare = [epoch for epoch in deployment.epochs if epoch.story.state in ("loading", "standby") and epoch.standby]
        for stage in [stage for epoch in spare for stage in epoch.stages if stage.node == event.node]:
            stage.story.step("lose", now_s)
        _settle(deployment, now_s)


def _observe_deployment(deployment: DeploymentRecord, event: Event, now_s: float) -> None:
    """News of one deployment. An answer (PlanFound, PlanNotFound) changes nothing until it is decided on."""
    match event:
        case StageReady() | StageFailed() | StageStopped():
            _observe_stage(deployment, event, now_s)
        case RouterJoined() | RouterLeft() | RouterSwitched() | EpochDrained():
            _observe_router(deployment, event)
        case PlansMapped() if event.ticket == deployment.map_ticket:
            deployment.plan_map, deployment.unfit = event.plan_map, []
        case RolloutRequested():
            wish_trial(deployment, event)
        case StageLoad():
            note_load(deployment, event, now_s)
        case TrialObserved():
            observe_trial(deployment, event, now_s)
        case DeleteRequested():
            deployment.story.step("delete", now_s)
            deployment.trial, deployment.kept = None, None
            deployment.asked, deployment.look_again_s, deployment.reason = None, None, "delete was asked"
        case _:
            pass


def _observe_router(
    deployment: DeploymentRecord, event: RouterJoined | RouterLeft | RouterSwitched | EpochDrained
) -> None:
    match event:
        case RouterJoined():
            if event.router not in deployment.routers:
                deployment.routers.append(event.router)
        case RouterLeft():
            for names in [deployment.routers, *(n for e in deployment.epochs for n in (e.routers, e.waiting))]:
                _discard(names, event.router)
        case RouterSwitched():
            if (epoch := deployment.epoch(event.epoch)) is not None:
                _discard(epoch.waiting, event.router)
        case EpochDrained():
            epoch = deployment.epoch(event.epoch)
            if epoch is not None and epoch.story.state == "draining":
                _discard(epoch.routers, event.router)


def _observe_stage(deployment: DeploymentRecord, event: StageReady | StageFailed | StageStopped, now_s: float) -> None:
    epoch = deployment.epoch(event.epoch)
    if epoch is None:
        return
    stage = epoch.stage(event.stage, event.node)
    match event:
        case StageReady():
            stage.story.step("ready", now_s)
            stage.load_s = event.load_s
        case StageFailed():
            stage.story.step("fail", now_s)
            stage.error = event.error
            _note_unfit(deployment, epoch, stage)
            if epoch.standby and (named := fingerprint(epoch.plan)) not in deployment.unfit:
                deployment.unfit.append(named)
        case StageStopped():
            stage.story.step("stopped", now_s)


def _note_unfit(deployment: DeploymentRecord, epoch: EpochRecord, failed: StageRecord) -> None:
    """A node that could not load a replica gets none for the same engine again."""
    was_ready = any(step.state == "ready" for step in failed.story.steps)
    backend = next((one.backend for one in epoch.plan.stages if one.name == failed.name and one.replicas), None)
    if (
        backend is not None
        and not was_ready
        and (named := unfit_name(backend, failed.node)) not in (deployment.unfit_replicas)
    ):
        deployment.unfit_replicas.append(named)


def _check_epoch(known: Knowledge, event: StageReady | StageFailed | StageStopped) -> None:
    """News of an epoch that is gone is late and harmless; news of one that never was is a fault."""
    latest = known.last_epochs[event.deployment]
    if event.epoch > latest:
        story = known.deployments[event.deployment].story
        raise IllegalTransition(f"{story.name}/{event.epoch}", f"at epoch {latest}", type(event).__name__, story.told())


def _settle(deployment: DeploymentRecord, now_s: float) -> None:
    """Draw what follows from the facts alone: an epoch every router has switched to is active; one with
    nothing left is gone.
    """
    for epoch in list(deployment.epochs):
        if epoch.story.state == "switching" and not epoch.waiting:
            epoch.story.step("activate", now_s)
            if deployment.active is not None:
                deployment.switched_at_s = now_s
            if epoch.version == deployment.version:
                note_running(deployment, epoch, now_s)
            deployment.active, deployment.candidate = epoch.number, None
            deployment.renewal = "wanted" if deployment.renewal == "wanted" else ""
            if deployment.story.state == "loading":
                deployment.story.step("run", now_s)
        all_gone = all(stage.story.state == "gone" for stage in epoch.stages)
        if epoch.standby and all_gone and not epoch.routers and epoch.story.state in ("loading", "standby"):
            epoch.story.step("drop", now_s)
        is_leaving = epoch.story.state == "dropping" or (epoch.story.state == "draining" and not epoch.routers)
        if all_gone and is_leaving:
            epoch.story.step("end", now_s)
            deployment.epochs.remove(epoch)


def _price(known: Knowledge, deployment: DeploymentRecord, now_s: float) -> None:
    """What the known plans take, now that something was heard of the links or of them."""
    if deployment.plan_map is not None:
        rates = rates_of(known.links_now(deployment))
        deployment.costs = costs_of(deployment.plan_map, deployment.costs, rates, now_s)


def _discard(names: list[str], name: str) -> None:
    if name in names:
        names.remove(name)
