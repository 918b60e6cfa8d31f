"""The same request id gets one answer, computed once."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.answers import Answer
from orchestrator.errors import RequestFailed, RequestTimeout
from orchestrator.once import Once
from orchestrator.remembered import Remembered
from orchestrator.router import Router
from orchestrator.router_metrics import RouterMetrics

KEY = ("d", "r1")


class Work:
    """A computation that ends when told to; counts how often it was begun."""

    def __init__(self, **bounds: float) -> None:
        self.metrics = RouterMetrics()
        self.once = Once(Remembered[str](**bounds), len, self.metrics)  # type: ignore[arg-type]
        self.begun = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def begin(self) -> str:
        self.begun += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"answer {self.begun}"

    def ask(self, budget_s: float = 5.0) -> "asyncio.Task[str]":
        return asyncio.create_task(self.once.once(KEY, self.begin, budget_s))

    def repeats(self, how: str) -> float:
        return self.metrics.registry.get_sample_value("isthmus_router_repeats_total", {"how": how}) or 0.0


def with_work(scenario: Callable[[Work], Awaitable[None]], **bounds: float) -> None:
    async def whole() -> None:
        await asyncio.wait_for(scenario(Work(**bounds)), 5)

    asyncio.run(whole())


def test_one_under_way_is_joined() -> None:
    async def scenario(work: Work) -> None:
        asked = [work.ask(), work.ask()]
        await asyncio.sleep(0)
        work.gate.set()
        assert await asyncio.gather(*asked) == ["answer 1"] * 2
        assert (work.begun, work.repeats("joined")) == (1, 1)

    with_work(scenario)


def test_one_that_was_answered_is_answered_again_and_not_computed() -> None:
    async def scenario(work: Work) -> None:
        work.gate.set()
        assert [await work.ask(), await work.ask()] == ["answer 1"] * 2
        assert (work.begun, work.repeats("remembered")) == (1, 1)

    with_work(scenario)


def test_a_caller_that_goes_away_ends_nothing_and_finds_its_answer_when_it_is_back() -> None:
    async def scenario(work: Work) -> None:
        gone = work.ask()
        while not work.begun:
            await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        work.gate.set()
        assert await work.ask() == "answer 1"

    with_work(scenario)


def test_a_failure_is_told_to_all_who_wait_and_tried_again_when_asked_again() -> None:
    async def scenario(work: Work) -> None:
        work.error = RequestFailed("broken")
        work.gate.set()
        asked = [work.ask(), work.ask()]
        for each in asked:
            with pytest.raises(RequestFailed, match="broken"):
                await each
        work.error = None
        assert await work.ask() == "answer 2"

    with_work(scenario)


def test_a_joiner_waits_no_longer_than_its_own_budget() -> None:
    async def scenario(work: Work) -> None:
        first = work.ask()
        with pytest.raises(RequestTimeout, match="it is still under way"):
            await work.ask(0.0)
        work.gate.set()
        assert await first == "answer 1"

    with_work(scenario)


def test_an_answer_too_large_to_keep_is_counted_and_computed_anew() -> None:
    async def scenario(work: Work) -> None:
        work.gate.set()
        assert [await work.ask(), await work.ask()] == ["answer 1", "answer 2"]
        about = {"kind": "answer_too_large_to_keep"}
        assert work.metrics.registry.get_sample_value("isthmus_router_faults_total", about) == 2

    with_work(scenario, most_bytes=3)


def test_answers_are_kept_for_the_window() -> None:
    kept = Remembered[str](window_s=60.0)
    kept.keep("r", "answer", 6, 100.0)
    assert kept.find("r", 159.9) == "answer"
    assert kept.find("r", 160.0) is None
    assert (len(kept), kept.nbytes) == (0, 0)


def test_the_oldest_answers_make_room_when_there_are_too_many() -> None:
    kept = Remembered[str](most=2)
    for name in "abc":
        kept.keep(name, name, 1, 0.0)
    assert [kept.find(name, 1.0) for name in "abc"] == [None, "b", "c"]


def test_the_oldest_answers_make_room_when_they_are_too_large() -> None:
    kept = Remembered[str](most_bytes=10)
    kept.keep("a", "a", 6, 0.0)
    kept.keep("b", "b", 4, 0.0)
    assert kept.nbytes == 10
    kept.keep("c", "c", 5, 0.0)
    assert [kept.find(name, 1.0) for name in "abc"] == [None, "b", "c"]
    assert kept.nbytes == 9


def test_an_answer_kept_twice_weighs_once() -> None:
    kept = Remembered[str]()
    kept.keep("a", "old", 6, 0.0)
    kept.keep("a", "new", 4, 1.0)
    assert (kept.find("a", 2.0), kept.nbytes, len(kept)) == ("new", 4, 1)


def test_a_router_that_nobody_asks_any_more_drops_its_answers() -> None:
    async def scenario() -> None:
        kept = Remembered[Answer](window_s=0.01)
        router = Router(on_drained=lambda _name, _epoch: None, remembered=kept)
        kept.keep("r", Answer(outputs={}, latency_s=0.0, epoch=1, attempt=1), 100, time.monotonic())
        ticker = asyncio.create_task(router._tick())
        while kept.nbytes:
            await asyncio.sleep(0.01)
        ticker.cancel()
        await router.close()

    asyncio.run(asyncio.wait_for(scenario(), 5))
