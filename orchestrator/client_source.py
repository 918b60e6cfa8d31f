"""A sensor's end as the Python client's user has it."""

import asyncio
from collections.abc import Mapping
from types import TracebackType

from nodes.backend import Array
from orchestrator.sourcing import Item, Source

LEAVE_S = 5.0


class Sensor:
    """Puts items at a node, for requests that mean them; made by Client.source. Use it as a context manager."""

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self._source, self._loop = source, loop

    def __enter__(self) -> "Sensor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def put(self, tensors: Mapping[str, Array]) -> Item:
        """Hold these inputs at the node, each under its name; what stands for them in a request.

        They are held until they are released, here and in the node's worker, which may be another one by then.
        """

        async def put() -> Item:
            return self._source.put(tensors)

        return asyncio.run_coroutine_threadsafe(put(), self._loop).result()

    def release(self, item: Item) -> None:
        """Let go of an item, once no request means it any more."""
        self._loop.call_soon_threadsafe(self._source.release, item)

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._source.close(), self._loop).result(LEAVE_S)
