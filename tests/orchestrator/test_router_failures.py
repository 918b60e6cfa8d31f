"""The router and real workers when stages hang, compute nonsense or sit behind a link that crawls or is dead."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nodes.backend import TensorSpec
from nodes.errors import BadInput
from nodes.watchdog import EXIT_HUNG
from orchestrator.errors import RequestFailed, Unavailable
from orchestrator.router import OnSuspect, Router
from orchestrator.routes import EpochRoutes
from orchestrator.stream_watch import PING_TIMEOUT_S
from tests.eventually import eventually_here
from tests.orchestrator.lone_stages import LoneStages, counting, elementwise, over_link

pytestmark = pytest.mark.slow
N, Y = TensorSpec("n", "int64", (1,)), TensorSpec("y", "float32", (1,))
COLUMNS = 25_600  # 100 KB
WIDE_X, WIDE_Y = TensorSpec("x", "float32", (1, COLUMNS)), TensorSpec("y", "float32", (1, COLUMNS))
WIDE = {"x": np.ones((1, COLUMNS), np.float32)}
CRAWLING = 2000.0  # bytes/s: 16 kbit/s


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[LoneStages]:
    held = LoneStages(tmp_path)
    yield held
    held.end()


def run(
    scenario: Callable[[Router], Awaitable[None]], *, within_s: float = 60.0, on_suspect: OnSuspect | None = None
) -> None:
    async def whole() -> None:
        router = Router(on_drained=lambda *_: None, on_suspect=on_suspect)
        try:
            await asyncio.wait_for(scenario(router), within_s)
        finally:
            await router.close()

    asyncio.run(whole())


def counted(router: Router, name: str, **labels: str) -> float:
    return router.metrics.registry.get_sample_value(f"isthmus_router_{name}_total", labels) or 0.0


def number(n: int) -> dict[str, np.ndarray]:
    return {"n": np.array([n])}


async def wide(stages: LoneStages, node: str, epoch: int) -> EpochRoutes:
    stages.save("wide", elementwise("Add", 1.0, COLUMNS))
    return await stages.load(node, epoch, "wide", WIDE_X, WIDE_Y)


def test_a_stage_that_hangs_is_told_its_worker_ends_and_its_request_is_answered_elsewhere(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        stages.save("loop", counting("Loop"))
        stages.save("cast", counting(None))
        await router.switch(await stages.load("edge", 1, "loop", N, Y))
        for n in range(12):  # so many that it would run in the worker's event loop, were it not emulated
            assert (await router.infer("d", number(n))).outputs["y"] == n
        async with stages.client("edge") as control:
            events = control.watch()
            hanging = asyncio.create_task(router.infer("d", number(10**15)))
            failed = await anext(event async for event in events if event["event"] == "stage_failed")
            await events.aclose()
        assert (failed["kind"], failed["stage"], failed["epoch"]) == ("StageHung", "s1", 1)
        assert await asyncio.to_thread(stages.worker("edge").process.wait, 20) == EXIT_HUNG
        await router.switch(await stages.load("cloud", 2, "cast", N, Y))
        answer = await hanging
        assert (answer.epoch, answer.outputs["y"]) == (2, np.float32(1e15))
        assert counted(router, "faults", kind="worker_lost") >= 1

    run(scenario)
    assert "stage 's1' of 'd' at epoch 1 is hung: a run has taken" in stages.end()["edge"]


def test_an_output_that_overflows_is_refused_here_and_there_and_told_as_the_inputs_fault(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        stages.save("ratio", elementwise("Div", 0.0, 1))
        given, made = TensorSpec("x", "float32", (1, 1)), TensorSpec("y", "float32", (1, 1))
        await router.switch(await stages.load("edge", 1, "ratio", given, made))
        with pytest.raises(RequestFailed, match=r"output 'y' holds \+inf in 1 places.*2 attempts ended so") as failed:
            await router.infer("d", {"x": np.ones((1, 1), np.float32)})
        assert failed.value.caller_fault
        assert counted(router, "requests", outcome="input") == 1
        assert counted(router, "replays", reason="BadOutput") == 1
        answer = await router.infer("d", {"x": np.full((1, 1), np.nan, np.float32)})
        assert np.isnan(answer.outputs["y"])

    run(scenario)


def test_a_stage_that_fails_request_after_request_is_told_to_whoever_asked(stages: LoneStages) -> None:
    told: list[tuple[str, int, str, str, str]] = []

    async def scenario(router: Router) -> None:
        stages.save("ratio", elementwise("Div", 0.0, 1))
        given, made = TensorSpec("x", "float32", (1, 1)), TensorSpec("y", "float32", (1, 1))
        await router.switch(await stages.load("edge", 1, "ratio", given, made))
        for number in range(3):
            assert len(told) == 0, number
            with pytest.raises(RequestFailed):
                await router.infer("d", {"x": np.ones((1, 1), np.float32)})
        assert [each[:4] for each in told] == [("d", 1, "s1", "edge")]
        assert told[0][4].startswith("stage s1 fails request after request")

    run(scenario, on_suspect=lambda *about: told.append(about))


def test_a_link_so_slow_that_it_looks_dead_is_waited_for(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        routes = await wide(stages, "edge", 1)
        shaped, paths = over_link(routes, CRAWLING)
        await router.switch(replace(routes, shaped=shaped, paths=paths))
        answer = await router.infer("d", WIDE, budget_s=100.0)
        assert answer.latency_s > 0.9 * WIDE["x"].nbytes / CRAWLING
        assert (answer.attempt, counted(router, "faults", kind="worker_lost")) == (1, 0)

    run(scenario, within_s=120.0)


def test_a_worker_that_says_nothing_at_all_is_noticed_in_time_and_taken_back_when_it_speaks(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        await router.switch(await wide(stages, "edge", 1))
        await router.infer("d", WIDE)
        await eventually_here(lambda: router.estimates()["camera", "edge"].goodput_bytes_per_s, what="the link's rate")
        pid = stages.worker("edge").process.pid
        os.kill(pid, signal.SIGSTOP)
        began_s = time.monotonic()
        request = asyncio.create_task(router.infer("d", WIDE))
        await eventually_here(lambda: counted(router, "faults", kind="worker_lost"), what="the loss")
        noticed_s = time.monotonic() - began_s
        os.kill(pid, signal.SIGCONT)
        answer = await request
        assert noticed_s < PING_TIMEOUT_S + 1.5  # and a busy machine's delays
        assert answer.attempt == 2

    run(scenario)


def test_what_waits_on_a_wire_that_became_slow_is_hurried_into_the_new_epoch(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        slow = await wide(stages, "edge", 1)
        shaped, paths = over_link(slow, CRAWLING)
        await router.switch(replace(slow, shaped=shaped, paths=paths))
        waiting = asyncio.create_task(router.infer("d", WIDE))
        await asyncio.sleep(0)
        await router.switch(await wide(stages, "cloud", 2))
        router.drain("d", 1)
        router.hurry("d", 1, old_s=WIDE["x"].nbytes / CRAWLING, new_s=0.01)
        answer = await asyncio.wait_for(waiting, 10)
        assert (answer.epoch, answer.attempt) == (2, 2)
        assert counted(router, "replays", reason="hurried") == 1

    run(scenario)


def test_the_same_request_id_is_computed_once(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        await router.switch(await wide(stages, "edge", 1))
        asked = [router.infer("d", WIDE, request_id="r7") for _ in range(3)]
        first, *others = await asyncio.gather(*asked)
        assert all(other is first for other in others)
        assert await router.infer("d", WIDE, request_id="r7") is first
        assert await router.infer("d", WIDE, request_id="r8") is not first
        assert counted(router, "requests", outcome="answered") == 2

    run(scenario)


def test_every_refusal_is_counted_and_a_draining_deployment_says_try_again(stages: LoneStages) -> None:
    async def scenario(router: Router) -> None:
        with pytest.raises(Exception, match="no deployment 'd'"):
            await router.infer("d", WIDE)
        routes = await wide(stages, "edge", 1)
        shaped, paths = over_link(routes, CRAWLING)
        await router.switch(replace(routes, shaped=shaped, paths=paths))
        with pytest.raises(BadInput):
            await router.infer("d", {})
        waiting = asyncio.create_task(router.infer("d", WIDE))
        await asyncio.sleep(0)
        router.drain("d", 1)
        with pytest.raises(Unavailable, match="unavailable, retry") as refused:
            await router.infer("d", WIDE)
        assert refused.value.retry_after_s == 1.0
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for outcome in ("unknown_deployment", "bad_input", "closed", "cancelled"):
            assert counted(router, "requests", outcome=outcome) == 1, outcome

    run(scenario)
