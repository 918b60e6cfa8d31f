"""Workers for a topology on this machine, driven as the controller drives them but without Ray.

What is timed through it is the data plane itself: worker processes, their streams, one router. Nothing here plans.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from nodes.memory import keep_memory
from nodes.store import Store
from orchestrator.agent import Agent
from orchestrator.artifacts import build, model_inputs
from orchestrator.fleet import AgentHandle, Fleet
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from orchestrator.workshop import Workshop
from partitioner.load import Model
from partitioner.plan import Plan
from partitioner.topology import Link, Node, NodeId, Topology

EPOCH = 1


class OwnAgent:
    """The one host's agent, in this process."""

    host, shares_disk = "here", True

    def __init__(self, folder: Path) -> None:
        self._agent = Agent(
            folder=folder, host="127.0.0.1", controller="benchmark", secret=token_hex(16), token=None, tell=_ignore
        )

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        """A method of `Agent` by name."""
        return await getattr(self._agent, method)(*args, **options)


async def _ignore(_node: str, _event: Mapping[str, Any]) -> None:
    """Nobody re-plans here."""


class Cluster:
    """Workers, links and a router at `source`. `open_cluster` makes one."""

    def __init__(self, topology: Topology, source: NodeId, folder: Path) -> None:
        agent = OwnAgent(folder / "workers")

        async def find_agent(_node: Node) -> AgentHandle:
            return agent

        self.fleet = Fleet(find_agent, emulated=True)
        self.store = Store(folder / "artifacts")
        self.workshop = Workshop(self.fleet, self.store, lambda _said: None)
        self.router = Router(on_drained=lambda _deployment, _epoch: None)
        self.topology, self.source = topology, source
        self._routes: dict[str, EpochRoutes] = {}

    async def deploy(self, name: str, plan: Plan, model: Model, *, slowdown: float | None = None) -> None:
        """Have the workers hold the plan's stages and the router send requests of that name to them.

        `slowdown` takes the place of the nodes' own.
        """
        members = self.fleet.members()
        reaches = {node: member.found.reach for node, member in members.items()}
        built = await asyncio.to_thread(
            build, plan, model, self.store, deployment=name, epoch=EPOCH, topology=self.topology, reaches=reaches
        )
        for stage in plan.stages:
            spec = built[stage.name].spec
            await self.fleet.give(stage.node, built[stage.name].folder, spec.artifact)
            await self.fleet.call(
                stage.node, "load_stage", spec if slowdown is None else replace(spec, slowdown=slowdown)
            )
        inputs, codecs = model_inputs(plan, model)
        shaped, paths = self.fleet.emulation()
        self._routes[name] = EpochRoutes(
            deployment=name,
            epoch=EPOCH,
            source=self.source,
            stages=tuple((stage.name, reaches[stage.node]) for stage in plan.stages),
            inputs=inputs,
            codecs=codecs,
            outputs=model.graph.outputs,
            shaped=shaped,
            paths=paths,
        )
        await self.router.switch(self._routes[name])

    async def shape(self, *links: Link) -> None:
        """Give emulated links new rates, on the workers and on the router's way out."""
        await self.fleet.shape(links)
        shaped, paths = self.fleet.emulation()
        for routes in self._routes.values():
            self.router.reshape(replace(routes, shaped=shaped, paths=paths))


@asynccontextmanager
async def open_cluster(topology: Topology, source: NodeId) -> AsyncIterator[Cluster]:
    """Fresh worker processes for every node of the topology; they are gone afterwards."""
    keep_memory()
    with TemporaryDirectory(prefix="isthmus-bench-") as folder:
        cluster = Cluster(topology, source, Path(folder))
        try:
            await cluster.fleet.bring_up(topology)
            yield cluster
        finally:
            await cluster.router.close()
            await cluster.fleet.stop()
