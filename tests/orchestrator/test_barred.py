"""Why a worker lets no stream in is told to whoever waits for it, as long as it was so lately."""

import asyncio

import pytest

from nodes.errors import NotAuthorised
from orchestrator import barred
from orchestrator.actions import FailRequest
from orchestrator.barred import LATELY_S, Barred

FAILED = FailRequest(request="r", error="no answer within 1 s", kind="timeout")


class Clock:
    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(barred, "time", clock)
    return clock


@pytest.fixture(name="refused")
def _refused(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Barred:
    """A worker at `a` had another token, at 100 s."""

    async def refuse(_address: str) -> None:
        raise NotAuthorised("wrong token")

    monkeypatch.setattr(barred, "open_connection", refuse)
    found = Barred()
    with pytest.raises(NotAuthorised):
        asyncio.run(found.open("a"))
    return found


def test_why_a_worker_is_barred_is_told_for_a_while(refused: Barred, clock: Clock) -> None:
    clock.now_s += LATELY_S - 1
    assert refused.told(FAILED).error == "no answer within 1 s; wrong token"
    clock.now_s += 1
    assert refused.told(FAILED) == FAILED


def test_one_that_let_a_stream_in_is_not_barred_any_more(refused: Barred, monkeypatch: pytest.MonkeyPatch) -> None:
    async def let_in(address: str) -> str:
        return address

    monkeypatch.setattr(barred, "open_connection", let_in)
    asyncio.run(refused.open("b"))
    assert refused.told(FAILED) != FAILED
    asyncio.run(refused.open("a"))
    assert refused.told(FAILED) == FAILED
