"""Real worker processes and a fleet to drive them, with an event loop in a thread: everything but Ray."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from nodes.store import Store
from orchestrator.agent import Agent
from orchestrator.artifacts import build, model_inputs, stateful_of, tensor_specs
from orchestrator.batching import Batching
from orchestrator.blueprint import Blueprint
from orchestrator.fleet import AgentHandle, Fleet
from orchestrator.plan_json import plan_id
from orchestrator.routes import EpochRoutes
from orchestrator.waymarks import lengths_of, ragged_taken, rows_taken
from partitioner.plan import Plan
from partitioner.topology import Node, Topology
from tests.orchestrator.small_site import blueprint_of, site

T = TypeVar("T")


class OwnAgent:
    """This process as the one host's agent; it keeps what workers tell."""

    host, shares_disk = "here", True

    def __init__(self, folder: Path) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.agent = Agent(
            folder=folder, host="127.0.0.1", controller="tests", secret="s" * 32, token=None, tell=self._tell
        )

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        return await getattr(self.agent, method)(*args, **options)

    async def _tell(self, node: str, event: Mapping[str, Any]) -> None:
        self.told.append((node, event))


class WorkerSite:
    """Workers for camera and cloud, brought up when first needed; `do` runs what is asynchronous."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worker-site", daemon=True)
        self._thread.start()
        self.do(self._open())

    async def _open(self) -> None:
        self.agent = OwnAgent(self.folder / "workers")
        self.fleet = Fleet(self._find_agent, emulated=True)
        self.store = Store(self.folder / "artifacts")

    async def _find_agent(self, _node: Node) -> AgentHandle:
        return self.agent

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of asynchronous work, which must be there within a minute."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def load(
        self,
        name: str,
        epoch: int,
        topology: Topology | None = None,
        batching: Batching | None = None,
        slowed: Mapping[str, float] | None = None,
        blueprint: Blueprint | None = None,
        without: tuple[str, ...] = (),
    ) -> EpochRoutes:
        """Plan, `without` some nodes, build and load an epoch of a deployment; the routes that lead into it.

        `slowed`: nodes whose stages are slower by so much than the plan was made for.
        """
        blueprint = blueprint or blueprint_of(self.folder, topology or site(slowdown=2))
        await self.fleet.bring_up(blueprint.spec.topology)
        plan = blueprint.find((), without)
        assert isinstance(plan, Plan)
        where = {node: member.found.reach for node, member in self.fleet.members().items()}
        built = build(
            plan, blueprint.model, self.store, deployment=name, epoch=epoch, topology=blueprint.spec.topology,
            reaches=where, batching=batching, sequence=blueprint.spec.sequence,
        )  # fmt: skip
        for stage in plan.stages:
            await self.fleet.give(stage.node, built[stage.name].folder, built[stage.name].spec.artifact)
            planned = built[stage.name].spec
            spec = replace(planned, slowdown=(slowed or {}).get(stage.node, planned.slowdown))
            await self.fleet.call(stage.node, "load_stage", spec)
            self.fleet.note_loaded(spec)
        rows, queueing = rows_taken(self.fleet, plan, name, epoch), batching or Batching()
        inputs, codecs = model_inputs(plan, blueprint.model, free_rows=rows > 1)
        ragged = ragged_taken(self.fleet, blueprint.model, plan, name, epoch)
        shaped, paths = self.fleet.emulation()
        return EpochRoutes(
            deployment=name,
            epoch=epoch,
            source="camera",
            stages=tuple((stage.name, where[stage.node]) for stage in plan.stages),
            inputs=inputs,
            codecs=codecs,
            outputs=blueprint.model.graph.outputs,
            shaped=shaped,
            paths=paths,
            plan=plan_id(plan),
            made=tensor_specs(blueprint.model, blueprint.model.graph.outputs, free_rows=rows > 1, ragged=ragged),
            rows=rows,
            preferred=queueing.preferred,
            max_delay_s=queueing.max_delay_s,
            queue_limit=queueing.queue_limit,
            sequence=stateful_of(blueprint.model, blueprint.spec.sequence, free_rows=rows > 1),
            pads={entry.name: entry.pad for entry in blueprint.spec.inputs if entry.pad is not None},
            lengths={} if ragged is None else lengths_of(blueprint.spec),
        )

    def close(self) -> None:
        """End the workers."""
        self.do(self.fleet.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
