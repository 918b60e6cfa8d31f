"""What a stream hop costs over raw gRPC: framed, routed to a stage, decoded to arrays, encoded again, framed, back.

Peers are bare bidirectional echoes of the same bytes with grpc's sync and its aio API; ours is a whole worker's
inside (routing by epoch, duplicate check, batching, metrics) around a stage that returns its input. Rounds
interleave the three, a round's ratio is ours over the faster peer, p50 against p50.
"""

import argparse
import asyncio
import multiprocessing
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from queue import SimpleQueue
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
from kit.figures import Figure, figure, report

from nodes.backend import Array, TensorSpec
from nodes.codec import pack, unpack
from nodes.connection import Connection
from nodes.control_service import ControlService
from nodes.framing import Frame, Header, decode, encode
from nodes.host import Host, HostSettings
from nodes.memory import keep_memory
from nodes.stage_spec import StageSpec
from nodes.stream import CLIENT_OPTIONS, SERVER_OPTIONS, open_connection

SIZES = {"64 B": 64, "150 KB": 150_000, "1 MB": 1_000_000}
TARGET = 1.35
ECHO = "/x.Echo/Stream"
WARM_UP = 20
LARGE_BYTES, PARTS_KIB = 32 << 20, (64, 256, 1024, 4096, 16384)


class Identity:
    """A stage's program that returns its input under another name."""

    def __init__(self) -> None:
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("x", "uint8", (None,)),)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("y", "uint8", (None,)),)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Y is x."""
        return {"y": feeds["x"]}

    def close(self) -> None:
        """Nothing to free."""


def serve_sync(pipe: Pipe) -> None:
    keep_memory()

    def echo(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        yield from messages

    server = grpc.server(ThreadPoolExecutor(2), options=SERVER_OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.Echo", {"Stream": handler}),))
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def serve_aio(pipe: Pipe) -> None:
    keep_memory()

    async def echo(_: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    handler = grpc.stream_stream_rpc_method_handler(echo)
    asyncio.run(_serve(pipe, grpc.method_handlers_generic_handler("x.Echo", {"Stream": handler})))


def serve_ours(pipe: Pipe) -> None:
    keep_memory()

    async def run() -> None:
        with TemporaryDirectory() as state:
            host = Host(HostSettings(node="worker", state=Path(state)))
            spec = StageSpec(deployment="d", epoch=1, stage="s", artifact="", backend="", returns=("y",))
            await host.hold(spec, Identity())
            await _serve(pipe, ControlService(host))

    asyncio.run(run())


async def _serve(pipe: Pipe, handler: Any) -> None:
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((handler,))
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


class SyncEcho:
    """One stream of grpc's sync API."""

    def __init__(self, address: str) -> None:
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._channel = grpc.insecure_channel(address, options=CLIENT_OPTIONS)
        self._call = self._channel.stream_stream(ECHO)(iter(self._queue.get, None))

    async def times(self, nbytes: int, count: int) -> list[float]:
        """Seconds of each round trip."""
        message, seconds = bytes(nbytes), []
        for _ in range(count):
            started = perf_counter()
            self._queue.put(message)
            next(self._call)
            seconds.append(perf_counter() - started)
        return seconds

    async def close(self) -> None:
        """End the stream."""
        self._queue.put(None)
        self._channel.close()


class AioEcho:
    """One stream of grpc's aio API."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
        self._call = self._channel.stream_stream(ECHO)()

    async def times(self, nbytes: int, count: int) -> list[float]:
        """Seconds of each round trip."""
        message, seconds = bytes(nbytes), []
        for _ in range(count):
            started = perf_counter()
            await self._call.write(message)
            await self._call.read()
            seconds.append(perf_counter() - started)
        return seconds

    async def close(self) -> None:
        """End the stream."""
        await self._channel.close()


class Ours:
    """A router's stream to a worker: arrays in, arrays out."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[Frame]
        self._request = 0
        self._name = uuid4().hex  # of the router that it stands for; request ids are unique across them

    async def open(self, address: str, **settings: Any) -> "Ours":
        """Dial the worker."""
        self._connection = await open_connection(
            address, node="client", origin=self._name, on_frame=self._received, on_closed=lambda *_: None, **settings
        )
        return self

    def _received(self, _: Connection, frame: Frame) -> None:
        self._answer.set_result(frame)

    async def times(self, nbytes: int, count: int) -> list[float]:
        """Seconds of each round trip, packing and unpacking included."""
        array, seconds = np.zeros(nbytes, np.uint8), []
        loop = asyncio.get_running_loop()
        for _ in range(count):
            self._answer = loop.create_future()
            self._request += 1
            started = perf_counter()
            header = Header(
                deployment="d",
                epoch=1,
                stage="s",
                request=f"{self._name}-{self._request}",
                origin=self._name,
                budget_s=9,
            )
            self._connection.post(pack(header, {"x": array}, {}))
            answer = unpack(await self._answer)
            seconds.append(perf_counter() - started)
            if answer["y"].nbytes != nbytes:
                raise RuntimeError(f"sent {nbytes} bytes, got {answer['y'].nbytes}")
        return seconds

    async def close(self) -> None:
        """End the stream."""
        await self._connection.close()


async def measure(ports: list[int], rounds: int, count: int) -> list[Figure]:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    clients: dict[str, SyncEcho | AioEcho | Ours] = {
        "sync": SyncEcho(addresses[0]),
        "aio": AioEcho(addresses[1]),
        "ours": await Ours().open(addresses[2]),
    }
    p50_s: dict[str, dict[str, list[float]]] = {size: {name: [] for name in clients} for size in SIZES}
    for _ in range(rounds):
        for size, nbytes in SIZES.items():
            for name, client in clients.items():
                seconds = await client.times(nbytes, count + WARM_UP)
                p50_s[size][name].append(median(seconds[WARM_UP:]))
    for client in clients.values():
        await client.close()
    return [found for size, by_name in p50_s.items() for found in _figures(size, by_name)]


def _figures(size: str, p50_s: dict[str, list[float]]) -> Iterator[Figure]:
    ratios = [ours / min(peers) for ours, *peers in zip(p50_s["ours"], p50_s["sync"], p50_s["aio"], strict=True)]
    yield figure(f"hop over raw gRPC, {size}", median(ratios), "×", TARGET, "lower", (min(ratios), max(ratios)))
    for name, seconds in p50_s.items():
        label = "isthmus" if name == "ours" else f"raw {name}"
        yield figure(f"{label} p50, {size}", median(seconds) * 1e6, "µs", spread=_microseconds(seconds))


def _microseconds(seconds: list[float]) -> tuple[float, float]:
    return min(seconds) * 1e6, max(seconds) * 1e6


async def parts(port: int, rounds: int) -> list[Figure]:
    """Milliseconds that a large message takes there and back, by the size of the parts that it is cut into there."""
    clients = {kib: await Ours().open(f"127.0.0.1:{port}", part_bytes=kib << 10) for kib in PARTS_KIB}
    spent: dict[int, list[float]] = {kib: [] for kib in clients}
    for _ in range(rounds):
        for kib, client in clients.items():
            spent[kib] += (await client.times(LARGE_BYTES, 3))[1:]
    for client in clients.values():
        await client.close()
    return [
        figure(f"{LARGE_BYTES >> 20} MiB, parts of {kib} KiB", median(seconds) * 1e3, "ms", spread=_quartiles(seconds))
        for kib, seconds in spent.items()
    ]


def _quartiles(seconds: list[float]) -> tuple[float, float]:
    low, _, high = quantiles(seconds, n=4)
    return low * 1e3, high * 1e3


def decode_allocation() -> Figure:
    """Bytes allocated at most while a 1 MB frame becomes arrays, over the tensor's own bytes."""
    data = encode(pack(Header(request="r"), {"x": np.zeros(1_000_000, np.uint8)}, {}))
    tracemalloc.start()
    arrays = unpack(decode(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return figure("decode allocation over tensor", peak / arrays["x"].nbytes, "×", 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    keep_memory()  # for the peers too: the comparison is of streams, not of allocators
    context = multiprocessing.get_context("spawn")
    processes, ports = [], []
    for serve in (serve_sync, serve_aio, serve_ours):
        here, there = context.Pipe()
        processes.append(context.Process(target=serve, args=(there,), daemon=True))
        processes[-1].start()
        ports.append(here.recv())
    try:
        rounds, count = (6, 150) if options.quick else (20, 400)
        figures = asyncio.run(measure(ports, rounds, count))
        figures += asyncio.run(parts(ports[2], rounds))
    finally:
        for process in processes:
            process.terminate()
            process.join()
    report("hop", [*figures, decode_allocation()], options.json)


if __name__ == "__main__":
    main()
