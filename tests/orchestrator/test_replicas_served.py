"""Replicas on real workers: requests are spread over them, and go on at once when one is killed."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from orchestrator.answers import Answer
from orchestrator.router import Router
from tests.eventually import eventually_here
from tests.orchestrator.small_site import WIDE, answer_of, blueprint_of
from tests.orchestrator.twin_clouds import loaded, twin_clouds
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[WorkerSite]:
    held = WorkerSite(tmp_path)
    yield held
    held.close()


def sound(answers: list[Answer]) -> bool:
    return all(np.allclose(answer.outputs["y"], answer_of(FEED["x"]), atol=1e-3) for answer in answers)


async def until_some_are_stuck(router: Router) -> list[asyncio.Task[Answer]]:
    """Requests, eight at a time, of which some are answered and others are with the replica that has stopped.

    By what it measured of them a router may find one so much slower that eight all go to the other.
    """
    requests: list[asyncio.Task[Answer]] = []
    seen = [0]

    def some() -> bool:
        seen.append(router.in_hand("two"))
        return 0 < seen[-1] == seen[-2] < len(requests)

    for _ in range(10):
        requests += [asyncio.create_task(router.infer("two", FEED)) for _ in range(8)]
        with suppress(AssertionError):
            await eventually_here(some, within_s=2.0)
            return requests
    raise AssertionError(f"of {len(requests)} requests {router.in_hand('two')} are not answered")


def test_a_killed_replicas_requests_are_answered_by_the_other_at_once(workers: WorkerSite) -> None:
    async def story() -> None:
        router = Router(on_drained=lambda *_: None)
        try:
            await router.switch(await loaded(workers, blueprint_of(workers.folder, twin_clouds())))
            assert sound(await asyncio.gather(*(router.infer("two", FEED) for _ in range(8))))
            pid = workers.fleet.member("cloud").found.claimed.pid
            os.kill(pid, signal.SIGSTOP)  # it has its requests and will not answer them
            requests = await until_some_are_stuck(router)
            stuck = router.in_hand("two")
            os.kill(pid, signal.SIGKILL)
            killed_s = time.monotonic()
            answers = await asyncio.gather(*requests)
            took_s = time.monotonic() - killed_s
            assert sound(answers) and {answer.epoch for answer in answers} == {1}
            assert sorted(answer.attempt for answer in answers) == [1] * (len(answers) - stuck) + [2] * stuck
            assert took_s < 1.0
            assert (await router.infer("two", FEED)).attempt == 1
        finally:
            await router.close()

    workers.do(story())
