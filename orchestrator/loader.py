"""Stages on their way to workers and back: built, handed over, loaded, dropped. Part of the controller's shell.

What a map's plans need is put on the workers' disks before it is wanted, so that a new epoch has only to be compiled.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable

from nodes.errors import NodesError
from nodes.store import Store
from orchestrator.artifacts import Built, build
from orchestrator.blueprint import Blueprint
from orchestrator.errors import OrchestratorError
from orchestrator.events import StageFailed, StageReady, StageStopped
from orchestrator.fleet import Fleet
from orchestrator.instructions import DropStage, LoadStage
from orchestrator.replicas import crew_of
from partitioner.errors import PartitionerError
from partitioner.plan import Plan
from partitioner.topology import NodeId

Faults = (NodesError, OrchestratorError, PartitionerError, OSError)


class Loader:
    """Carries out LoadStage and DropStage, one at a time for each stage on its node.

    `note` is told what went wrong on the way.
    """

    def __init__(self, fleet: Fleet, store: Store, note: Callable[[str, int | None, str], None]) -> None:
        self._fleet, self._store, self._note = fleet, store, note
        self._builds: dict[tuple[str, int], asyncio.Task[dict[str, Built]]] = {}
        self._locks: dict[tuple[str, int, str, NodeId], asyncio.Lock] = {}

    def begin(
        self, name: str, epoch: int, blueprint: Blueprint, plan: Plan, held: Collection[int] | None = None
    ) -> None:
        """Start building an epoch's stages; of its deployment what was built for epochs not in `held` is forgotten."""
        if held is not None:
            self._retain(name, held)
        self._builds[name, epoch] = asyncio.create_task(self._build(name, epoch, blueprint, plan))

    async def load(self, wanted: LoadStage) -> StageReady | StageFailed:
        """Have a stage loaded where it is wanted."""
        name, epoch, stage, node = wanted.deployment, wanted.epoch, wanted.stage, wanted.node
        async with self._locks.setdefault((name, epoch, stage, node), asyncio.Lock()):
            if (begun := self._builds.get((name, epoch))) is None:
                return StageFailed(deployment=name, epoch=epoch, stage=stage, node=node, error="its epoch is gone")
            try:
                built = (await begun)[stage].on(node)
                await self._fleet.give(node, built.folder, built.spec.artifact)
                loaded = await self._fleet.call(node, "load_stage", built.spec)
            except Faults as error:
                return StageFailed(deployment=name, epoch=epoch, stage=stage, node=node, error=str(error))
            self._fleet.note_loaded(built.spec)
            return StageReady(deployment=name, epoch=epoch, stage=stage, node=node, load_s=loaded.seconds)

    async def drop(self, wanted: DropStage) -> StageStopped:
        """Have a stage unloaded; a worker that is gone holds it no more either."""
        name, epoch, stage, node = wanted.deployment, wanted.epoch, wanted.stage, wanted.node
        async with self._locks.setdefault((name, epoch, stage, node), asyncio.Lock()):
            try:
                await self._fleet.call(node, "drop_stage", name, epoch, stage)
            except (NodesError, OrchestratorError) as error:
                self._note(name, epoch, str(error))
        self._fleet.note_dropped(node, name, epoch, stage)
        self._locks.pop((name, epoch, stage, node), None)
        return StageStopped(deployment=name, epoch=epoch, stage=stage, node=node)

    def forget(self, name: str) -> None:
        """A deployment is gone: so is what was built for it."""
        self._retain(name, ())

    def _retain(self, name: str, epochs: Collection[int]) -> None:
        for key in [key for key in self._builds if key[0] == name and key[1] not in epochs]:
            self._builds.pop(key).cancel()

    async def stock(self, name: str, blueprint: Blueprint, plans: Iterable[Plan]) -> None:
        """Put the weights of these plans' stages on the disks of the nodes that would run them."""
        for plan in plans:
            try:
                built = await self._build(name, 0, blueprint, plan)
                for which, node in [(stage.name, node) for stage in plan.stages for node in crew_of(stage)]:
                    one = built[which].on(node)
                    await self._fleet.give(node, one.folder, one.spec.artifact)
            except Faults as error:  # a node that is away is given what it needs when it is to load it
                self._note(name, None, f"not on disk yet: {error}")

    async def _build(self, name: str, epoch: int, blueprint: Blueprint, plan: Plan) -> dict[str, Built]:
        reaches = {node: member.found.reach for node, member in self._fleet.members().items()}
        return await asyncio.to_thread(
            build,
            plan,
            blueprint.model,
            self._store,
            deployment=name,
            epoch=epoch,
            topology=blueprint.tuned_topology,
            reaches=reaches,
            allow_nan=blueprint.spec.allow_nan,
            batching=blueprint.spec.batching,
            sequence=blueprint.spec.sequence,
        )
