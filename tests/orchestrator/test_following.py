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

    async def call(self, method: str, _router: str, *args: Any) -> list[Command]:
        if method == "join":
            if args[0] == "gone":
                raise RayTaskError("join", "", UnknownDeployment("gone"))
            self.joined.append(args[0])
        elif method == "poll" and self.joined:
            await asyncio.Event().wait()
        return [Rejoin()]


def test_a_deployment_that_is_gone_does_not_keep_others_from_being_joined_again() -> None:
    bond = Restarted()

    async def follow() -> list[str]:
        following = Following(cast(Bond, bond))
        following.joined += ["one", "gone", "other"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(following.follow(), 5 * REJOIN_S)
        return following.joined

    assert asyncio.run(follow()) == bond.joined == ["one", "other"]


def test_a_router_that_has_joined_nothing_does_not_ask_without_a_pause() -> None:
    bond = Forgetful()

    async def follow() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Following(cast(Bond, bond)).follow(), 2.5 * REJOIN_S)

    asyncio.run(follow())
    assert bond.asked > 0
