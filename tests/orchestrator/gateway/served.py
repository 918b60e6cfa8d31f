"""A gateway over a model that is known by heart, on ports of its own: what its tests ask of. `Echo` answers at once."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.framing import HopTiming
from orchestrator.answers import Answer
from orchestrator.gateway.accounts import Accounts
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.models import Asking, Model
from orchestrator.gateway.permits import Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.serving import Serving

T = TypeVar("T")
DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "bfloat16", "string"),
)
HOP = HopTiming("s1", 0.001, 0.002, 0.003, 0.004, "0")


class Echo:
    """A model for each dtype, named after it, that gives back what it is given; `slow` waits to be let go."""

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.hops, self.latency_s = (HOP, HOP), 0.01
        self.is_up = True
        self.asked: list[tuple[str, float, int | None, str]] = []
        self.let_go = asyncio.Event()
        self.cancelled = 0

    def models(self) -> tuple[str, ...]:
        return (*DTYPES, "slow", "pair")

    def model(self, name: str) -> Model | None:
        if name not in self.models():
            return None
        dtype = name if name in DTYPES else "float32"
        taken = [TensorSpec("x", dtype, (None, 2))]
        made = [TensorSpec("y", dtype, (None, 2))]
        if name == "pair":
            taken.append(TensorSpec("z", "int64", (1,)))
            made.append(TensorSpec("w", "int64", (1,)))
        return Model(name=name, version=2, versions=(2, 3), inputs=tuple(taken), outputs=tuple(made), width=64)

    def is_ready(self, name: str) -> bool:
        return self.is_up and name in self.models()

    def is_live(self) -> bool:
        return True

    async def answer(self, name: str, feeds: Mapping[str, Array], asking: Asking) -> Answer:
        self.asked.append((name, asking.budget_s, asking.version, asking.key))
        if self.raises is not None:
            raise self.raises
        if name == "slow":
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        outputs = {"y": feeds["x"]} | ({"w": feeds["z"]} if name == "pair" else {})
        told = {
            "latency_s": self.latency_s,
            "hops": self.hops,
            "version": asking.version or 2,
            "request": f"r{len(self.asked)}",
        }
        return Answer(outputs=outputs, epoch=1, attempt=1, **told)  # type: ignore[arg-type]


class Served:
    """Doors over a source, in a thread with an event loop of its own."""

    def __init__(
        self,
        permits: Permits | None = None,
        *,
        most_bytes: int = 1 << 20,
        accounts: Accounts | None = None,
        **listening: Any,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)
        self._thread.start()
        self.echo = Echo()
        self.serving = Serving(self.echo, accounts=accounts)
        doors = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "permits": permits or Permits()}
        listen = Listen(**doors, most_bytes=most_bytes, **listening)
        self.doors = Doors(self.serving, Repository(self.serving), listen)
        self.do(self.doors.open())
        self.grpc, self.http = f"127.0.0.1:{self.doors.grpc}", f"127.0.0.1:{self.doors.http}"

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of asynchronous work, which must be there within a minute."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self.do(self.doors.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


def values_of(dtype: str) -> Array:
    """Four values of a dtype, the least and the greatest among them."""
    if dtype == "string":
        found = np.empty(4, np.object_)
        found[:] = [b"", b"\xff\x00", "münchen".encode(), b"a" * 300]
        return found.reshape(2, 2)
    if dtype == "bool":
        return np.array([[True, False], [False, True]])
    if dtype == "bfloat16":
        return np.array([[0, 1], [0x7F80, 0xFFFF]], np.uint16)
    limits: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    return np.array([[limits.min, limits.max], [0, 1]], dtype)
