"""A router's talk with its controller, with a controller that answers at once in place of Ray's."""

import asyncio
from typing import Any, cast

import pytest
from ray.exceptions import RayTaskError

from orchestrator.bond import Bond
from orchestrator.errors import UnknownDeployment
from orchestrator.following import REJOIN_S, Following
from orchestrator.routers import Command, Rejoin


class Forgetful:
    """A bond to a controller that knows no router, and bears to be asked three times."""

    is_tied = True

    def __init__(self) -> None:
        self.asked = 0

    async def call(self, method: str, *_: Any) -> list[Command]:
        self.asked += method == "poll"
        assert self.asked <= 3, "asked without a pause"
        return [Rejoin()]


class Restarted:
    """A bond to a controller that knows no router at first, and one deployment of three no more."""

    is_tied = True

    def __init__(self) -> None:
        self.joined: list[str] = []
        self.is_through = asyncio.Event()

    async def call(self, method: str, _router: str, *args: Any) -> list[Command]:
        if method == "join":
            if args[0] == "gone":
                raise RayTaskError("join", "", UnknownDeployment("gone"))
            self.joined.append(args[0])
        elif method == "poll" and self.joined:
            self.is_through.set()
            await asyncio.Event().wait()
        return [Rejoin()]


def test_a_deployment_that_is_gone_does_not_keep_others_from_being_joined_again() -> None:
    async def follow() -> tuple[list[str], list[str]]:
        bond = Restarted()
        following = Following(cast(Bond, bond))
        following.joined += ["one", "gone", "other"]
        task = asyncio.create_task(following.follow())
        await asyncio.wait_for(bond.is_through.wait(), 20)
        task.cancel()
        return following.joined, bond.joined

    assert asyncio.run(follow()) == (["one", "other"], ["one", "other"])


def test_a_router_that_has_joined_nothing_does_not_ask_without_a_pause() -> None:
    bond = Forgetful()

    async def follow() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Following(cast(Bond, bond)).follow(), 2.5 * REJOIN_S)

    asyncio.run(follow())
    assert bond.asked > 0
