"""The agent with real workers: one that cannot start is told of with its own last words, one that runs is found."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodes.errors import StreamClosed
from nodes.worker_client import WorkerClient
from orchestrator.agent import Agent, WorkerWanted
from orchestrator.errors import ClusterError
from tests.eventually import eventually_here, processes_naming

CAMERA = WorkerWanted(node="camera", emulated=True)


def agent(folder: Path, *, secret: str = "s" * 32) -> Agent:
    async def ignore(_node: str, _event: Mapping[str, Any]) -> None:
        return

    return Agent(folder=folder, host="127.0.0.1", controller="tests", secret=secret, token=None, tell=ignore)


@pytest.mark.slow
def test_a_worker_that_dies_at_its_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera" / "artifacts").write_text("a file where a folder should be")

    async def story() -> None:
        with pytest.raises(
            ClusterError, match=r"the worker of node camera died at its start: isthmus worker: .*exists"
        ):
            await agent(tmp_path).ensure(CAMERA)

    asyncio.run(story())
    assert processes_naming(f"--state={tmp_path}") == {}


@pytest.mark.slow
def test_a_worker_outlives_its_agent_and_is_adopted_by_the_next(tmp_path: Path) -> None:
    async def story() -> None:
        first = await agent(tmp_path).ensure(CAMERA)
        second = agent(tmp_path)
        found = await second.ensure(CAMERA)
        assert found.claimed.pid == first.claimed.pid
        await second.stop()
        await eventually_here(lambda: not processes_naming(f"--state={tmp_path}"), what="the worker's end")

    asyncio.run(story())


@pytest.mark.slow
def test_a_worker_is_spoken_to_from_afar_until_its_own_host_does_so_again(tmp_path: Path) -> None:
    async def story() -> None:
        own, far = agent(tmp_path / "own"), agent(tmp_path / "far")
        first = await own.ensure(CAMERA)
        found = await far.ensure(replace(CAMERA, address=first.reach.address))
        assert (found.claimed.pid, set(found.engines)) == (first.claimed.pid, set(first.engines))
        await far.let_go("camera")
        with pytest.raises(StreamClosed, match="no worker of node camera is known here"):
            await far.call("camera", "health")
        assert await own.call("camera", "health") is not None
        await own.stop()

    asyncio.run(story())


@pytest.mark.slow
def test_a_worker_of_another_controller_is_not_taken(tmp_path: Path) -> None:
    async def story() -> None:
        owner = agent(tmp_path)
        await owner.ensure(CAMERA)
        with pytest.raises(ClusterError, match=r"node camera: .*claimed"):
            await agent(tmp_path, secret="t" * 32).ensure(CAMERA)
        await owner.stop()

    asyncio.run(story())


@pytest.mark.slow
def test_an_announcement_of_a_dead_worker_is_passed_over(tmp_path: Path) -> None:
    dead = {"address": "127.0.0.1:1", "pid": 2**22 + 1, "metrics_port": None}
    (tmp_path / "camera.worker.json").write_text(json.dumps(dead))

    async def story() -> None:
        starting = agent(tmp_path)
        found = await starting.ensure(CAMERA)
        assert found.reach.address != "127.0.0.1:1"
        await starting.stop()

    asyncio.run(story())


@pytest.mark.slow
def test_a_worker_started_again_is_not_asked_for_its_engines_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        starting = agent(tmp_path)
        first = await starting.ensure(CAMERA)
        os.kill(first.claimed.pid, signal.SIGKILL)
        await eventually_here(lambda: not processes_naming(f"--state={tmp_path}"), what="the worker's end")
        monkeypatch.delattr(WorkerClient, "engines")
        again = await starting.ensure(replace(CAMERA, again=True))
        assert again.engines == first.engines and again.claimed.pid != first.claimed.pid
        await starting.stop()

    asyncio.run(story())


def test_a_worker_that_is_not_there_is_told_with_its_address(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(ClusterError, match=r"node board: .*127\.0\.0\.1:1"):
            await agent(tmp_path).ensure(WorkerWanted(node="board", address="127.0.0.1:1"))

    asyncio.run(story())
