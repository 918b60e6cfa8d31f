"""A gateway's process: it follows the controller as any router does, and opens the doors.

While the controller is away it goes on by the routes that it has; what was deployed meanwhile it hears of afterwards.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayTaskError

from nodes.memory import keep_memory
from orchestrator.bond import AWAY, Bond, tie
from orchestrator.following import Following
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import BUDGET_S, Serving
from orchestrator.telling import tell_links

LOOK_S = 1.0  # between two looks at which deployments there are
ASKED_S = 5.0
FAREWELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the command line says. `address` None: this machine's own cluster. `budget_s`: a request's longest time."""

    address: str | None = None
    token: str | None = None
    listen: Listen = field(default_factory=Listen)
    budget_s: float = BUDGET_S


def run_gateway(settings: GatewaySettings, announce: Callable[[Mapping[str, Any]], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `announce` hears of the ports once they are open."""
    keep_memory()
    bond, _ = tie(settings.address, token=settings.token)
    try:
        asyncio.run(_serve(bond, settings, announce))
    finally:
        ray.shutdown()


async def _serve(bond: Bond, settings: GatewaySettings, announce: Callable[[Mapping[str, Any]], None]) -> None:
    following, ended = Following(bond), asyncio.Event()
    serving = Serving(RouterSource(following.router), budget_s=settings.budget_s)
    doors = Doors(serving, Repository(serving), settings.listen)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    tasks = [
        asyncio.create_task(work, name=f"gateway-{name}")
        for name, work in {
            "follow": following.follow(),
            "watch": following.watch(),
            "count": following.count(),
            "links": tell_links(following.router, bond),
        }.items()
    ]
    try:
        await look(following, bond)
        await doors.open()
        announce({"grpc": doors.grpc, "http": doors.http, "pid": os.getpid(), "router": following.router.name})
        tasks.append(asyncio.create_task(_keep_looking(following, bond), name="gateway-look"))
        await ended.wait()
    finally:
        await doors.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(*AWAY):
            await asyncio.wait_for(bond.call("leave", following.router.name), FAREWELL_S)
        await following.router.close()


async def _keep_looking(following: Following, bond: Bond) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        await look(following, bond)


async def look(following: Following, bond: Bond) -> None:
    """Join deployments that are new, and forget those that are gone."""
    try:
        names = (await asyncio.wait_for(bond.call("status"), ASKED_S))["deployments"]
        following.joined[:] = [name for name in following.joined if name in names]
        for name in [name for name in names if name not in following.joined]:
            with suppress(RayTaskError):  # it does not serve yet, or was deleted since
                await following.join(name)
    except AWAY:
        return
