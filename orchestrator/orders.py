"""Instructions about epochs, made from what is known of them. They decide nothing: the control core says when."""

from collections.abc import Iterable, Iterator

from orchestrator.instructions import (
    DrainEpoch,
    DropStage,
    Instruction,
    LoadStage,
    OpenEpoch,
    StandBy,
    SwitchRouters,
)
from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import same_work
from orchestrator.replicas import without
from partitioner.plan import Plan
from partitioner.topology import NodeId


def welcome(deployment: DeploymentRecord, router: str) -> Iterator[Instruction]:
    """Tell a router that joined, perhaps not for the first time, where things stand.

    It is not sent to an epoch that has lost a stage: its requests wait for the one to come.
    """
    newest = deployment.epoch(deployment.candidate)
    if newest is None or newest.story.state != "switching":
        newest = deployment.epoch(deployment.active)
    if newest is not None and (newest.lost_stage is None or router in newest.waiting):
        yield SwitchRouters(deployment=deployment.name, epoch=newest.number, routers=(router,), reason=newest.reason)
    for epoch in deployment.epochs:
        if epoch.story.state == "standby" and epoch.is_ready and epoch.spec == deployment.spec:
            yield stand_by(deployment, epoch, (router,))
        if epoch.story.state == "draining" and router in epoch.routers:
            yield DrainEpoch(deployment=deployment.name, epoch=epoch.number, routers=(router,))


def let_go(deployment: DeploymentRecord) -> Iterator[Instruction]:
    """Drain whatever is in use and drop whatever is being brought up."""
    for epoch in list(deployment.epochs):
        if epoch.story.state in ("active", "switching", "standby", "trial"):
            yield drain(deployment, epoch)
        elif epoch.story.state == "loading":
            yield from drop(epoch)


def bring_up(
    known: Knowledge,
    deployment: DeploymentRecord,
    plan: Plan,
    reason: str,
    *,
    standby: bool = False,
    links: tuple[LinkEstimate, ...] = (),
    look_again_s: float | None = None,
    version: int = 0,
) -> Iterator[Instruction]:
    """A new epoch for this plan, with all its stages to be loaded; without replicas on nodes that are lost."""
    plan = without(plan, known.lost_nodes)
    name, epoch = deployment.name, known.last_epochs[deployment.name] + 1
    yield OpenEpoch(
        deployment=name,
        epoch=epoch,
        plan=plan,
        reason=reason,
        standby=standby,
        links=links,
        look_again_s=look_again_s,
        version=version,
    )
    for index, stage in enumerate(plan.stages):
        for node in (stage.node, *stage.replicas):
            yield LoadStage(deployment=name, epoch=epoch, stage=stage.name, node=node, index=index)


def renew(known: Knowledge, deployment: DeploymentRecord, node: NodeId) -> Iterator[Instruction]:
    """What runs to be brought up once more, if this node, whose worker is another one now, has a part in it."""
    active = deployment.epoch(deployment.active)
    if active is not None and active.lost_stage is None and any(stage.node == node for stage in active.stages):
        again_s = deployment.look_again_s
        yield from bring_up(known, deployment, active.plan, f"node {node} has a new worker", look_again_s=again_s)


def serves(deployment: DeploymentRecord, epoch: EpochRecord, plans: Iterable[Plan]) -> bool:
    """Whether the epoch does the work of one of these plans, for the spec as it is."""
    return epoch.spec == deployment.spec and any(same_work(epoch.plan, plan) for plan in plans)


def switch(
    deployment: DeploymentRecord,
    epoch: EpochRecord,
    reason: str,
    *,
    links: tuple[LinkEstimate, ...] = (),
    look_again_s: float | None = None,
) -> Instruction:
    """Routers to send to this epoch from now on."""
    return SwitchRouters(
        deployment=deployment.name,
        epoch=epoch.number,
        routers=tuple(deployment.routers),
        reason=reason,
        links=links,
        look_again_s=look_again_s,
    )


def stand_by(deployment: DeploymentRecord, epoch: EpochRecord, routers: Iterable[str]) -> Instruction:
    """The epoch to stay loaded, and these routers to know of it."""
    return StandBy(deployment=deployment.name, epoch=epoch.number, routers=tuple(routers), reason=epoch.reason)


def drain(deployment: DeploymentRecord, epoch: EpochRecord) -> Instruction:
    """Its routers to send nothing more to this epoch."""
    return DrainEpoch(deployment=deployment.name, epoch=epoch.number, routers=tuple(epoch.routers))


def drop(epoch: EpochRecord) -> Iterator[Instruction]:
    """What its nodes may still hold of this epoch to be unloaded."""
    for stage in epoch.stages:
        if stage.is_there:
            yield DropStage(deployment=epoch.deployment, epoch=epoch.number, stage=stage.name, node=stage.node)
