"""Streams for tests: two ends in memory that speak as two connections, and a small program in place of an engine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.codec import pack
from nodes.connection import Connection, Ends
from nodes.errors import BadInput, StreamClosed
from nodes.framing import Frame, Header

TIMEOUT_S = 10.0


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in a loop of its own, with a deadline."""

    async def limited() -> None:
        await asyncio.wait_for(scenario(), TIMEOUT_S)

    asyncio.run(limited())


def request_frame(name: str = "r1", *, rows: int = 1, **header: object) -> Frame:
    """A request to stage s1 with one float32 tensor x."""
    given = {"deployment": "d", "epoch": 1, "stage": "s1", "origin": "router"} | header
    return pack(Header(request=name, **given), {"x": np.full((rows, 4), 2, np.float32)}, {})  # type: ignore[arg-type]


@dataclass
class Inbox:
    """Frames that arrived and why the stream ended."""

    frames: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue)
    closed: list[str] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        """Callbacks for a connection."""
        return {
            "on_frame": lambda _, frame: self.frames.put_nowait(frame),
            "on_closed": lambda _, reason: self.closed.append(reason),
        }


class MemoryWire:
    """One end of a pipe; `written` keeps what went through."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.written: list[bytes] = []
        self.other = self

    async def read(self) -> bytes | None:
        """The next message."""
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        """To the other end."""
        self.written.append(data)
        self.other.incoming.put_nowait(data)


@dataclass
class SlowWire:
    """Takes what is written, and each write waits for its own future in `waits`; nothing is ever read."""

    written: list[bytes] = field(default_factory=list)
    waits: list[asyncio.Future[None]] = field(default_factory=list)
    broken: bool = False

    async def read(self) -> bytes | None:
        """The next message."""
        return None

    async def write(self, data: bytes) -> None:
        """To the list."""
        if self.broken:
            raise StreamClosed("broken")
        self.written.append(data)
        self.waits.append(asyncio.get_running_loop().create_future())
        await self.waits[-1]


@dataclass
class Pair:
    """Two connections joined in memory, a → b."""

    a: Connection
    b: Connection
    at_a: Inbox
    at_b: Inbox
    wire: MemoryWire
    tasks: list[asyncio.Task[None]]

    async def close(self) -> None:
        """End both."""
        self.wire.incoming.put_nowait(None)
        self.wire.other.incoming.put_nowait(None)
        await asyncio.gather(*self.tasks)


def pair(**settings: object) -> Pair:
    """Connections on nodes "a" and "b"; settings go to both."""
    wires = MemoryWire(), MemoryWire()
    wires[0].other, wires[1].other = wires[1], wires[0]
    at_a, at_b = Inbox(), Inbox()
    a = Connection(wires[0], Ends(node="a", peer_node="b"), **at_a.settings(), **settings)  # type: ignore[arg-type]
    b = Connection(wires[1], Ends(node="b", peer_node="a"), **at_b.settings(), **settings)  # type: ignore[arg-type]
    return Pair(a, b, at_a, at_b, wires[0], [asyncio.create_task(end.run()) for end in (a, b)])


@dataclass
class Doubler:
    """A program: y = 2x for float32 x of four columns. Counts its runs and refuses what doesn't fit."""

    batches: list[int] = field(default_factory=list)
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", "float32", (None, 4)),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", "float32", (None, 4)),)
    closed: bool = False

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        self.batches.append(len(feeds["x"]))
        if np.isnan(feeds["x"]).any():
            raise BadInput("x holds NaN")
        return {"y": np.multiply(feeds["x"], 2, dtype=np.float32)}

    def close(self) -> None:
        """Nothing to free."""
        self.closed = True
