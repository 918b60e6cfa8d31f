"""A worker that is sent a hundred thousand malformed frames answers the next good one, and is no larger for them."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from nodes.codec import pack, unpack
from nodes.framing import Frame, Header, Kind, decode, encode
from nodes.stage_spec import StageSpec
from nodes.stream import CLIENT_OPTIONS, ORIGIN, PROTOCOL, STREAM_METHOD, open_connection
from nodes.worker_client import WorkerClient
from tests.nodes import hostile, workers
from tests.nodes.wires import Inbox
from tests.nodes.workers import Worker, write_artifact

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")
MANY, SEED, DEADLINE_S = 100_000, 13, 240.0
GROWN_KB, PEAK_KB = 48 << 10, 96 << 10
X = np.arange(4, dtype=np.float32).reshape(1, 4)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Worker]:
    worker = workers.start(tmp_path)
    assert worker.process.stderr is not None
    reading = threading.Thread(target=lambda: [None for _ in worker.process.stderr or ()], daemon=True)
    reading.start()  # it logs what it refuses: a pipe that nobody reads would hold it up
    yield worker
    worker.process.kill()
    worker.process.wait(10)
    reading.join(10)
    worker.process.stderr.close()


def memory_kb(worker: Worker) -> dict[str, int]:
    """What the worker has in memory now (VmRSS), and had at most (VmHWM)."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return {name: int(kb) for name, kb in re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status)}


async def load(worker: Worker, folder: Path) -> None:
    sha = write_artifact(folder, "add", reads="x", makes="y", op_type="Add", constant=1.0)
    spec = StageSpec(deployment="d", epoch=1, stage="s1", artifact=sha, backend="onnxruntime", returns=("y",))
    async with WorkerClient(worker.address, controller="c", secret="s") as control:
        await control.claim()
        await control.put_artifact(folder / "add")
        await control.load_stage(spec)


@dataclass
class Raw:
    """A stream by its bytes: what was told, by kind, and answers by request."""

    call: Any
    told: Counter[str] = field(default_factory=Counter)
    answered: dict[str, "asyncio.Future[Frame]"] = field(default_factory=dict)

    async def read(self) -> None:
        """Until the stream ends."""
        while (data := await self.call.read()) is not grpc.aio.EOF:
            frame = decode(data)
            self.told[frame.header.fault.kind if frame.header.fault else frame.header.kind.name] += 1
            awaited = self.answered.get(frame.header.request)
            if awaited is not None and not awaited.done():
                awaited.set_result(frame)

    async def ask(self, name: str) -> Frame:
        """The answer to a good request."""
        self.answered[name] = asyncio.get_running_loop().create_future()
        await self.call.write(encode(request(name)))
        return await asyncio.wait_for(self.answered[name], 60)


def request(name: str, origin: str = "router") -> Frame:
    return pack(Header(deployment="d", epoch=1, stage="s1", request=name, origin=origin), {"x": X}, {})


async def ask_anew(worker: Worker, name: str) -> Frame:
    """The answer over a stream of its own, to a request in parts."""
    inbox = Inbox()
    stream = await open_connection(worker.address, node="b", origin="other", part_bytes=4, **inbox.settings())
    stream.post(request(name, "other"))
    answer = await asyncio.wait_for(inbox.frames.get(), 60)
    await stream.close()
    return answer


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, DEADLINE_S))


def test_a_hundred_thousand_malformed_frames_do_no_harm(edge: Worker, tmp_path: Path) -> None:
    async def scenario() -> None:
        await load(edge, tmp_path)
        async with grpc.aio.insecure_channel(edge.address, options=CLIENT_OPTIONS) as channel:
            call = channel.stream_stream(STREAM_METHOD)(metadata=((PROTOCOL, "2"), (ORIGIN, "router")))
            raw = Raw(call)
            reading = asyncio.create_task(raw.read())
            assert np.array_equal(unpack(await raw.ask("before"))["y"], X + 1)
            before = memory_kb(edge)
            for number, data in enumerate(hostile.frames(MANY, SEED)):
                await call.write(data)
                if number % 10_000 == 0:
                    assert (await raw.ask(f"good-{number}")).header.kind is Kind.TENSORS
            assert np.array_equal(unpack(await raw.ask("after"))["y"], X + 1)
            answer = await ask_anew(edge, "anew")
            assert np.array_equal(unpack(answer)["y"], X + 1)
            after = memory_kb(edge)
            assert edge.process.poll() is None
            assert raw.told["MalformedFrame"] > MANY / 3
            assert raw.told["UnknownEpoch"] > MANY / 20
            assert after["VmRSS"] - before["VmRSS"] < GROWN_KB
            assert after["VmHWM"] - before["VmHWM"] < PEAK_KB
            call.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    run(scenario())
