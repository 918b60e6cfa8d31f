"""Keeps an eye on workers: asks the silent ones, and has lost ones brought back. Part of the controller's shell.

It tells what it finds and decides nothing about deployments.
"""

import asyncio
from collections.abc import Callable

from nodes.errors import NodesError
from orchestrator.desk import Desk
from orchestrator.errors import OrchestratorError
from orchestrator.fleet import Fleet
from partitioner.topology import Node, NodeId

PAUSE_S = 1.0


class Watchman:
    """`lose(node, why)` and `found(node)` hear what happened, `note(what, deployment, epoch, why)` what went wrong."""

    def __init__(
        self,
        fleet: Fleet,
        desk: Desk,
        *,
        lose: Callable[[NodeId, str], None],
        found: Callable[[NodeId], None],
        note: Callable[[str, str, int | None, str], None],
    ) -> None:
        self._fleet, self._desk = fleet, desk
        self._lose, self._found, self._note = lose, found, note
        self._returning: dict[NodeId, asyncio.Task[None]] = {}

    async def ask_around(self) -> None:
        """Ask every worker for its health, again and again; one that is silent twice running is lost."""
        before: dict[NodeId, str] = {}
        while True:
            await asyncio.sleep(PAUSE_S)
            await self._fleet.come_home()
            silent = await self._fleet.silent()
            for node in [node for node in silent if node in before]:
                self._lose(node, silent.pop(node))
            before = silent

    def expect(self, node: NodeId) -> None:
        """Have a lost node's worker again, trying for as long as a deployment names the node."""
        if node not in self._returning:
            task = asyncio.create_task(self._bring_back(node), name=f"return-{node}")
            self._returning[node] = task
            task.add_done_callback(self._ended)

    def close(self) -> None:
        """Wait for nobody any more."""
        for task in list(self._returning.values()):
            task.cancel()

    async def _bring_back(self, node: NodeId) -> None:
        said = ""
        while (wanted := self._named(node)) is not None:
            try:
                await self._fleet.rejoin(wanted)
            except (NodesError, OrchestratorError) as error:
                if str(error) != said:
                    said = str(error)
                    self._note("lost", "", None, said)
                await asyncio.sleep(PAUSE_S)
            else:
                del self._returning[node]  # it may be lost again before this task has ended
                self._found(node)
                return
        del self._returning[node]

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._note("fault", "", None, f"{task.get_name()}: {type(fault).__name__}: {fault}")

    def _named(self, name: NodeId) -> Node | None:
        topologies = [blueprint.spec.topology for blueprint in self._desk.blueprints.values()]
        return next((topology.node(name) for topology in topologies if name in topology.by_name), None)
