"""A model's queue at the gateway: who goes next, who goes together, who is refused. The pipeline is let go by hand."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array, TensorSpec
from nodes.batching import BatchRules
from nodes.errors import BadInput
from orchestrator.answers import Answer
from orchestrator.errors import RequestTimeout
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.gathering import Gathered, Gathering
from orchestrator.gateway.models import Asking, Model

X = TensorSpec("x", "float32", (None, 2))


def model(width: int = 1, **rules: Any) -> Model:
    made = BatchRules(**rules)
    return Model(name="m", version=1, versions=(1,), inputs=(X,), outputs=(X,), rules=made, width=width)


class Pipeline:
    """Doubles what it is given, once `let_go` says so; `came` keeps the rows of each run."""

    def __init__(self) -> None:
        self.came: list[list[float]] = []
        self.askings: list[Asking] = []
        self.gates: list[asyncio.Event] = []
        self.cancelled = 0
        self.bad: float | None = None
        self.there = ("m",)

    def models(self) -> tuple[str, ...]:
        return self.there

    async def answer(self, _name: str, feeds: Mapping[str, Array], asking: Asking) -> Answer:
        rows = feeds["x"][:, 0].tolist()
        gate = asyncio.Event()
        self.came.append(rows)
        self.askings.append(asking)
        self.gates.append(gate)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.bad in rows:
            raise BadInput("a bad row")
        return Answer(outputs={"x": 2 * feeds["x"]}, latency_s=0.0, epoch=1, attempt=1)

    def let_go(self) -> None:
        for gate in self.gates:
            gate.set()


class Site:
    def __init__(self, asked: Model) -> None:
        self.pipeline, self.model = Pipeline(), asked
        self.gathering = Gathering(self.pipeline)  # type: ignore[arg-type]

    def ask(self, value: float, *, rows: int = 1, budget_s: float = 30.0, **about: Any) -> "asyncio.Task[Gathered]":
        feeds = {"x": np.full((rows, 2), value, np.float32)}
        asking = Asking(budget_s=budget_s, **about)
        return asyncio.create_task(self.gathering.answer(self.model, feeds, rows, asking))

    async def came(self, runs: int) -> list[list[float]]:
        async with asyncio.timeout(10):
            while len(self.pipeline.came) < runs:
                await asyncio.sleep(0)
        return self.pipeline.came

    async def waits(self, many: int) -> None:
        async with asyncio.timeout(10):
            while self.gathering.waiting("m") != many:
                await asyncio.sleep(0)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def test_what_waits_while_the_pipeline_is_busy_goes_together() -> None:
    async def story() -> None:
        site = Site(model(max_batch=4))
        asked = [site.ask(0)]
        await site.came(1)
        asked += [site.ask(value) for value in (1, 2, 3)]
        await site.waits(3)
        site.pipeline.let_go()
        assert (await site.came(2))[1] == [1, 2, 3]
        site.pipeline.let_go()
        answers = await asyncio.gather(*asked)
        assert [one.answer.outputs["x"].tolist() for one in answers] == [[[2 * v, 2 * v]] for v in range(4)]
        assert [(one.rows, one.counts) for one in answers] == [(1, True), (3, True), (3, False), (3, False)]

    run(story())


def test_a_run_has_at_most_so_many_rows_whoever_brings_them() -> None:
    async def story() -> None:
        site = Site(model(max_batch=4))
        first = site.ask(0)
        await site.came(1)
        others = [site.ask(1, rows=3), site.ask(2, rows=2), site.ask(3)]
        await site.waits(3)
        site.pipeline.let_go()
        assert (await site.came(2))[1] == [1, 1, 1]
        site.pipeline.let_go()
        assert (await site.came(3))[2] == [2, 2, 3]
        site.pipeline.let_go()
        assert [len(one.answer.outputs["x"]) for one in await asyncio.gather(first, *others)] == [1, 3, 2, 1]

    run(story())


def test_one_waits_for_others_no_longer_than_the_delay() -> None:
    async def story() -> None:
        site = Site(model(max_batch=4, max_delay_s=0.01))
        asked = site.ask(1)
        await site.waits(1)
        assert not site.pipeline.came
        assert await site.came(1) == [[1]]
        site.pipeline.let_go()
        assert (await asked).queue_s >= 0.01

    run(story())


def test_versions_and_keys_are_not_mixed() -> None:
    async def story() -> None:
        site = Site(replace(model(max_batch=4), versions=(1, 2)))
        asked = [site.ask(0)]
        await site.came(1)
        asked += [site.ask(1, key="a"), site.ask(2, key="b"), site.ask(3, version=2)]
        await site.waits(3)
        for runs in (2, 3, 4):
            site.pipeline.let_go()
            await site.came(runs)
        site.pipeline.let_go()
        await asyncio.gather(*asked)
        assert site.pipeline.came == [[0], [1], [2], [3]]
        assert [one.version for one in site.pipeline.askings] == [None, None, None, 2]

    run(story())


def test_the_highest_priority_goes_first() -> None:
    async def story() -> None:
        site = Site(model())
        asked = [site.ask(0)]
        await site.came(1)
        asked += [site.ask(value, priority=priority) for value, priority in ((1, 9), (2, 0), (3, 1), (4, 6))]
        await site.waits(4)
        for runs in (2, 3, 4, 5):
            site.pipeline.let_go()
            await site.came(runs)
        site.pipeline.let_go()
        await asyncio.gather(*asked)
        assert site.pipeline.came == [[0], [3], [2], [4], [1]]
        assert [one.priority for one in site.pipeline.askings] == [0, 1, 0, 6, 9]

    run(story())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again() -> None:
    async def story() -> None:
        site = Site(model(queue_limit=1))
        asked = [site.ask(0)]
        await site.came(1)
        asked.append(site.ask(1))
        await site.waits(1)
        with pytest.raises(
            Refused, match="model 'm': 1 requests wait already; send less, or raise queue_limit"
        ) as told:
            await site.ask(2)
        assert told.value.fault is Fault.UNAVAILABLE
        assert told.value.retry_s
        for runs in (1, 2):
            await site.came(runs)
            site.pipeline.let_go()
        await asyncio.gather(*asked)

    run(story())


class OneByOne(Pipeline):
    """Takes 5 ms for each run."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = asyncio.Lock()

    async def answer(self, _name: str, feeds: Mapping[str, Array], asking: Asking) -> Answer:
        async with self.turn:
            await asyncio.sleep(0.005)
            self.came.append(feeds["x"][:, 0].tolist())
        return Answer(outputs={"x": feeds["x"]}, latency_s=0.0, epoch=1, attempt=1)


def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    async def story() -> None:
        site = Site(model())
        site.gathering = Gathering(OneByOne())  # type: ignore[arg-type]
        asked = [site.ask(value) for value in range(60)]
        await asyncio.wait(asked[:30], return_when=asyncio.ALL_COMPLETED)
        await site.waits(20)
        with pytest.raises(
            Refused, match=r"model 'm': 0.05 s won't do: 20 requests wait, and a run takes about 0.00"
        ) as e:
            await asyncio.wait_for(site.ask(99, budget_s=0.05), 0.04)
        assert e.value.fault is Fault.UNAVAILABLE
        assert (await site.ask(98, budget_s=5.0)).queue_s > 0
        await asyncio.gather(*asked)

    run(story())


def test_what_was_learned_under_load_refuses_nobody_once_that_is_over() -> None:
    async def story() -> None:
        site = Site(model(max_batch=8, max_delay_s=0.001))
        site.gathering = Gathering(OneByOne())  # type: ignore[arg-type]
        await asyncio.gather(*(site.ask(value, rows=8) for value in range(40)))
        queue = site.gathering._queues["m"]
        assert (queue.batcher.run_s, queue.batcher.own_s) == (0, 0)
        assert (await site.ask(1, budget_s=0.5)).rows == 1

    run(story())


def test_one_whose_time_ends_in_the_queue_is_told_so_and_never_sent() -> None:
    async def story() -> None:
        site = Site(model())
        first = site.ask(0)
        await site.came(1)
        with pytest.raises(RequestTimeout, match=r"no answer within 0\.01 s"):
            await site.ask(1, budget_s=0.01)
        site.pipeline.let_go()
        await first
        assert (site.pipeline.came, site.gathering.waiting("m")) == ([[0]], 0)

    run(story())


async def with_a_bad_one_in_line() -> tuple[Site, "asyncio.Task[Gathered]", "list[asyncio.Task[Gathered]]"]:
    """A site with a run under way, and three requests that will share the next; the second of them spoils it."""
    site = Site(model(max_batch=4))
    site.pipeline.bad = 2.0
    first = site.ask(0)
    await site.came(1)
    others = [site.ask(value) for value in (1, 2, 3)]
    await site.waits(3)
    return site, first, others


def test_a_run_that_fails_is_asked_again_one_by_one() -> None:
    async def story() -> None:
        site, first, others = await with_a_bad_one_in_line()
        for runs in (1, 2, 3, 4, 5):
            await site.came(runs)
            site.pipeline.let_go()
        one, bad, three = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(bad, BadInput)
        assert [each.answer.outputs["x"][0, 0] for each in (await first, one, three)] == [0, 2, 6]

    run(story())


def test_a_run_that_failed_is_not_asked_again_for_who_has_gone() -> None:
    async def story() -> None:
        site, first, others = await with_a_bad_one_in_line()
        site.pipeline.let_go()
        await site.came(2)
        others[0].cancel()
        await asyncio.wait(others[:1])
        for runs in (2, 3, 4):
            await site.came(runs)
            site.pipeline.let_go()
        await asyncio.gather(first, *others, return_exceptions=True)
        assert site.pipeline.came == [[0], [1, 2, 3], [2], [3]]

    run(story())


def test_who_goes_away_leaves_the_queue_and_a_run_nobody_waits_for_ends() -> None:
    async def story() -> None:
        site = Site(model(max_batch=2))
        first = site.ask(0)
        await site.came(1)
        gone = site.ask(1)
        await site.waits(1)
        gone.cancel()
        await site.waits(0)
        pair = [site.ask(2), site.ask(3)]
        await site.waits(2)
        site.pipeline.let_go()
        await first
        await site.came(2)
        pair[0].cancel()
        await asyncio.sleep(0)
        assert site.pipeline.cancelled == 0
        pair[1].cancel()
        await asyncio.gather(*pair, return_exceptions=True)
        async with asyncio.timeout(10):
            while site.pipeline.cancelled == 0:
                await asyncio.sleep(0)
        assert site.pipeline.came == [[0], [2, 3]]

    run(story())


def test_queues_of_models_that_are_gone_are_forgotten_once_nothing_is_in_them() -> None:
    async def story() -> None:
        site = Site(model(max_batch=4, max_delay_s=60.0))
        held = [site.ask(0), site.ask(1)]  # they wait for others
        await site.waits(2)
        for number in range(20):
            site.pipeline.there = ("m", f"m-{number}") if number < 10 else (f"m-{number}",)
            site.model = replace(model(), name=f"m-{number}")
            asked = site.ask(2)
            await site.came(number + 1)
            site.pipeline.let_go()
            await asked
        assert set(site.gathering._queues) == {"m", "m-19"}
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        site.pipeline.there, site.model = (), replace(model(), name="m-20")
        asked = site.ask(2)
        await site.came(21)
        site.pipeline.let_go()
        await asked
        assert set(site.gathering._queues) == {"m-20"}

    run(story())
