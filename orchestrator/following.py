"""A router's talk with the controller: it does what it is told, and when the controller is away it goes on and waits.

Runs in the router's event loop; nothing that is slow or blocks is done there. It decides nothing.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from ray.exceptions import RayTaskError

from orchestrator.bond import AWAY, Bond
from orchestrator.errors import UnknownDeployment
from orchestrator.router import Router
from orchestrator.routers import Command, Drain, Offer, Rejoin, Renew, Switch, Try
from policies.rollout import Tally

PAUSE_S = 1.0
COUNT_S = 1.0  # between two words on a trial
POLL_S = 15.0  # a poll that takes longer than the controller's own patience is not being answered
LOOSEN_S = 6.0  # a head that takes no connection for so long is let go of
FAILURES = 5  # polls that fail in a row before the controller is looked for anew
REJOIN_S = 0.1  # between polls of a router that has joined nothing: each is answered at once


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
                commands = await self._call("poll")
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
            if Rejoin() in commands:
                await asyncio.sleep(REJOIN_S)

    async def watch(self) -> None:
        """Let go of a head that is gone, for ever."""
        silent_s = 0.0
        while True:
            await asyncio.sleep(PAUSE_S)
            is_there = not self._bond.is_tied or await asyncio.to_thread(self._bond.answers)
            silent_s = 0.0 if is_there else silent_s + PAUSE_S
            if silent_s >= LOOSEN_S:
                await asyncio.to_thread(self._bond.loosen)

    async def count(self) -> None:
        """Tell once a second what was counted of versions on trial, if that is news, for ever."""
        told: dict[str, tuple[int, int, Tally, Tally]] = {}
        while True:
            await asyncio.sleep(COUNT_S)
            for name, trial in self.router.trials().items():
                counts = (trial.split.epoch, trial.split.step, *trial.tallies())
                if told.get(name) != counts:
                    try:
                        await asyncio.wait_for(self._bond.call("counted", self.router.name, name, *counts), POLL_S)
                    except AWAY:
                        continue  # counts are sums: the next one tells of this, too
                    told[name] = counts

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

    async def _call(self, method: str, *args: Any) -> Any:
        """Call the controller in this router's name; one of AWAY where it doesn't answer in time."""
        return await asyncio.wait_for(self._bond.call(method, self.router.name, *args), POLL_S)

    async def _tie_again(self) -> bool:
        if not await asyncio.to_thread(self._bond.renew):
            return False
        try:
            await self._join(self.joined)
        except AWAY:
            return False
        return True

    async def join(self, name: str) -> None:
        """Have a deployment's routes from now on, once it serves. One of AWAY; UnknownDeployment as Ray tells it."""
        await self._call("join", name)
        if name not in self.joined:
            self.joined.append(name)

    async def _join(self, deployments: Iterable[str]) -> None:
        """Those that are gone are joined no more, and do not keep the others from it."""
        for name in list(deployments):
            try:
                await self._call("join", name)
            except RayTaskError as error:
                if not isinstance(error.cause, UnknownDeployment):
                    raise
                self.joined[:] = [other for other in self.joined if other != name]

    async def _obey(self, command: Command) -> None:
        match command:
            case Switch(routes=routes):
                await self.router.switch(routes)
                if command.leaves is not None and command.old_s is not None and command.new_s is not None:
                    self.router.hurry(routes.deployment, command.leaves, old_s=command.old_s, new_s=command.new_s)
                await self._call("switched", routes.deployment, routes.epoch)
            case Offer(routes=routes):
                await self.router.offer(routes)
            case Drain(deployment=deployment, epoch=epoch):
                self.router.drain(deployment, epoch)
            case Renew(routes=routes):
                self.router.renew(routes)
            case Try(routes=routes, split=split):
                await self.router.try_out(routes, split)
            case Rejoin():
                await self._join(self.joined)
