"""What a controller does first that finds an earlier one's journal: take over what runs, and see what is missing.

No request is touched: workers go on with the stages that they hold, routers with the routes that they have. What a
worker holds and nobody knows of is dropped; what should be there and isn't is told to the core as an event.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from nodes.errors import NodesError
from orchestrator.blueprint_file import BlueprintFiles
from orchestrator.control import Control
from orchestrator.desk import Desk
from orchestrator.errors import JournalError, OrchestratorError
from orchestrator.events import Event, NodeJoined, NodeLost, StageFailed
from orchestrator.fleet import Fleet
from orchestrator.knowledge import EpochRecord
from orchestrator.loader import Loader
from partitioner.topology import NodeId

PATIENCE_S = 60.0  # for hosts to be back
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What the core is to be told, in this order, and the nodes whose workers are to be brought back."""

    events: tuple[Event, ...] = ()
    missing: tuple[NodeId, ...] = ()


async def resume(
    control: Control,
    fleet: Fleet,
    desk: Desk,
    loader: Loader,
    files: BlueprintFiles,
    note: Callable[[str, str, int | None, str], None],
) -> Resumed:
    """Read the blueprints, claim the workers again and compare what they hold with what the core knows."""
    epochs = [(name, epoch) for name, deployment in control.deployments().items() for epoch in deployment.epochs]
    _read_versions(control, desk, files, note)
    for name, epoch in epochs:
        if (name, epoch.spec) in desk.versions:
            desk.plans[name, epoch.number] = epoch.plan
            desk.bases[name, epoch.number] = desk.versions[name, epoch.spec]
            if any(stage.story.state == "loading" for stage in epoch.stages):
                loader.begin(name, epoch.number, desk.versions[name, epoch.spec], epoch.plan)
    away = await _adopt(fleet, desk, note)
    lost = control.status()["lost_nodes"]
    events: list[Event] = [NodeLost(node=node) for node in away if node not in lost]
    events += [NodeJoined(node=node) for node in lost if node in fleet.members()]
    for name, epoch in epochs:
        events += _gone(fleet, name, epoch)
    await _drop_strays(fleet, epochs, note)
    return Resumed(events=tuple(events), missing=tuple(dict.fromkeys((*away, *(n for n in lost if n in away)))))


def _read_versions(
    control: Control, desk: Desk, files: BlueprintFiles, note: Callable[[str, str, int | None, str], None]
) -> None:
    """The blueprints of every version that something is loaded of, or is to be."""
    for name, deployment in control.deployments().items():
        if deployment.story.state == "failed" and not deployment.epochs:
            continue  # as before: nobody is told of it, and no worker is waited for on its account
        trial = deployment.trial
        wanted = [epoch.spec for epoch in deployment.epochs] + ([] if trial is None else [trial.spec])
        for version in dict.fromkeys((*wanted, deployment.spec)):
            try:
                desk.keep(files.read(name, version), version)
            except JournalError as error:
                note("fault", name, None, str(error))
        desk.take(name, deployment.spec)
        if trial is not None and (name, trial.spec) in desk.versions:
            desk.trials[name] = desk.versions[name, trial.spec]


async def _adopt(fleet: Fleet, desk: Desk, note: Callable[[str, str, int | None, str], None]) -> list[NodeId]:
    """Claim every worker that a deployment names; the nodes whose worker can't be had.

    After a head's death hosts return one after the other, and what runs goes on meanwhile: none is given up at once.
    """
    until_s = time.monotonic() + PATIENCE_S
    while True:
        away = {
            node: (name, why)
            for name, blueprint in desk.blueprints.items()
            for node, why in (await fleet.adopt(blueprint.spec.topology)).items()
        }
        if not away or time.monotonic() > until_s:
            break
        await asyncio.sleep(PAUSE_S)
    for node, (name, why) in away.items():
        note("lost", name, None, f"node {node}: {why}")
    return list(away)


def _gone(fleet: Fleet, name: str, epoch: EpochRecord) -> list[Event]:
    """Stages that should be ready on a worker that is there, and does not hold them."""
    events: list[Event] = []
    for stage in epoch.stages:
        member = fleet.members().get(stage.node)
        if stage.story.state != "ready" or member is None:
            continue
        held = [(one.deployment, one.epoch, one.stage) for one in member.found.claimed.stages]
        if (name, epoch.number, stage.name) not in held:
            why = "its worker is another one than before and does not hold it"
            events.append(
                StageFailed(deployment=name, epoch=epoch.number, stage=stage.name, node=stage.node, error=why)
            )
    return events


async def _drop_strays(
    fleet: Fleet, epochs: list[tuple[str, EpochRecord]], note: Callable[[str, str, int | None, str], None]
) -> None:
    """Have workers let go of stages that nobody knows of."""
    known = [
        (name, epoch.number, stage.name, stage.node)
        for name, epoch in epochs
        for stage in epoch.stages
        if stage.story.state != "gone"
    ]
    for node, member in fleet.members().items():
        for held in member.found.claimed.stages:
            if (held.deployment, held.epoch, held.stage, node) in known:
                continue
            try:
                await fleet.call(node, "drop_stage", held.deployment, held.epoch, held.stage, drain_s=0.0)
            except (NodesError, OrchestratorError) as error:
                note("late", held.deployment, held.epoch, str(error))
