"""A router's talk with its controller, with a controller that answers at once in place of Ray's."""

import asyncio
from typing import Any, cast

import pytest

from orchestrator.bond import Bond
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


def test_a_router_that_has_joined_nothing_does_not_ask_without_a_pause() -> None:
    bond = Forgetful()

    async def follow() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Following(cast(Bond, bond)).follow(), 2.5 * REJOIN_S)

    asyncio.run(follow())
    assert bond.asked > 0
