"""A gateway's process: it follows the controller as any router does, and opens the doors.

While the controller is away it goes on by the routes that it has; what was deployed meanwhile it hears of afterwards.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from nodes import json_log
from nodes.memory import keep_memory, spare_what_is_there
from orchestrator.bond import AWAY, Bond, tie
from orchestrator.following import Following
from orchestrator.gateway.accounts import Accounts, accounts_of
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import BUDGET_S, Serving
from orchestrator.gateway.spec_folder import SpecFolder
from orchestrator.loops import end_tasks
from orchestrator.telling import tell_links

LOOK_S = 1.0  # between two looks at which deployments there are
ASKED_S = 5.0
GONE = ("failed", "deleting", "deleted")  # states of deployments that nobody can ask
SETTLED_S, SETTLING_S = 30.0, 0.02
FAREWELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the command line says. `address` None: this machine's own cluster. `budget_s`: a request's longest time.
    `repository`: a folder of specs that clients may load and unload; None: they may not. `otlp`: HOST:PORT of the
    collector that spans are sent to; None: none are made.
    """

    address: str | None = None
    token: str | None = None
    listen: Listen = field(default_factory=Listen)
    budget_s: float = BUDGET_S
    repository: Path | None = None
    otlp: str | None = None


def run_gateway(settings: GatewaySettings, announce: Callable[[Mapping[str, Any]], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `announce` hears of the ports once they are open."""
    keep_memory()
    json_log.set_up()
    accounts = accounts_of(settings.otlp)
    bond, _ = tie(settings.address, token=settings.token)
    try:
        asyncio.run(_serve(bond, settings, accounts, announce))
    finally:
        accounts.close()
        ray.shutdown()


async def _serve(
    bond: Bond, settings: GatewaySettings, accounts: Accounts, announce: Callable[[Mapping[str, Any]], None]
) -> None:
    following, ended = Following(bond), asyncio.Event()
    serving = Serving(RouterSource(following.router), budget_s=settings.budget_s, accounts=accounts)
    settling = Settling(following, serving)
    folder = settings.repository
    deployer = None if folder is None else SpecFolder(folder, bond, settling.served, settling.gone)
    doors = Doors(serving, Repository(serving, deployer), settings.listen, following.router.metrics.registry)
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
        spare_what_is_there()
        ports = {"grpc": doors.grpc, "http": doors.http, "metrics": doors.metrics}
        announce(ports | {"pid": os.getpid(), "router": following.router.name})
        tasks.append(asyncio.create_task(_keep_looking(following, bond), name="gateway-look"))
        over = asyncio.create_task(ended.wait(), name="gateway-ended")
        done, _ = await asyncio.wait({over, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {over}:
            task.result()  # none of them ends by itself: it raises what ended it
    finally:
        await doors.close()
        await end_tasks()
        with suppress(*AWAY):
            await asyncio.wait_for(bond.call("leave", following.router.name), FAREWELL_S)
        await following.router.close()


class Settling:
    """Waits until this gateway has seen what a client had done."""

    def __init__(self, following: Following, serving: Serving) -> None:
        self._following, self._serving = following, serving

    async def served(self, name: str) -> None:
        """The deployment can be asked here. Refused if that takes longer than SETTLED_S."""
        with suppress(*AWAY):
            await self._following.join(name)
        await self._until(name, is_there=True)

    async def gone(self, name: str) -> None:
        """It is not known here any more."""
        await self._until(name, is_there=False)

    async def _until(self, name: str, *, is_there: bool) -> None:
        try:
            async with asyncio.timeout(SETTLED_S):
                while self._serving.is_ready(name) is not is_there:
                    await asyncio.sleep(SETTLING_S)
        except TimeoutError:
            raise Refused(Fault.UNAVAILABLE, f"model {name!r}: done, but not seen here after {SETTLED_S:g} s") from None


async def _keep_looking(following: Following, bond: Bond) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        await look(following, bond)


async def look(following: Following, bond: Bond) -> None:
    """Join deployments that are new or anew, and send nothing more into those that are gone."""
    router, joined = following.router, following.joined
    try:
        told = (await asyncio.wait_for(bond.call("status"), ASKED_S))["deployments"]
        there = {name: facts["routers"] for name, facts in told.items() if facts["state"] not in GONE}
        for name in [name for name, routers in there.items() if name not in joined or router.name not in routers]:
            with suppress(RayTaskError):  # it does not serve yet, or was deleted since
                await following.join(name)
    except AWAY:
        return
    joined[:] = [name for name in joined if name in there]
    for name, held in router.deployments.items():
        for epoch in list(held.epochs) if name not in there else ():
            router.drain(name, epoch)
