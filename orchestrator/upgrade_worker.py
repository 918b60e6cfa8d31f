"""One worker replaced by a new process under load: started beside it, loaded, switched to, then the old one ends.

Part of the controller's shell. What is to be loaded anew, and when routers switch, the control core decides; here a
process is started, the core told, and waited for. If the new worker fails, all goes back to the old one.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from orchestrator.control import Control
from orchestrator.errors import ClusterError
from orchestrator.events import Event, StageFailed, WorkerReplaced
from orchestrator.fleet import Fleet, Member
from orchestrator.knowledge import DeploymentRecord, EpochRecord
from partitioner.topology import NodeId

CALM_S = 60.0  # for what is under way to end first
PATIENCE_S = 600.0  # for the stages to be loaded anew, and requests in the old epochs to end
LOOK_S = 0.05


class WorkerUpgrade:
    """Replaces one worker at a time. `handle` takes events to the core, `renew` tells routers of other addresses."""

    def __init__(
        self, control: Control, fleet: Fleet, handle: Callable[[Event], None], renew: Callable[[], None]
    ) -> None:
        self._control, self._fleet, self._handle, self._renew = control, fleet, handle, renew
        self._leaving: Member | None = None
        self._coming: Member | None = None
        self._fault = ""
        self.node: NodeId | None = None  # whose worker is being replaced

    async def replace(self, node: NodeId, code: str) -> float:
        """Give a node a new worker, of this version of the code; seconds that it took.

        ClusterError if there can be none, or it can't take over; then the old one serves as before.
        """
        if self.node is not None:
            raise ClusterError(f"the worker of node {self.node} is being replaced; wait for that")
        began_s, old = time.monotonic(), self._fleet.member(node)
        self.node, self._fault = node, ""
        try:
            new = await self._started(old, code)
            try:
                await self._until_calm()
            except ClusterError:
                await old.agent.run("take_back", node, new.key)
                raise
            await self._take_over(node, old, new)
        finally:
            self.node = self._leaving = self._coming = None
        return time.monotonic() - began_s

    def lost(self, node: NodeId, key: str, why: str) -> bool:
        """Whether the worker that was lost is one of two that its node has now; then what follows of it is done."""
        if node != self.node or self._leaving is None or self._coming is None:
            return False
        there = self._left(node)
        if key == self._coming.key:
            self._fault = f"its new worker was lost: {why}"
            there = [one for one in self._on(node) if one not in there]
        for name, epoch in there:
            for stage in [stage.name for stage in epoch.stages if stage.node == node]:
                self._handle(StageFailed(deployment=name, epoch=epoch.number, stage=stage, node=node, error=why))
        return True

    async def _started(self, old: Member, code: str) -> Member:
        """A worker beside the old one, with the links that it sees; of that code, or it ends again."""
        new = replace(old, found=await old.agent.run("beside", old.wanted))
        told = new.found.claimed.code
        if told != code:
            await old.agent.run("take_back", old.wanted.node, new.key)
            raise ClusterError(
                f"node {old.wanted.node}: the code installed there is {told or 'too old to tell its version'}, not "
                f"{code}; install that there first, then upgrade again"
            )
        if self._fleet.emulated:
            await new.agent.run("call", new.key, "shape", *self._fleet.emulation())
        return new

    async def _take_over(self, node: NodeId, old: Member, new: Member) -> None:
        if fault := await self._moved(node, old, new):
            if again := await self._moved(node, new, old):
                raise ClusterError(f"node {node}: {fault}; both workers are left as they are, as {again}")
            await new.agent.run("take_back", node, new.key)
            self._fleet.settle(node)
            raise ClusterError(f"node {node}: {fault}; its old worker serves as before")
        await old.agent.run("stop", old.key)
        self._fleet.settle(node)

    async def _moved(self, node: NodeId, leaving: Member, coming: Member) -> str:
        """Have everything on one worker loaded on the other, and wait until nothing is left; what went wrong, or ""."""
        self._leaving, self._coming, self._fault = leaving, coming, ""
        epochs = [(name, epoch.number) for name, epoch in self._on(node)]
        self._fleet.move(node, coming, epochs)
        tried = self._tell(node, self._left(node), [])
        self._renew()
        until_s = time.monotonic() + PATIENCE_S
        while (left := self._left(node)) or self._awaits(node):
            if self._fault:
                return self._fault
            if time.monotonic() > until_s:
                return f"after {PATIENCE_S:g} s requests or stages are still on the old worker"
            late = [(name, epoch) for name, epoch in left if self._is_still(name, epoch)]
            if failed := [name for name, epoch in late if (name, epoch.number) in tried]:
                why = self._control.deployments()[failed[0]].reason
                return f"{failed[0]} can't be loaded on its new worker: {why}"
            tried = self._tell(node, late, tried)
            await asyncio.sleep(LOOK_S)
        return ""

    def _tell(
        self, node: NodeId, there: list[tuple[str, EpochRecord]], told: list[tuple[str, int]]
    ) -> list[tuple[str, int]]:
        """Tell the core which deployments are to leave; the epochs of which it has been told by now."""
        if there:
            names = tuple(dict.fromkeys(name for name, _ in there))
            told = [*told, *((name, epoch.number) for name, epoch in there if self._is_still(name, epoch))]
            self._handle(WorkerReplaced(node=node, deployments=names))
        return told

    def _is_still(self, name: str, epoch: EpochRecord) -> bool:
        """Whether an epoch is used or stands by, and nothing is under way that would change that."""
        deployment = self._control.deployments()[name]
        is_used = deployment.active == epoch.number and not epoch.lost_stage
        return epoch.story.state == "standby" or (is_used and deployment.is_idle)

    def _awaits(self, node: NodeId) -> bool:
        """Whether something is to replace what runs, and has a part on this node."""
        deployments = self._control.deployments()
        return any(deployments[name].candidate == epoch.number for name, epoch in self._on(node))

    def _left(self, node: NodeId) -> list[tuple[str, EpochRecord]]:
        """What of the epochs that stayed on the old worker is still there."""
        stayed = self._fleet.stayed(node)
        return [(name, epoch) for name, epoch in self._on(node) if (name, epoch.number) in stayed]

    def _on(self, node: NodeId) -> list[tuple[str, EpochRecord]]:
        """Epochs that have something on a node."""
        return [
            (name, epoch)
            for name, deployment in self._control.deployments().items()
            for epoch in deployment.epochs
            if any(stage.node == node and stage.story.state != "gone" for stage in epoch.stages)
        ]

    async def _until_calm(self) -> None:
        """Wait until nothing else is under way. ClusterError, which names it, if that takes too long."""
        until_s = time.monotonic() + CALM_S
        while busy := [one for one in self._control.deployments().values() if _busy(one)]:
            if on_trial := [one.name for one in busy if one.trial is not None]:
                raise ClusterError(
                    f"{on_trial[0]} tries a new version; isthmus rollback {on_trial[0]}, then upgrade again"
                )
            if time.monotonic() > until_s:
                raise ClusterError(f"{busy[0].name} is {_busy(busy[0])}; wait for that, then upgrade again")
            await asyncio.sleep(LOOK_S)


def _busy(deployment: DeploymentRecord) -> str:
    """What is under way with a deployment, "" if nothing."""
    active = deployment.epoch(deployment.active)
    if deployment.trial is not None:
        return "on trial"
    if deployment.story.state == "failed" or (deployment.is_idle and active is not None and not active.lost_stage):
        return ""
    return deployment.story.state if deployment.story.state != "running" else "being changed"
