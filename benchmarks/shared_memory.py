"""What a message takes to a worker on this host and back, its tensor in shared memory and over the socket, in turn.

python benchmarks/shared_memory.py [--json] [--quick]

The worker returns its input, so both ways are counted: packing, framing, copying, routing to the stage, unpacking. Two
streams to one worker take turns, a round each; a ratio is of the medians of one round. `benchmarks/streams.py` tells
what it is worth to a gateway.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator
from multiprocessing import get_context
from statistics import median

from hop import Ours, serve_ours
from kit.figures import Figure, figure, report

from nodes.memory import keep_memory
from nodes.shared_memory import VARIABLE

SIZES = {"64 KiB": 64 << 10, "128 KiB": 128 << 10, "0.3 MB": 300_000, "0.8 MB": 800_000, "6 MB": 6_000_000}
WAYS = {"shared memory": "1", "socket": "0"}
WARM_UP = 10


async def measure(port: int, rounds: int, count: int) -> list[Figure]:
    clients = {way: await _dialled(port, value) for way, value in WAYS.items()}
    p50_s: dict[str, dict[str, list[float]]] = {size: {way: [] for way in WAYS} for size in SIZES}
    for _ in range(rounds):
        for size, nbytes in SIZES.items():
            for way, client in clients.items():
                p50_s[size][way].append(median((await client.times(nbytes, count + WARM_UP))[WARM_UP:]))
    for client in clients.values():
        await client.close()
    return [found for size, by_way in p50_s.items() for found in _figures(size, by_way)]


async def _dialled(port: int, value: str) -> Ours:
    """A stream of its own, on which memory is shared or isn't: both ends decide that as it is opened."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = value
    try:
        return await Ours().open(f"127.0.0.1:{port}")
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def _figures(size: str, p50_s: dict[str, list[float]]) -> Iterator[Figure]:
    ratios = [shared / socket for shared, socket in zip(*p50_s.values(), strict=True)]
    yield figure(f"shared memory / socket, {size}", median(ratios), "×", None, "lower", (min(ratios), max(ratios)))
    for way, seconds in p50_s.items():
        spread = min(seconds) * 1e6, max(seconds) * 1e6
        yield figure(f"there and back, {size}, {way}", median(seconds) * 1e6, "µs", spread=spread)


def main() -> None:
    parser = argparse.ArgumentParser(description="A message to a worker on this host and back, both ways.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    os.environ.pop(VARIABLE, None)  # the worker would refuse, and the socket be compared with itself
    keep_memory()
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_ours, args=(there,), daemon=True)
    process.start()
    try:
        rounds, count = (5, 60) if options.quick else (15, 200)
        report("shared memory", asyncio.run(measure(here.recv(), rounds, count)), options.json)
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
