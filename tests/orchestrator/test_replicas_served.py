"""Replicas on real workers: requests are spread over them, and go on at once when one is killed."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.answers import Answer
from orchestrator.artifacts import build
from orchestrator.replicas import crew_of, manned
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from orchestrator.waymarks import routes_of
from partitioner.plan import Plan
from partitioner.topology import Link, Topology
from tests.eventually import eventually_here
from tests.orchestrator.small_site import WIDE, answer_of, blueprint_of, site
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


def twin_clouds() -> Topology:
    """Camera, cloud and its twin."""
    plain = site(mbps=400, slowdown=2)
    cloud, twin = plain.node("cloud"), replace(plain.node("cloud"), name="twin")
    ends = (("camera", "cloud"), ("camera", "twin"), ("cloud", "twin"))
    links = [Link(source=a, target=b, bytes_per_s=5e7, propagation_s=1e-4) for a, b in ends]
    links += [replace(link, source=link.target, target=link.source) for link in links]
    return Topology((plain.node("camera"), cloud, twin), tuple(links))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[WorkerSite]:
    held = WorkerSite(tmp_path)
    yield held
    held.close()


async def loaded(workers: WorkerSite) -> EpochRoutes:
    """One epoch: the first stage on the camera, the second on both clouds; the routes that lead into it."""
    blueprint = blueprint_of(workers.folder, twin_clouds())
    await workers.fleet.bring_up(blueprint.spec.topology)
    found = blueprint.find()
    assert isinstance(found, Plan) and [stage.node for stage in found.stages] == ["camera", "cloud"]
    plan = manned(found, {found.stages[1].name: ("cloud", "twin")})
    where = {node: member.found.reach for node, member in workers.fleet.members().items()}
    built = build(
        plan, blueprint.model, workers.store, deployment="two", epoch=1, topology=blueprint.spec.topology, reaches=where
    )  # fmt: skip
    for stage in reversed(plan.stages):
        for node in crew_of(stage):
            one = built[stage.name].on(node)
            await workers.fleet.give(node, one.folder, one.spec.artifact)
            await workers.fleet.call(node, "load_stage", one.spec)
    return routes_of(workers.fleet, blueprint, plan, "two", 1)


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
            await router.switch(await loaded(workers))
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
