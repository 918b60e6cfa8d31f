"""Batching from end to end: a spec's rules, real workers, requests that share runs, and overload."""

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from nodes.backend import Array
from orchestrator.batching import Batching
from orchestrator.gateway import describing
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.models import Given, Question, Reply
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.router import Router
from tests.orchestrator.small_site import WIDE, answer_of, site
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
QUICK = site(mbps=8000, slowdown=1)
SLOW = replace(QUICK, nodes=tuple(replace(node, slowdown=400.0) for node in QUICK.nodes))  # tens of ms a run


def some(seed: int, rows: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, WIDE)).astype(np.float32)


async def ask(serving: Serving, name: str, x: Array, **more: object) -> Reply:
    given = Given(name="x", datatype="FP32", shape=x.shape, read=lambda: x)
    question = Question(inputs=(given,), parameters=more)
    return await serving.infer(name, "", lambda: question, lambda reply: reply)


def test_requests_that_come_together_share_runs_and_each_gets_its_own_answer(
    workers: WorkerSite, router: Router
) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(await workers.load("together", 1, QUICK, Batching(most=8, max_delay_s=0.02)))
        given = [some(seed, rows=1 + seed % 3) for seed in range(24)]
        replies = await asyncio.gather(*(ask(serving, "together", x) for x in given))
        for x, reply in zip(given, replies, strict=True):
            assert np.allclose(reply.outputs[0].array, answer_of(x), atol=1e-3)
        ((_, _, counted),) = serving.counted("together")
        assert counted.inferences == sum(len(x) for x in given)
        assert counted.executions <= 12
        assert max(counted.batches) > 3
        assert sum(span["compute_infer"].count for span in counted.batches.values()) == counted.executions

    workers.do(story())


def test_clients_are_told_of_it_and_of_too_many_rows(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(await workers.load("told", 1, QUICK, Batching(most=4, preferred=(2,), max_delay_s=0.001)))
        config = describing.config(serving.model("told"))
        assert (config["max_batch_size"], config["input"][0]["dims"]) == (4, [WIDE])
        assert config["dynamic_batching"]["preferred_batch_size"] == [2]
        assert describing.metadata(serving.model("told"))["inputs"][0]["shape"] == [-1, WIDE]
        with pytest.raises(Refused, match="a request has 1 to 4 rows, the same of each input; it has x 5") as refused:
            await ask(serving, "told", some(0, rows=5))
        assert refused.value.fault is Fault.INVALID

    workers.do(story())


def test_beyond_its_queue_a_model_refuses_at_once_and_answers_the_rest(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(await workers.load("busy", 1, SLOW, Batching(most=1, queue_limit=3)))
        await ask(serving, "busy", some(0))
        asked_s = time.monotonic()
        ended_s: list[float] = []

        async def one(seed: int) -> Reply:
            try:
                return await ask(serving, "busy", some(seed))
            finally:
                ended_s.append(time.monotonic() - asked_s)

        ended = await asyncio.gather(*(one(seed) for seed in range(40)), return_exceptions=True)
        refused = [each for each in ended if isinstance(each, Refused)]
        answered = [each for each in ended if isinstance(each, Reply)]
        assert len(refused) + len(answered) == 40
        assert 0 < len(answered) <= 12
        assert {each.fault for each in refused} == {Fault.UNAVAILABLE}
        assert sorted(ended_s)[len(refused) - 1] < sorted(ended_s)[-1] / 2  # refusals did not wait for answers
        ((_, _, counted),) = serving.counted("busy")
        assert counted.failures == {"UNAVAILABLE": len(refused)}

    workers.do(story())
