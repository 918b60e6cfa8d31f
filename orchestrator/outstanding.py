"""What was ordered and not yet answered: a shell that starts on a recovered core does it again.

Every instruction is safe to carry out twice, so nothing is lost between the journal's write and the deed.
"""

from collections.abc import Iterator

from orchestrator.instructions import DrainEpoch, DropStage, Instruction, LoadStage, SwitchRouters
from orchestrator.knowledge import EpochRecord, Knowledge


def outstanding(known: Knowledge) -> Iterator[Instruction]:
    """Instructions whose answer is awaited, per deployment: its question first, then its epochs oldest first."""
    for deployment in known.deployments.values():
        if deployment.asked is not None:
            yield deployment.asked
        if deployment.trial is not None and deployment.trial.asked is not None:
            yield deployment.trial.asked
        for epoch in deployment.epochs:
            yield from _of_epoch(deployment.name, epoch)


def _of_epoch(name: str, epoch: EpochRecord) -> Iterator[Instruction]:
    number, places = epoch.number, {stage.name: index for index, stage in enumerate(epoch.plan.stages)}
    for stage in epoch.stages:
        if stage.story.state == "loading":
            index = places[stage.name]
            yield LoadStage(deployment=name, epoch=number, stage=stage.name, node=stage.node, index=index)
        elif stage.story.state == "dropping":
            yield DropStage(deployment=name, epoch=number, stage=stage.name, node=stage.node)
    if epoch.waiting:
        yield SwitchRouters(deployment=name, epoch=number, routers=tuple(epoch.waiting), reason=epoch.reason)
    if epoch.story.state == "draining" and epoch.routers:
        yield DrainEpoch(deployment=name, epoch=number, routers=tuple(epoch.routers))
