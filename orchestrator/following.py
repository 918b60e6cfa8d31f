"""A router's talk with the controller: it does what it is told, and when the controller is away it goes on and waits.

Runs in the router's event loop; nothing that is slow or blocks is done there. It decides nothing.
"""

import asyncio
from collections.abc import Iterable

from orchestrator.bond import AWAY, Bond
from orchestrator.router import Router
from orchestrator.routers import Command, Drain, Offer, Rejoin, Renew, Switch

PAUSE_S = 1.0
POLL_S = 15.0  # a poll that takes longer than the controller's own patience is not being answered
LOOSEN_S = 6.0  # a head that takes no connection for so long is let go of
FAILURES = 5  # polls that fail in a row before the controller is looked for anew


class Following:
    """A `router` that follows the controller that `bond` is tied to. `joined` names the deployments that it serves."""

    def __init__(self, bond: Bond) -> None:
        self._bond = bond
        self.router = Router(on_drained=self._drained, on_suspect=self._suspected)
        self.joined: list[str] = []

    async def follow(self) -> None:
        """Ask what to do, and do it, for ever."""
        failures = 0
        while True:
            try:
                commands = await asyncio.wait_for(self._bond.call("poll", self.router.name), POLL_S)
            except AWAY:
                failures += 1
                if failures >= FAILURES or not self._bond.is_tied:
                    failures = 0 if await self._tie_again() else failures
                await asyncio.sleep(PAUSE_S)
                continue
            failures = 0
            for command in commands:
                try:
                    await self._obey(command)
                except AWAY:
                    continue  # it is told again what it didn't hear of

    async def watch(self) -> None:
        """Let go of a head that is gone, for ever."""
        silent_s = 0.0
        while True:
            await asyncio.sleep(PAUSE_S)
            is_there = not self._bond.is_tied or await asyncio.to_thread(self._bond.answers)
            silent_s = 0.0 if is_there else silent_s + PAUSE_S
            if silent_s >= LOOSEN_S:
                await asyncio.to_thread(self._bond.loosen)

    def _drained(self, deployment: str, epoch: int) -> None:
        """Tell that an epoch is empty here; the controller drains again what it didn't hear of."""
        try:
            self._bond.call("drained", self.router.name, deployment, epoch)
        except AWAY:
            return

    def _suspected(self, deployment: str, epoch: int, stage: str, node: str, why: str) -> None:
        """Tell of a stage that is not to be trusted any more."""
        try:
            self._bond.call("suspect", deployment, epoch, stage, node, why)
        except AWAY:
            return

    async def _tie_again(self) -> bool:
        if not await asyncio.to_thread(self._bond.renew):
            return False
        try:
            await self._join(self.joined)
        except AWAY:
            return False
        return True

    async def _join(self, deployments: Iterable[str]) -> None:
        for name in list(deployments):
            await self._bond.call("join", self.router.name, name)

    async def _obey(self, command: Command) -> None:
        match command:
            case Switch(routes=routes):
                await self.router.switch(routes)
                if command.leaves is not None and command.old_s is not None and command.new_s is not None:
                    self.router.hurry(routes.deployment, command.leaves, old_s=command.old_s, new_s=command.new_s)
                await self._bond.call("switched", self.router.name, routes.deployment, routes.epoch)
            case Offer(routes=routes):
                await self.router.offer(routes)
            case Drain(deployment=deployment, epoch=epoch):
                self.router.drain(deployment, epoch)
            case Renew(routes=routes):
                self.router.renew(routes)
            case Rejoin():
                await self._join(self.joined)
