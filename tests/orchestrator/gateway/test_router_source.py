"""A router's deployments as models, with real workers: what is ready, which versions answer, what faults are told."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.batching import Batching
from orchestrator.errors import UnknownVersion
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.models import Given, Question, Reply
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.router import Router
from orchestrator.splitting import Split
from tests.eventually import eventually_here
from tests.orchestrator.small_site import WIDE, answer_of
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
X = np.linspace(-1, 1, WIDE, dtype=np.float32)[None]
ASKED = Given(name="x", datatype="FP32", shape=X.shape, read=lambda: X)


async def ask(serving: Serving, name: str, version: str = "", **more: object) -> Reply:
    question = Question(inputs=(ASKED,), parameters=more)
    return await serving.infer(name, version, lambda: question, lambda reply: reply)


def test_an_answer_comes_with_its_version_and_is_counted_by_its_hops(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(replace(await workers.load("answers", 1), version=4))
        reply = await ask(serving, "answers", "4")
        assert (reply.version, reply.outputs[0].datatype) == (4, "FP32")
        assert np.allclose(reply.outputs[0].array, answer_of(X), atol=1e-3)
        ((_, version, counted),) = serving.counted("answers")
        spans = counted.spans
        assert (version, counted.inferences) == (4, 1)
        assert 0 < spans["compute_infer"].ns < spans["success"].ns

    workers.do(story())


def test_where_an_epoch_that_stands_by_takes_one_row_clients_are_told_of_one(
    workers: WorkerSite, router: Router
) -> None:
    async def story() -> None:
        source = RouterSource(router)
        await router.switch(await workers.load("rows", 1, batching=Batching(most=8)))
        model = source.model("rows")
        assert model is not None and (model.rules.max_batch, model.inputs[0].shape) == (8, (None, WIDE))
        await router.offer(await workers.load("rows", 2))
        model = source.model("rows")
        assert model is not None and (model.rules.max_batch, model.inputs[0].shape) == (1, (1, WIDE))
        both = np.concatenate([X, X])
        answer = await router.infer("rows", {"x": both})  # it is the epoch in use that a request is held against
        assert answer.outputs["y"].shape == (2, 64)

    workers.do(story())


def test_models_that_are_gone_are_forgotten(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        source, epoch = RouterSource(router), await workers.load("forgotten", 1)
        for number in range(3):
            await router.switch(replace(epoch, deployment=f"forgotten-{number}"))
            assert source.model(f"forgotten-{number}") is not None
            router.drain(f"forgotten-{number}", epoch.epoch)
        assert list(source._known) == ["forgotten-2"]
        assert source.model("forgotten-2") is None
        assert list(source._known) == []

    workers.do(story())


def test_the_metadata_is_that_of_the_model(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("told", 1))
        model = RouterSource(router).model("told")
        assert model is not None
        assert (model.version, model.versions) == (1, (1,))  # nobody told the number
        assert [(spec.name, spec.dtype, spec.shape) for spec in model.inputs] == [("x", "float32", (1, WIDE))]
        assert [(spec.name, spec.dtype, spec.shape) for spec in model.outputs] == [("y", "float32", (1, 64))]

    workers.do(story())


def test_a_version_on_trial_is_asked_by_its_number_only(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(replace(await workers.load("tried", 1), version=1))
        await router.try_out(
            replace(await workers.load("tried", 2), version=2), Split(epoch=2, mode="canary", weight=0.0)
        )
        assert [(await ask(serving, "tried")).version for _ in range(5)] == [1] * 5
        assert [(await ask(serving, "tried", "2")).version for _ in range(5)] == [2] * 5
        await router.try_out(
            replace(await workers.load("tried", 2), version=2), Split(epoch=2, mode="canary", weight=1.0, step=1)
        )
        assert [(await ask(serving, "tried")).version for _ in range(5)] == [2] * 5
        assert [(await ask(serving, "tried", "1")).version for _ in range(5)] == [1] * 5
        with pytest.raises(Refused, match="has no version 3; there is 1, 2"):
            await ask(serving, "tried", "3")
        with pytest.raises(UnknownVersion, match="no version 3 that answers; there are 1, 2"):
            await router.infer("tried", {"x": X}, version=3)

    workers.do(story())


def test_a_deployment_that_drains_is_unavailable_then_gone(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(await workers.load("leaving", 1))
        under_way = asyncio.create_task(ask(serving, "leaving"))
        await asyncio.sleep(0)
        router.drain("leaving", 1)
        with pytest.raises(Refused) as refused:
            await ask(serving, "leaving")
        assert (refused.value.fault, refused.value.retry_s) == (Fault.UNAVAILABLE, 1.0)
        assert not serving.is_ready("leaving")
        await under_way  # what was in hand is answered
        with pytest.raises(Refused) as refused:
            await ask(serving, "leaving")
        assert refused.value.fault is Fault.NOT_FOUND

    workers.do(story())


def test_a_dead_backend_is_not_ready(workers: WorkerSite, router: Router, tmp_path: Path) -> None:
    async def story() -> None:
        serving = Serving(RouterSource(router))
        await router.switch(await workers.load("dying", 1))
        assert serving.is_ready("dying")
        os.kill(workers.fleet.member("cloud").found.claimed.pid, signal.SIGKILL)
        await eventually_here(lambda: not serving.is_ready("dying"), what="it is seen")
        with pytest.raises(Refused) as refused:
            await serving.infer(
                "dying", "", lambda: Question(inputs=(ASKED,), budget_s=0.2),
                lambda reply: reply,
            )  # fmt: skip
        assert refused.value.fault is Fault.UNAVAILABLE
        ((_, _, counted),) = serving.counted("dying")
        assert (counted.failures, counted.pending) == ({"UNAVAILABLE": 1}, 0)

    workers.do(story())
