"""The router with real workers: what it sends, keeps and gives up."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nodes.errors import BadInput, StreamClosed
from nodes.stream import DialledConnection
from orchestrator.answers import Answer
from orchestrator.errors import RequestFailed, RequestTimeout, UnknownDeployment
from orchestrator.router import Router
from orchestrator.routes import Reach
from partitioner.topology import Topology
from tests.eventually import eventually, eventually_here
from tests.orchestrator.small_site import WIDE, answer_of, site
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


@pytest.fixture
def drained() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def router(workers: WorkerSite, drained: list[tuple[str, int]]) -> Iterator[Router]:
    async def made() -> Router:
        return Router(on_drained=lambda name, epoch: drained.append((name, epoch)))

    held = workers.do(made())
    yield held
    workers.do(held.close())


async def begun(router: Router, name: str, count: int) -> "list[asyncio.Task[Answer]]":
    """Requests that are in the router's hand: no answer can come before the loop turns again."""
    requests = [asyncio.create_task(router.infer(name, FEED)) for _ in range(count)]
    await asyncio.sleep(0)
    assert router.in_hand(name) == count
    return requests


def at_rate(mbps: float) -> Topology:
    return site(mbps=mbps, slowdown=2)


def test_a_request_through_two_stages_is_answered_and_traced(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("traced", 1))
        answer = await router.infer("traced", FEED, trace=True)
        assert [hop.stage for hop in answer.hops] == ["s1", "s2"]
        assert np.allclose(answer.outputs["y"], answer_of(FEED["x"]), atol=1e-3)
        assert router.in_hand("traced") == 0
        (ended,) = router.log
        assert (ended.deployment, ended.epoch, ended.attempts, ended.failed) == ("traced", 1, 1, "")
        assert (ended.latency_s, ended.hops) == (answer.latency_s, answer.hops)
        assert ended.sent_bytes == FEED["x"].nbytes

    workers.do(story())


def test_feeds_that_do_not_fit_are_never_sent(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("checked", 1))
        with pytest.raises(BadInput, match=r"checked: x is missing; z is not an input \(it takes x: float32"):
            await router.infer("checked", {"z": FEED["x"]})
        assert router.in_hand("checked") == 0

    workers.do(story())


def test_an_unknown_deployment_is_refused(workers: WorkerSite, router: Router) -> None:
    with pytest.raises(UnknownDeployment, match="no deployment 'nobody'; there are none"):
        workers.do(router.infer("nobody", FEED))


def test_requests_stay_in_their_epoch_and_the_old_one_drains_after_them(
    workers: WorkerSite, router: Router, drained: list[tuple[str, int]]
) -> None:
    async def story() -> None:
        await router.switch(await workers.load("changing", 1))
        following = replace(await workers.load("changing", 2), version=7)
        early = await begun(router, "changing", 8)
        await router.switch(following)
        router.drain("changing", 1)
        late = await router.infer("changing", FEED)
        assert (late.epoch, late.version) == (2, 7)
        assert {(answer.epoch, answer.version) for answer in await asyncio.gather(*early)} == {(1, 0)}
        assert drained == [("changing", 1)]

    workers.do(story())


def test_a_budget_that_runs_out_fails_the_request_in_time(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        routes = await workers.load("slow", 1)
        crawling = tuple(replace(link, bytes_per_s=50.0) for link in routes.shaped)
        await workers.fleet.call("camera", "shape", crawling, routes.paths)
        await router.switch(routes)
        with pytest.raises(RequestTimeout):
            await asyncio.wait_for(router.infer("slow", FEED, budget_s=0.3), 5)
        assert [(one.failed, one.hops) for one in router.log] == [("timeout", ())]
        await workers.fleet.call("camera", "shape", routes.shaped, routes.paths)

    workers.do(story())


def test_a_cancelled_request_is_forgotten(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("cancelled", 1))
        (request,) = await begun(router, "cancelled", 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert router.in_hand("cancelled") == 0
        assert (await router.infer("cancelled", FEED)).attempt == 1

    workers.do(story())


def test_closing_fails_what_is_in_hand(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("closing", 1))
        (request,) = await begun(router, "closing", 1)
        await router.close()
        with pytest.raises(RequestFailed, match="closed before the answer came"):
            await request

    workers.do(story())


def test_a_lost_worker_holds_requests_back_until_another_epoch_serves_them(router: Router, tmp_path: Path) -> None:
    held = WorkerSite(tmp_path)

    async def story() -> None:
        mine = Router(on_drained=lambda *_: None)
        await mine.switch(await held.load("wounded", 1))
        os.kill(held.fleet.member("cloud").found.claimed.pid, signal.SIGKILL)
        await eventually_here(lambda: ("cloud", "lost") in lost(), what="the agent's word of it")
        held.fleet.lose("cloud")
        requests = await begun(mine, "wounded", 4)
        await mine.switch(await held.load("wounded", 2, at_rate(1e-6)))
        answers = await asyncio.gather(*requests)
        assert {answer.epoch for answer in answers} == {2}
        await mine.close()

    def lost() -> list[tuple[str, str]]:
        return [(node, event["event"]) for node, event in held.agent.told]

    try:
        held.do(story())
    finally:
        held.close()


def test_a_watched_worker_is_found_again_where_it_comes_back(tmp_path: Path) -> None:
    held = WorkerSite(tmp_path)

    async def story() -> None:
        mine = Router(on_drained=lambda *_: None)
        here = await held.load("watching", 1, at_rate(1e-6))
        cloud = held.fleet.member("cloud").found
        await mine.switch(replace(here, watched=(cloud.reach,), shaped=(), paths={}))
        await eventually_here(lambda: ("camera", "cloud") in mine.estimates(), what="the stream to what is watched")
        os.kill(cloud.claimed.pid, signal.SIGKILL)
        await eventually_here(lambda: ("camera", "cloud") not in mine.estimates(), what="the stream's end")
        held.fleet.lose("cloud")
        await held.fleet.bring_up(site())
        mine.renew(replace(here, watched=(held.fleet.member("cloud").found.reach,)))
        await eventually_here(lambda: ("camera", "cloud") in mine.estimates(), what="the way back")
        await mine.close()

    try:
        held.do(story())
    finally:
        held.close()


def test_a_watched_stream_that_breaks_is_opened_again(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        here = await workers.load("broken", 1, at_rate(1e-6))
        reach = workers.fleet.member("cloud").found.reach
        await router.switch(replace(here, watched=(reach,)))
        await eventually_here(lambda: reach.address in router._connections, what="the stream to what is watched")
        first = router._connections[reach.address]
        first.call.cancel()
        await eventually_here(lambda: first.closed, what="the stream's end")
        await eventually_here(lambda: ("camera", "cloud") in router.estimates(), what="the stream again")

    workers.do(story())


def test_a_switch_does_not_wait_for_what_is_only_watched(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        here = await workers.load("waiting", 1, at_rate(1e-6))
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
            mute = Reach(node="moon", address=f"127.0.0.1:{silent.getsockname()[1]}")
            await asyncio.wait_for(router.switch(replace(here, watched=(mute,))), 2.0)

    workers.do(story())


def test_a_node_that_is_reached_while_another_is_waited_for_is_not_lost(
    workers: WorkerSite, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try fails; by the time the other worker is known to be away, the stream is there."""

    async def story() -> None:
        here = await workers.load("meanwhile", 1, at_rate(1e-6))
        dial, tried = router._connect, list[str]()

        async def connect(reach: Reach, source: str) -> DialledConnection:
            if reach.node == "moon":
                await eventually_here(lambda: here.workers[0].address in router._connections, what="the stream")
                raise StreamClosed("moon is away")
            tried.append(reach.node)
            if len(tried) == 1:
                asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(dial(reach, source)))
                raise StreamClosed("not yet")
            return await dial(reach, source)

        monkeypatch.setattr(router, "_connect", connect)
        away = (("s9", Reach(node="moon", address="127.0.0.1:1")),)
        await router.offer(replace(here, epoch=2, stages=(*here.stages, *away)))
        assert router._deployments["meanwhile"].core._lost == ["moon"]

    workers.do(story())


def test_workers_end_with_their_fleet(tmp_path: Path) -> None:
    held = WorkerSite(tmp_path)
    held.do(held.fleet.bring_up(site()))
    pids = [member.found.claimed.pid for member in held.fleet.members().values()]
    held.close()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the workers' end")
