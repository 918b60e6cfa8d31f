"""How many video streams a gateway and a worker sustain at a fixed p99, with what spares copies or faults and without.

python benchmarks/streams.py [--json] [--quick]

A stream sends a picture (float32 [1, 3, 224, 224], 600 kB) ten times a second over ModelInfer, whether or not answers
are there; the model is a mean per channel, so that what is measured is the tensors' way. A number of streams is
sustained if 99 % of the answers of some seconds come within P99_MS. Freed memory kept for reuse (nodes/memory.py) or
given back, tensors by shared memory (nodes/shared_memory.py) or by the socket: of each the two ways are tried in turn.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import grpc
import numpy as np
from kit.doors import NAME, Behind, ours
from kit.figures import Figure, figure, report
from onnx import TensorProto, helper

from nodes import memory, shared_memory
from nodes.normalise import normalise
from orchestrator.gateway.messages import SERVICE, message

SHAPE = (1, 3, 224, 224)
PER_S, P99_MS, MOST = 10, 100.0, 64
SWITCHES = {  # the variable, and what 1 and 0 stand for
    memory.VARIABLE: ("freed memory kept", "freed memory given back"),
    shared_memory.VARIABLE: ("tensors by shared memory", "tensors by the socket"),
}


def means(folder: Path) -> Path:
    """A picture's mean of each channel."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0, name="mean")
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.FLOAT, list(SHAPE))], [info("y", TensorProto.FLOAT, [1, 3])]
    path = folder / "means.onnx"
    graph = helper.make_graph([node], "means", *ends)
    normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)).save(path)
    return path


@contextmanager
def served(path: Path, variable: str, value: str) -> Iterator[int]:
    """The port of a gateway whose processes were started with that in their environment."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    behind = Behind(ours, path)
    try:
        yield behind.found[0]
    finally:
        behind.close()
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before


async def p99_ms(port: int, streams: int, seconds: float) -> float:
    """Of the answers to so many streams; infinite where one got none."""
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    request = message("ModelInferRequest")(model_name=NAME)
    request.inputs.add(name="x", datatype="FP32", shape=SHAPE)
    request.raw_input_contents.append(np.random.default_rng(0).random(SHAPE, np.float32).tobytes())
    data, took_s, lost = request.SerializeToString(), list[float](), list[str]()

    async def one(number: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            asked = set[asyncio.Task[None]]()
            begin_s = time.perf_counter() + number / streams / PER_S

            async def ask(due_s: float) -> None:
                try:
                    await method(data, timeout=10.0)
                except grpc.aio.AioRpcError as error:
                    lost.append(str(error.code()))
                else:
                    took_s.append(time.perf_counter() - due_s)

            for picture in range(round(seconds * PER_S)):
                due_s = begin_s + picture / PER_S
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                task = asyncio.create_task(ask(due_s))
                asked.add(task)
                task.add_done_callback(asked.discard)
            await asyncio.gather(*asked)

    await asyncio.gather(*(one(number) for number in range(streams)))
    return float("inf") if lost else float(np.quantile(took_s, 0.99)) * 1e3


async def sustained(port: int, seconds: float) -> int:
    """The most streams, by doubling and halving the difference."""
    await p99_ms(port, 1, 1.0)
    good, bad = 0, MOST + 1
    streams = 4
    while bad - good > 1:
        if await p99_ms(port, streams, seconds) <= P99_MS:
            good = streams
        else:
            bad = streams
        streams = min(2 * good, (good + bad) // 2) if good else bad // 2
        streams = max(streams, good + 1)
    return good


def figures_of(path: Path, rounds: int, seconds: float) -> Iterator[Figure]:
    """Streams with each switch on and off."""
    for variable, (on, off) in SWITCHES.items():
        found: dict[str, list[int]] = {"1": [], "0": []}
        for _ in range(rounds):
            for value, counts in found.items():
                with served(path, variable, value) as port:
                    counts.append(asyncio.run(sustained(port, seconds)))
        for way, counts in zip((on, off), found.values(), strict=True):
            spread = (min(counts), max(counts))
            name = f"streams of {PER_S} pictures a second at a p99 of {P99_MS:g} ms, {way}"
            yield figure(name, median(counts), "streams", None, "higher", spread)
        ratios = [with_it / max(1, without) for with_it, without in zip(*found.values(), strict=True)]
        yield figure(f"{on} / {off}", median(ratios), "×", None, "higher", (min(ratios), max(ratios)))


def main() -> None:
    """Both ways of each."""
    parser = argparse.ArgumentParser(description="How many video streams are sustained at a fixed p99.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="one round, two seconds each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rounds, seconds = (1, 2.0) if options.quick else (3, 6.0)
        report("streams", figures_of(means(Path(scratch)), rounds, seconds), options.json)


if __name__ == "__main__":
    main()
