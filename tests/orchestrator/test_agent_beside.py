"""Two real workers of one node: started side by side, told apart, and each let go of without harm to the other."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator import agent
from orchestrator.errors import ClusterError
from orchestrator.fleet import Member
from orchestrator.router import Router
from tests.eventually import eventually_here
from tests.orchestrator.small_site import WIDE, answer_of
from tests.orchestrator.worker_site import WorkerSite

FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[WorkerSite]:
    held = WorkerSite(tmp_path)
    yield held
    held.close()


async def beside(workers: WorkerSite, *epochs: tuple[str, int]) -> tuple[Member, Member]:
    """The cloud's worker, on which these epochs stay, and another one beside it, on which it loads from now on."""
    old = workers.fleet.member("cloud")
    new = replace(old, found=await workers.agent.run("beside", old.wanted))
    await workers.agent.run("call", new.key, "shape", *workers.fleet.emulation())
    workers.fleet.move("cloud", new, epochs)
    return old, new


async def until_gone(router: Router, worker: Member) -> None:
    address = worker.found.reach.address
    await eventually_here(lambda: address not in router._connections, what="the stream is closed")


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
def test_the_old_worker_ends_or_dies_and_the_new_one_answers(workers: WorkerSite, dies: bool) -> None:
    async def story() -> None:
        router = Router(on_drained=lambda _name, _epoch: None)
        await router.switch(await workers.load("two", 1))
        old, _new = await beside(workers, ("two", 1))
        await router.switch(await workers.load("two", 2))
        assert router.estimates().keys() >= {("camera", "cloud")}
        if dies:
            os.kill(old.found.claimed.pid, signal.SIGKILL)
        else:
            router.drain("two", 1)
            await workers.agent.run("stop", old.key)
        await until_gone(router, old)
        answer = await router.infer("two", FEED, budget_s=5.0)
        assert answer.epoch == 2
        assert np.allclose(answer.outputs["y"], answer_of(FEED["x"]), atol=1e-3)
        await router.close()

    workers.do(story())


@pytest.mark.slow
def test_a_worker_that_is_taken_back_leaves_the_one_before_it_announced(workers: WorkerSite) -> None:
    async def story() -> None:
        await workers.load("two", 1)
        announcement = workers.folder / "workers" / "cloud.worker.json"
        before = announcement.read_text()
        old, new = await beside(workers, ("two", 1))
        assert (old.key, new.key) == ("cloud", f"cloud@{new.found.claimed.pid}")
        assert str(new.found.claimed.pid) in announcement.read_text()
        await workers.agent.run("take_back", "cloud", new.key)
        assert announcement.read_text() == before
        await eventually_here(lambda: not agent._is_alive(new.found.claimed.pid), what="it has ended")
        held = (await workers.agent.run("call", old.key, "health"))["health"]
        assert [(one["deployment"], one["epoch"]) for one in held] == [("two", 1)]
        workers.fleet.move("cloud", old, ())

    workers.do(story())


@pytest.mark.slow
def test_where_none_can_be_started_beside_it_a_worker_stays_announced(
    workers: WorkerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        await workers.load("two", 1)
        announcement = workers.folder / "workers" / "cloud.worker.json"
        before = announcement.read_text()
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(ClusterError, match="worker of node cloud died at its start"):
            await beside(workers)
        assert announcement.read_text() == before
        by_hand = replace(workers.fleet.member("cloud").wanted, address="10.0.0.7:7070")
        with pytest.raises(ClusterError, match=r"started by hand at 10\.0\.0\.7:7070; restart it there"):
            await workers.agent.run("beside", by_hand)

    workers.do(story())


def test_a_worker_beside_one_that_has_the_port_of_the_environment_takes_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("ISTHMUS_WORKER_PORT", str(port))
        assert agent._port("127.0.0.1") == port + 1
    assert agent._port("127.0.0.1") == port
