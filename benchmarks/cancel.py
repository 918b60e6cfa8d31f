"""How soon nobody works any more for clients that vanished: in the gateway, and in the stages of two workers.

python benchmarks/cancel.py [--json] [--quick]

A run takes some tens of milliseconds, nearly all of them asleep, and REQUESTS requests are under way. Then their client
closes its connection. Measured is how long after that no stage holds more than the run that it has begun.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from kit.doors import FREE
from kit.figures import Figure, figure, report
from overload import WIDE, layers

from nodes.profiler import profile_model
from orchestrator.blueprint import pose
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.messages import SERVICE, message
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.own_cluster import OwnCluster, open_cluster
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.cost import evaluate
from partitioner.load import load
from partitioner.topology import Link, Node, Tier, Topology

REQUESTS, TARGET_MS, SLOWDOWN = 40, 100.0, 20.0
NODES = ("edge", "cloud")
CUTS = {"the first stage is slow": 5, "the second stage is slow": 1}  # layers in the first of two stages
X = np.ones((1, WIDE), np.float32)
Vanish = Callable[[], Awaitable[None]]


def site() -> Topology:
    """Two nodes, one link both ways."""
    tiers = zip(NODES, (Tier.DEVICE, Tier.CLOUD), strict=True)
    nodes = tuple(Node(name=name, tier=tier, backends=("onnxruntime",)) for name, tier in tiers)
    ends = (NODES, NODES[::-1])
    return Topology(nodes, tuple(Link(source=a, target=b, bytes_per_s=1e9, propagation_s=1e-4) for a, b in ends))


def asking(name: str) -> Any:
    """A request to the model."""
    request = message("ModelInferRequest")(model_name=name, raw_input_contents=[X.tobytes()])
    request.inputs.add(name="x0", datatype="FP32", shape=X.shape)
    return request


async def by_calls(doors: Doors, name: str) -> Vanish:
    """Calls over one channel, which is closed."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc}", options=[("grpc.use_local_subchannel_pool", 1)])
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer", lambda one: one.SerializeToString(), lambda one: one)
    calls = [asyncio.ensure_future(method(asking(name))) for _ in range(REQUESTS)]

    async def vanish() -> None:
        await channel.close(None)
        await asyncio.gather(*calls, return_exceptions=True)

    return vanish


async def by_a_stream(doors: Doors, name: str) -> Vanish:
    """One stream, which breaks."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc}", options=[("grpc.use_local_subchannel_pool", 1)])
    method = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", lambda one: one.SerializeToString(), None)
    call = method()
    for _ in range(REQUESTS):
        await call.write(asking(name))

    async def vanish() -> None:
        call.cancel()
        await channel.close(None)

    return vanish


async def by_http(doors: Doors, name: str) -> Vanish:
    """A connection a request, all closed."""
    row = {"name": "x0", "shape": list(X.shape), "datatype": "FP32", "data": X.ravel().tolist()}
    body = json.dumps({"inputs": [row]}).encode()
    head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    opened = [await asyncio.open_connection("127.0.0.1", doors.http) for _ in range(REQUESTS)]
    for _, writer in opened:
        writer.write(head + body)

    async def vanish() -> None:
        for _, writer in opened:
            writer.transport.abort()

    return vanish


CLIENTS = {"gRPC calls": by_calls, "a gRPC stream": by_a_stream, "HTTP connections": by_http}


async def in_hand(cluster: OwnCluster, name: str) -> list[int]:
    """Requests that wait or run, by stage."""
    told = await asyncio.gather(*(cluster.fleet.call(node, "health") for node in NODES))
    return [int(stage["in_hand"]) for each in told for stage in each["health"] if stage["deployment"] == name]


async def gone_ms(cluster: OwnCluster, doors: Doors, serving: Serving, name: str, client: Any) -> float:
    """How long after its client vanished no request waits any more."""
    vanish = await client(doors, name)
    while max(await in_hand(cluster, name)) < 3:
        await asyncio.sleep(0.002)
    began_s = time.perf_counter()
    vanishing = asyncio.ensure_future(vanish())
    while serving.gathering.waiting(name) or max(await in_hand(cluster, name)) > 1:
        await asyncio.sleep(0)
    took_ms = (time.perf_counter() - began_s) * 1e3
    await vanishing
    while any(await in_hand(cluster, name)) or cluster.router.in_hand(name):
        await asyncio.sleep(0.01)
    return took_ms


async def figures_of(path: Path, repeats: int) -> list[Figure]:
    """Each client, with the first and with the second stage slow."""
    topology, model, figures = site(), load(path), list[Figure]()
    async with open_cluster(topology, NODES[0]) as cluster:
        inputs = tuple(InputSpec(name=name, at=NODES[0]) for name in model.graph.inputs)
        spec = DeploymentSpec(name="m", model=path, topology=topology, source=NODES[0], inputs=inputs)
        engines = cluster.fleet.engines(topology)
        problem = pose(spec, model, await asyncio.to_thread(profile_model, path, engines[NODES[0]]), engines)
        first, second = (next(one for one in problem.sites if one.node == node) for node in NODES)
        serving = Serving(RouterSource(cluster.router))
        doors = Doors(serving, Repository(serving), Listen(grpc=FREE, http=FREE))
        await doors.open()
        many = len(model.graph.operators)
        for number, (said, cut) in enumerate(CUTS.items()):
            plan = evaluate(problem, [first] * cut + [second] * (many - cut))
            await cluster.deploy(f"m{number}", plan, model, slowdown=SLOWDOWN)
            for client, begin in CLIENTS.items():
                took = [await gone_ms(cluster, doors, serving, f"m{number}", begin) for _ in range(repeats)]
                figures += [
                    figure(f"{said}, {client}: median", float(np.median(took)), "ms", TARGET_MS),
                    figure(f"{said}, {client}: slowest of {repeats}", max(took), "ms", TARGET_MS),
                ]
        await doors.close()
    return figures


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description="How soon nobody works any more for clients that vanished.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="three times each instead of twenty")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = asyncio.run(figures_of(layers(Path(scratch)), 3 if options.quick else 20))
    report("cancel", figures, options.json)


if __name__ == "__main__":
    main()
