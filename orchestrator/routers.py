"""The controller's side of its routers: what each is to be told, kept until it asks.

Routers ask by long poll, so a command reaches them within a round trip and no port is opened at them.
"""

import asyncio
from dataclasses import dataclass, field

from orchestrator.routes import EpochRoutes
from orchestrator.splitting import Split

POLL_S = 5.0
LOST_S = 15.0  # a router that has not asked for so long is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Send new requests into this epoch.

    A request takes `old_s` in epoch `leaves` and `new_s` here, alone, under today's links; None: nobody knows.
    """

    routes: EpochRoutes
    leaves: int | None = None
    old_s: float | None = None
    new_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Send nothing more into this epoch, and say when it is empty."""

    deployment: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """The emulated links changed, or where a watched worker is; the epoch stays."""

    routes: EpochRoutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An epoch stands by: send requests into it while the one in use fails, without being told to."""

    routes: EpochRoutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """An epoch of a version on trial: let requests concern it as the split says, and count."""

    routes: EpochRoutes
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejoin:
    """The controller is another one than the router joined: join every deployment again."""


Command = Switch | Drain | Renew | Offer | Try | Rejoin


@dataclass(slots=True)
class _Held:
    deployments: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    asked_s: float = 0.0
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Routers:
    """Every router that has joined, with its queue of commands."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def join(self, router: str, deployment: str, now_s: float) -> bool:
        """Note that a router wants this deployment's routes; False if it already had them."""
        held = self._held.setdefault(router, _Held())
        held.asked_s = now_s
        if deployment in held.deployments:
            return False
        held.deployments.append(deployment)
        return True

    def knows(self, router: str) -> bool:
        """Whether it has joined anything here."""
        return router in self._held

    def leave(self, router: str) -> list[str]:
        """Forget a router; the deployments it had joined."""
        held = self._held.pop(router, None)
        return [] if held is None else held.deployments

    def forget(self, deployment: str) -> None:
        """A deployment is gone: nobody has joined it any more."""
        for held in self._held.values():
            held.deployments = [name for name in held.deployments if name != deployment]

    def tell(self, router: str, command: Command) -> bool:
        """Queue a command; False if the router is not there."""
        held = self._held.get(router)
        if held is None:
            return False
        held.commands.append(command)
        held.news.set()
        return True

    def of(self, deployment: str) -> list[str]:
        """Routers that have joined the deployment, in the order they came."""
        return [name for name, held in self._held.items() if deployment in held.deployments]

    def names(self) -> list[str]:
        """All routers."""
        return list(self._held)

    def lost(self, now_s: float) -> list[str]:
        """Routers that have not asked for LOST_S seconds."""
        return [name for name, held in self._held.items() if now_s - held.asked_s > LOST_S]

    async def poll(self, router: str, now_s: float) -> list[Command]:
        """Commands for this router, waiting a while for the first."""
        held = self._held.setdefault(router, _Held())
        held.asked_s = now_s
        if not held.commands:
            held.news.clear()
            try:
                await asyncio.wait_for(held.news.wait(), POLL_S)
            except TimeoutError:
                return []
        commands, held.commands = held.commands, []
        return commands
