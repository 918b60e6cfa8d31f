"""Two processes of one host: what goes by shared memory, when nothing may, and what is left of it."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest

from nodes import same_host
from nodes.backend import Array
from nodes.codec import pack, unpack
from nodes.framing import VERSION, Header, Kind
from nodes.placing import LEAST_BYTES
from nodes.same_host import MEMORY, host_of, is_own
from nodes.shared_memory import VARIABLE
from nodes.stream import PROTOCOL, DialledConnection, open_connection
from tests.nodes.test_shared_memory import memory_files
from tests.nodes.test_wire_versions import header_of, served
from tests.nodes.wires import Inbox
from tests.nodes.workers import ROOT

DEADLINE_S = 60.0
FLOATS = LEAST_BYTES // 4
X = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)


@dataclass
class Asked:
    """A router's stream to the mirror; `address` is where."""

    address: str
    name: str = field(default_factory=lambda: uuid4().hex)
    inbox: Inbox = field(default_factory=Inbox)
    asked: int = 0
    stream: DialledConnection = field(init=False)

    async def __call__(self, array: Array = X) -> Array:
        self.asked += 1
        header = Header(deployment="d", epoch=1, stage="s1", request=f"{self.name}-{self.asked}", origin=self.name)
        self.stream.post(pack(header, {"x": array}, {}))
        return unpack(await self.inbox.frames.get())["y"]


@asynccontextmanager
async def dialled(address: str) -> AsyncIterator[Asked]:
    asked = Asked(address)
    asked.stream = await open_connection(address, node="here", origin=asked.name, **asked.inbox.settings())
    try:
        yield asked
    finally:
        await asked.stream.close()


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def mirror_process(folder: Path, **environ: str) -> tuple[subprocess.Popen[str], str]:
    """A mirror and where it listens."""
    command = [sys.executable, "-m", "tests.nodes.mirror", str(folder)]
    given = {"cwd": ROOT, "env": os.environ | environ, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **given)  # type: ignore[call-overload]
    return process, f"127.0.0.1:{int(process.stdout.readline())}"


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, address = mirror_process(tmp_path_factory.mktemp("mirror"))
    yield address
    end(process)


def test_answers_are_the_same_to_the_bit_by_memory_and_by_socket(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with dialled(mirror) as shared:
            monkeypatch.setenv(VARIABLE, "0")
            async with dialled(mirror) as plain:
                answers = await shared(), await plain()
                assert answers[0].tobytes() == answers[1].tobytes() == X.tobytes()
                assert (shared.stream.shared_bytes, plain.stream.shared_bytes) == (X.nbytes, 0)
                assert shared.stream.received_bytes >= X.nbytes

    run(scenario)


def test_answers_come_by_memory_too(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, read = [], same_host.Placing.found
    monkeypatch.setattr(same_host.Placing, "found", lambda self, frame: found.append(1) or read(self, frame))

    async def scenario() -> None:
        async with dialled(mirror) as asked:
            await asked()
            await asked(X[:10])
        assert found == [1]

    run(scenario)


def test_a_kept_answer_stays_right_through_thousands_of_later_ones_and_nothing_piles_up(mirror: str) -> None:
    async def scenario() -> None:
        async with dialled(mirror) as asked:
            kept = [await asked(np.full(FLOATS, number, np.float32)) for number in range(3)]
            for number in range(3000):
                assert (await asked(np.full(FLOATS, -number, np.float32)))[[0, -1]].tolist() == [-number, -number]
            assert [set(array.tolist()) for array in kept] == [{0.0}, {1.0}, {2.0}]
            assert asked.stream.shared_bytes == 3003 * LEAST_BYTES
            assert asked.stream._placing._pool is not None
            assert asked.stream._placing._pool.used_bytes <= 8 * LEAST_BYTES

    run(scenario)


def test_whoever_keeps_every_answer_has_them_all_right(mirror: str) -> None:
    async def scenario() -> None:
        async with dialled(mirror) as asked:
            kept = [await asked(np.full(X.size, number, np.float32)) for number in range(150)]  # 120 MB
            assert all((array == number).all() for number, array in enumerate(kept))

    run(scenario)


def test_a_killed_peer_leaves_nothing_behind_and_what_it_sent_stays(tmp_path: Path) -> None:
    gc.collect()
    named, files = set(os.listdir("/dev/shm")), memory_files()

    async def scenario() -> None:
        process, address = mirror_process(tmp_path)
        asked = Asked(address)
        asked.stream = await open_connection(address, node="here", origin=asked.name, **asked.inbox.settings())
        kept = await asked()
        asked.stream.post(pack(Header(deployment="d", epoch=1, stage="s1", request="lost"), {"x": X}, {}))
        process.kill()
        process.communicate()
        await asked.stream.reader
        assert asked.inbox.closed
        assert (kept == X).all()
        await asked.stream.close()

    run(scenario)
    gc.collect()
    assert set(os.listdir("/dev/shm")) == named
    assert memory_files() == files


def test_the_switch_on_either_side_is_enough(tmp_path: Path) -> None:
    async def scenario() -> None:
        process, address = mirror_process(tmp_path, **{VARIABLE: "0"})
        async with dialled(address) as asked:
            assert (await asked() == X).all()
            assert asked.stream.shared_bytes == 0
        end(process)

    run(scenario)


def test_a_peer_whose_address_is_not_this_hosts_is_offered_nothing(
    mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_host, "is_own", lambda _: False)

    async def scenario() -> None:
        async with dialled(mirror) as asked:
            assert (await asked() == X).all()
            assert asked.stream.shared_bytes == 0

    run(scenario)


@dataclass
class Stranger:
    """A server that says `told` and keeps what it hears."""

    told: tuple[tuple[str, str], ...] = ()
    greeted: list[str] = field(default_factory=list)
    kinds: asyncio.Queue[int] = field(default_factory=asyncio.Queue)

    async def answer(self, _: Any, context: Any) -> None:
        self.greeted.extend(key for key, _ in context.invocation_metadata())
        await context.send_initial_metadata(((PROTOCOL, str(VERSION)), *self.told))
        while (data := await context.read()) is not grpc.aio.EOF:
            self.kinds.put_nowait(header_of(data)["k"])

    async def first_kind(self) -> int:
        """Of a large message."""
        async with served(self.answer) as address:
            stream = await open_connection(address, node="here", **Inbox().settings())
            stream.post(pack(Header(request="r1"), {"x": X}, {}))
            kind = await self.kinds.get()
            await stream.close()
        assert stream.shared_bytes == 0
        return kind


def test_a_peer_that_knows_nothing_of_it_gets_frames_as_ever() -> None:
    async def scenario() -> None:
        stranger = Stranger()
        assert await stranger.first_kind() == Kind.PART
        assert MEMORY in stranger.greeted

    run(scenario)


@pytest.mark.parametrize("offer", ["1:1:1:00", "nonsense", "1:0:0:" + "0" * 32])
def test_an_offer_that_is_none_of_its_own_is_passed_over(offer: str) -> None:
    async def scenario() -> None:
        assert await Stranger(((MEMORY, offer),)).first_kind() == Kind.PART

    run(scenario)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("edge.example", False),
        ("", False),
    ],
)
def test_only_addresses_of_this_host_are_its_own(host: str, own: bool) -> None:
    assert is_own(host) == own


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.1:80", "10.0.0.1"),
        ("[::1]:80", "::1"),
        ("ipv4:10.0.0.1:5", "10.0.0.1"),
        ("ipv6:%5B::1%5D:5", "::1"),
        ("dns:///edge:5", "edge"),
        ("", ""),
    ],
)
def test_a_host_is_found_in_addresses_of_people_and_of_grpc(address: str, host: str) -> None:
    assert host_of(address) == host
