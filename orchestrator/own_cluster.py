"""Given plans served on this machine's own workers, without Ray and without re-planning.

What is seen through it is the data plane itself: worker processes, their streams, one router. Benchmarks and
tests use it; a deployment that is to live goes through the client.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from nodes.memory import keep_memory
from nodes.store import Store
from orchestrator.artifacts import Built, build, model_inputs, stateful_of, tensor_specs
from orchestrator.batching import Batching
from orchestrator.fleet import Fleet
from orchestrator.own_host import own_fleet
from orchestrator.padding import Lengths, Pads
from orchestrator.plan_json import plan_id
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes, entries_of
from orchestrator.sequence_terms import SequenceTerms
from orchestrator.waymarks import ragged_taken, rows_taken
from orchestrator.workshop import Workshop
from partitioner.load import Model
from partitioner.plan import Plan
from partitioner.topology import Link, NodeId, Topology

EPOCH = 1
NO_PADS: Pads = {}
NO_LENGTHS: Lengths = {}


class OwnCluster:
    """Workers, emulated links and a router at `source`; `open_cluster` makes one."""

    def __init__(self, fleet: Fleet, topology: Topology, source: NodeId, folder: Path) -> None:
        self.fleet = fleet
        self.store = Store(folder / "artifacts")
        self.workshop = Workshop(fleet, self.store, lambda _said: None)
        self.router = Router(on_drained=lambda _deployment, _epoch: None)
        self.topology, self.source = topology, source
        self._routes: dict[str, EpochRoutes] = {}

    async def deploy(
        self,
        name: str,
        plan: Plan,
        model: Model,
        *,
        slowdown: float | None = None,
        batching: Batching | None = None,
        sequence: SequenceTerms | None = None,
        pads: Pads = NO_PADS,
        lengths: Lengths = NO_LENGTHS,
    ) -> None:
        """Have the workers hold the plan's stages and the router send requests of that name to them.

        `slowdown` takes the place of the nodes' own.
        """
        members = self.fleet.members()
        reaches = {node: member.found.reach for node, member in members.items()}
        built = await asyncio.to_thread(
            build,
            plan,
            model,
            self.store,
            deployment=name,
            epoch=EPOCH,
            topology=self.topology,
            reaches=reaches,
            batching=batching,
            sequence=sequence,
        )
        await self._load(plan, built, slowdown)
        rows, queueing = rows_taken(self.fleet, plan, name, EPOCH), batching or Batching()
        ragged = ragged_taken(self.fleet, model, plan, name, EPOCH)
        inputs, codecs = model_inputs(plan, model, free_rows=rows > 1)
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
            plan=plan_id(plan),
            made=tensor_specs(model, model.graph.outputs, free_rows=rows > 1, ragged=ragged),
            rows=rows,
            preferred=queueing.preferred,
            max_delay_s=queueing.max_delay_s,
            queue_limit=queueing.queue_limit,
            sequence=stateful_of(model, sequence, free_rows=rows > 1),
            pads=pads,
            lengths={} if ragged is None else lengths,
            entries=entries_of(plan),
        )
        await self.router.switch(self._routes[name])

    async def _load(self, plan: Plan, built: Mapping[str, Built], slowdown: float | None) -> None:
        for stage in plan.stages:
            spec = built[stage.name].spec
            await self.fleet.give(stage.node, built[stage.name].folder, spec.artifact)
            wanted = spec if slowdown is None else replace(spec, slowdown=slowdown)
            await self.fleet.call(stage.node, "load_stage", wanted)
            self.fleet.note_loaded(wanted)

    async def shape(self, *links: Link) -> None:
        """Give emulated links new rates, on the workers and on the router's way out."""
        await self.fleet.shape(links)
        shaped, paths = self.fleet.emulation()
        for routes in self._routes.values():
            self.router.renew(replace(routes, shaped=shaped, paths=paths))


@asynccontextmanager
async def open_cluster(topology: Topology, source: NodeId) -> AsyncIterator[OwnCluster]:
    """Fresh worker processes for every node of the topology; they are gone afterwards."""
    keep_memory()
    async with own_fleet() as (fleet, folder):
        cluster = OwnCluster(fleet, topology, source, folder)
        try:
            await fleet.bring_up(topology)
            yield cluster
        finally:
            await cluster.router.close()
