"""A gateway that is asked for three times what its model can do: who is answered how soon, and who is refused.

python benchmarks/overload.py [--json] [--quick]

The model takes some 25 ms, most of them asleep, so that neither the machine nor who asks is the limit. Requests come
at random (Poisson), a minute at nine tenths of the capacity, then a minute at three times it, with a queue of QUEUE.
"""

import argparse
import asyncio
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
from kit.doors import NAME, Behind, ours
from kit.figures import Figure, figure, report
from onnx import TensorProto, helper, numpy_helper

from nodes.memory import spare_what_is_there
from nodes.normalise import normalise
from orchestrator.batching import Batching
from orchestrator.gateway.messages import SERVICE, message

WIDE, LAYERS, SLOWDOWN = 1024, 6, 12.0
QUEUE = 8
LOADS = {"at 0.9 of the capacity": 0.9, "at 3 times the capacity": 3.0}
MOST_TIMES, REFUSED_MS, GROWN_MB = 2.0, 50.0, 16.0


def layers(folder: Path) -> Path:
    """[1, 1024] through so many layers of the same width."""
    random, info = np.random.default_rng(0), helper.make_tensor_value_info
    weights = [
        numpy_helper.from_array((random.normal(size=(WIDE, WIDE)) / 32).astype(np.float32), f"w{n}")
        for n in range(LAYERS)
    ]
    nodes = [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"], name=f"layer{n}") for n in range(LAYERS)]
    ends = [[info(f"x{n}", TensorProto.FLOAT, [1, WIDE])] for n in (0, LAYERS)]
    graph = helper.make_graph(nodes, "layers", *ends, weights)
    path = folder / "layers.onnx"
    normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)).save(path)
    return path


@dataclass
class Seen:
    """What became of a load's requests: seconds of those answered, seconds of those refused, others' codes.

    `late_s`: by how much each was asked later than it was to be, as whoever asks was not let run.
    """

    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)


class Asker:
    """A client of the gateway, which asks without waiting for answers."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._method = self._channel.unary_unary(f"/{SERVICE}/ModelInfer")
        request = message("ModelInferRequest")(model_name=NAME)
        request.inputs.add(name="x0", datatype="FP32", shape=[1, WIDE])
        request.raw_input_contents.append(np.ones((1, WIDE), np.float32).tobytes())
        self._request = request.SerializeToString()

    async def ask(self, seen: Seen) -> None:
        """Once."""
        began_s = time.perf_counter()
        try:
            await self._method(self._request, timeout=30.0)
        except grpc.aio.AioRpcError as error:
            took_s = time.perf_counter() - began_s
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                seen.refused_s.append(took_s)
            else:
                seen.others.append(str(error.code()))
        else:
            seen.answered_s.append(time.perf_counter() - began_s)

    async def capacity_per_s(self, seconds: float) -> float:
        """Answers a second to four who ask again at once."""
        seen, until_s = Seen(), time.perf_counter() + seconds

        async def keep_asking() -> None:
            while time.perf_counter() < until_s:
                await self.ask(seen)

        await asyncio.gather(*(keep_asking() for _ in range(4)))
        return len(seen.answered_s) / seconds

    async def load(self, per_s: float, seconds: float, seed: int) -> Seen:
        """Requests at random times, so many a second."""
        seen, random = Seen(), np.random.default_rng(seed)
        times = np.cumsum(random.exponential(1 / per_s, size=round(per_s * seconds)))
        began_s, asked = time.perf_counter(), set[asyncio.Task[None]]()
        for at_s in times:
            await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
            seen.late_s.append(time.perf_counter() - began_s - at_s)
            task = asyncio.create_task(self.ask(seen))
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)
        return seen


def rss_mb(pid: int | None) -> float:
    """Memory that a process holds."""
    (found,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found) / 1e3


def told_refused(port: int) -> int:
    """Refusals that the gateway counted."""
    text = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    found = re.findall(r'^isthmus_gateway_requests_refused_total\{[^}]*reason="unavailable"[^}]*\} (\S+)', text, re.M)
    return round(sum(map(float, found)))


async def figures_of(behind: Any, seconds: float) -> list[Figure]:
    """Both loads, one after the other."""
    port, _, metrics = behind.found
    asker = Asker(port)
    await asker.capacity_per_s(2.0)
    spare_what_is_there()
    capacity = await asker.capacity_per_s(seconds / 6)
    figures = [figure("capacity, four clients", capacity, "/s", None, "higher")]
    p99_s, before_mb, refused = [], rss_mb(behind.pid), 0
    for name, share in LOADS.items():
        seen = await asker.load(share * capacity, seconds, round(10 * share))
        refused += len(seen.refused_s)
        p99_s.append(float(np.quantile(seen.answered_s, 0.99)))
        figures += [
            figure(f"{name}: answered", len(seen.answered_s) / seconds, "/s", None, "higher"),
            figure(f"{name}: refused", len(seen.refused_s) / seconds, "/s", None),
            figure(f"{name}: neither", len(seen.others), "requests", 0),
            figure(f"{name}: p99 of the answered", p99_s[-1] * 1e3, "ms"),
        ]
    took_ms = np.array(seen.refused_s) * 1e3
    figures += [
        figure("p99 of the answered, 3 times / 0.9", p99_s[1] / p99_s[0], "×", MOST_TIMES),
        figure("99 % of refusals came within", float(np.quantile(took_ms, 0.99)), "ms", REFUSED_MS),
        figure("the slowest refusal", float(took_ms.max()), "ms", REFUSED_MS),
        figure("whoever asks was late by, at most", max(seen.late_s) * 1e3, "ms", None),
        figure("refusals that were not counted", refused - told_refused(metrics), "requests", 0),
        figure("the gateway's memory grew by", rss_mb(behind.pid) - before_mb, "MB", GROWN_MB),
    ]
    return figures


def main() -> None:
    """Both loads on one gateway."""
    parser = argparse.ArgumentParser(description="A gateway that is asked for three times what its model can do.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="ten seconds each instead of a minute")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        behind = Behind(ours, layers(Path(scratch)), batching=Batching(most=1, queue_limit=QUEUE), slowdown=SLOWDOWN)
        try:
            figures = asyncio.run(figures_of(behind, 10.0 if options.quick else 60.0))
        finally:
            behind.close()
    report("overload", figures, options.json)


if __name__ == "__main__":
    main()
