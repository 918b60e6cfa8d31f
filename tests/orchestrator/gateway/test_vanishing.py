"""Clients that vanish while their requests wait: nobody works for them any more, in the gateway or in any stage.

A stage's runs take a tenth of a second here, and seconds' worth of requests waits for them. That is what
cancelling is held against; how soon it comes is measured by benchmarks/cancel.py.
"""

import asyncio
import json
import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest

from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.messages import SERVICE, message
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from tests.eventually import eventually
from tests.orchestrator.small_site import WIDE, site
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
MANY, SLOWDOWN = 40, 1500.0
X = np.ones((1, WIDE), np.float32)
STAGES = ("camera", "cloud")  # the first and the second
Vanish = Callable[[], None]
Begin = Callable[["Front", str], Vanish]


class Front:
    """A gateway before the workers."""

    def __init__(self, workers: WorkerSite) -> None:
        self.workers = workers
        workers.do(self._open())
        self.grpc, self.http = f"127.0.0.1:{self.doors.grpc}", ("127.0.0.1", self.doors.http or 0)

    async def _open(self) -> None:
        self.router = Router(on_drained=lambda _name, _epoch: None)
        self.serving = Serving(RouterSource(self.router))
        listen = Listen(grpc="127.0.0.1:0", http="127.0.0.1:0")
        self.doors = Doors(self.serving, Repository(self.serving), listen)
        await self.doors.open()

    async def _close(self) -> None:
        await self.doors.close()
        await self.router.close()

    def close(self) -> None:
        self.workers.do(self._close())

    def load(self, name: str, slow: str) -> EpochRoutes:
        """A deployment of two stages, of which the one on that node is slow."""

        async def loaded() -> EpochRoutes:
            routes = await self.workers.load(name, 1, site(mbps=80, slowdown=2), slowed={slow: SLOWDOWN})
            await self.router.switch(routes)
            return routes

        return self.workers.do(loaded())

    def stage(self, name: str, node: str) -> dict[str, Any]:
        """What the worker says of its stage: `in_hand`, `served`."""
        told = self.workers.do(self.workers.fleet.call(node, "health"))
        found: dict[str, Any] = next(one for one in told["health"] if one["deployment"] == name)
        return found


@pytest.fixture(scope="module")
def front(workers: WorkerSite) -> Iterator[Front]:
    held = Front(workers)
    yield held
    held.close()


def asking(name: str) -> Any:
    request = message("ModelInferRequest")(model_name=name, raw_input_contents=[X.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=X.shape)
    return request


def by_calls(front: Front, name: str) -> Vanish:
    channel = grpc.insecure_channel(front.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer", lambda one: one.SerializeToString(), lambda one: one)
    held = [method.future(asking(name), timeout=60) for _ in range(MANY)]

    def vanish() -> None:
        channel.close()
        assert len(held) == MANY

    return vanish


def by_a_stream(front: Front, name: str) -> Vanish:
    channel = grpc.insecure_channel(front.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
    method = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", lambda one: one.SerializeToString(), lambda one: one)
    held = method(iter([asking(name) for _ in range(MANY)]), timeout=60)

    def vanish() -> None:
        channel.close()
        assert held.code() is grpc.StatusCode.CANCELLED

    return vanish


def by_http(front: Front, name: str) -> Vanish:
    row = {"name": "x", "shape": list(X.shape), "datatype": "FP32", "data": X.ravel().tolist()}
    body = json.dumps({"inputs": [row]}).encode()
    head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    held = ExitStack()
    for _ in range(MANY):
        held.enter_context(socket.create_connection(front.http, timeout=20)).sendall(head + body)
    return held.close


def by_the_router(front: Front, name: str) -> Vanish:
    async def begin() -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(front.router.infer(name, {"x": X}, budget_s=60)) for _ in range(MANY)]

    async def end(tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    held = front.workers.do(begin())
    return lambda: front.workers.do(end(held))


CLIENTS = (by_calls, by_a_stream, by_http, by_the_router)


def is_busy(front: Front, name: str, node: str) -> bool:
    return int(front.stage(name, node)["in_hand"]) >= 3


@pytest.mark.parametrize("slow", STAGES)
@pytest.mark.parametrize("begin", CLIENTS, ids=[each.__name__ for each in CLIENTS])
def test_nobody_works_for_a_client_that_vanished(front: Front, begin: Begin, slow: str) -> None:
    name = f"{begin.__name__.replace('_', '-')}-{slow}"
    front.load(name, slow)
    vanish = begin(front, name)
    eventually(lambda: is_busy(front, name, slow), what="requests wait in the slow stage")
    served = front.stage(name, slow)["served"]
    vanish()
    eventually(lambda: not any(front.stage(name, node)["in_hand"] for node in STAGES), what="all gone")
    assert front.serving.gathering.waiting(name) == 0
    assert front.router.in_hand(name) == 0
    assert front.stage(name, slow)["served"] - served <= 2  # what ran, and one that ended while we looked


def test_the_next_client_is_answered(front: Front) -> None:
    front.load("next", "cloud")
    by_calls(front, "next")()
    answer = front.workers.do(front.router.infer("next", {"x": X}, budget_s=60))
    assert answer.outputs["y"].shape == (1, 64)


def keep_asking(routes: EpochRoutes) -> None:
    """A router in a process of its own, until it is killed."""

    async def ask() -> None:
        router = Router(on_drained=lambda _name, _epoch: None)
        await router.switch(routes)
        await asyncio.gather(*(router.infer(routes.deployment, {"x": X}, budget_s=60) for _ in range(MANY)))

    asyncio.run(ask())


@pytest.mark.parametrize("slow", STAGES)
def test_nobody_works_for_a_router_that_was_killed(front: Front, slow: str) -> None:
    name = f"killed-{slow}"
    routes = front.load(name, slow)
    process = multiprocessing.get_context("spawn").Process(target=keep_asking, args=(routes,))
    process.start()
    try:
        eventually(lambda: front.stage(name, slow)["in_hand"] >= MANY / 2, what="requests wait in the slow stage")
        served = front.stage(name, slow)["served"]
        process.kill()
        eventually(lambda: not any(front.stage(name, node)["in_hand"] for node in STAGES), what="all gone")
        assert front.stage(name, slow)["served"] - served <= 4
    finally:
        process.kill()
        process.join(20)
        process.close()
