"""Sequences through a stage with two replicas, on real workers: each goes to the one that has its state."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from orchestrator.answers import Answer
from orchestrator.router import Router
from orchestrator.terms import Step
from tests.eventually import eventually_here
from tests.orchestrator.sequence_site import answers, blueprint_of, feed
from tests.orchestrator.twin_clouds import loaded, twin_clouds
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
SCALE = np.full((1, 64), 0.5, np.float32)
STEPS = 9
FEEDS = {f"s{number}": [feed(100 * number + step) for step in range(STEPS)] for number in range(8)}
WANTED = {name: answers(feeds, SCALE) for name, feeds in FEEDS.items()}


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[WorkerSite]:
    held = WorkerSite(tmp_path)
    yield held
    held.close()


async def step(router: Router, name: str, number: int) -> Answer:
    given = {"x": FEEDS[name][number]} | ({"scale": SCALE} if number == 0 else {})
    told = Step(sequence=name, start=number == 0, end=number == STEPS - 1)
    return await router.infer("two", given, step=told, trace=True)


async def all_step(router: Router, number: int) -> Mapping[str, str]:
    """One step of each sequence, side by side; which replica answered each."""
    made = await asyncio.gather(*(step(router, name, number) for name in FEEDS))
    for name, answer in zip(FEEDS, made, strict=True):
        np.testing.assert_allclose(answer.outputs["y"], WANTED[name][number], atol=1e-3)
    return {name: answer.way[-1] for name, answer in zip(FEEDS, made, strict=True)}


def rebuilt(router: Router) -> float:
    """How often state was made again."""
    return router.metrics.registry.get_sample_value("isthmus_router_replays_total", {"reason": "sequence"}) or 0.0


def test_sequences_stay_with_their_replica_and_outlive_its_worker(workers: WorkerSite) -> None:
    async def story() -> None:
        router = Router(on_drained=lambda *_: None)
        try:
            await router.switch(await loaded(workers, blueprint_of(workers.folder, twin_clouds())))
            ways = [await all_step(router, number) for number in range(4)]
            assert set(ways[0].values()) == {"cloud", "twin"}
            assert ways == [ways[0]] * 4 and rebuilt(router) == 0
            pid = workers.fleet.member("cloud").found.claimed.pid
            os.kill(pid, signal.SIGSTOP)  # it has its steps and will not answer them
            under_way = asyncio.create_task(all_step(router, 4))
            lost = sum(node == "cloud" for node in ways[0].values())
            await eventually_here(lambda: router.in_hand("two") == lost, what="the other replica's are answered")
            os.kill(pid, signal.SIGKILL)
            await under_way
            for number in range(5, STEPS):
                assert set((await all_step(router, number)).values()) == {"twin"}
            assert lost <= rebuilt(router) <= len(FEEDS)  # of a step at the twin whose stage before it went on
            assert len(router.sequences) == 0
        finally:
            await router.close()

    workers.do(story())
