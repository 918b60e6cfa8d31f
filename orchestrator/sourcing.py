"""A sensor's end: what it has put at its node, and puts there again when the node's worker is a new one.

A shell. Requests that mean an item name it (`Item`); until it is released it is held here, and in each worker of the
node that a deployment's epochs need. Nothing is acknowledged: a stream delivers what was posted, or ends, and then its
items are posted to the next one. A request that comes before its item waits for it (routing.py).
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np

from nodes.backend import Array
from nodes.codec import pack
from nodes.errors import NodesError, StreamClosed
from nodes.framing import Frame, Header, Kind
from nodes.held import as_held
from nodes.items import STAGE
from nodes.stream import DialledConnection, open_connection
from orchestrator.router import Router
from orchestrator.routes import Reach
from partitioner.sources import item_of
from partitioner.topology import NodeId

LOOK_S = 0.05  # between looks at which workers there are
_NUMBERS = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What stands for tensors that a sensor has put at its node. It may travel to whoever asks."""

    node: NodeId
    number: int


def named(inputs: Mapping[str, "Array | Item"]) -> dict[str, Array]:
    """A request's inputs with the numbers of its items in their places."""
    found: dict[str, Array] = {}
    for name, given in inputs.items():
        if isinstance(given, Item):
            found[item_of(name)] = np.array([given.number], np.int64)
        else:
            found[name] = given
    return found


@dataclass(slots=True)
class _Stream:
    connection: DialledConnection
    posted: set[int] = field(default_factory=set)


class Source:
    """What one sensor has put at `node` for a deployment that `router` has routes of. All in one event loop."""

    def __init__(self, router: Router, deployment: str, node: NodeId) -> None:
        self.node = node
        self._router, self._deployment = router, deployment
        self._name = f"source-{uuid4().hex[:12]}"
        self._held: dict[int, Mapping[str, Array]] = {}
        self._streams: dict[str, _Stream] = {}  # by address
        self._opening = asyncio.Lock()
        self._keeping = asyncio.create_task(self._keep(), name=self._name)

    def put(self, tensors: Mapping[str, Array]) -> Item:
        """Hold these at the node; they are on their way when this returns, if a worker is there."""
        number = _NUMBERS.randrange(1, 1 << 62)
        self._held[number] = {name: as_held(np.asarray(array)) for name, array in tensors.items()}
        self._post_all()
        return Item(node=self.node, number=number)

    def release(self, item: Item) -> None:
        """Let go of an item: no request means it any more."""
        self._held.pop(item.number, None)
        for stream in self._streams.values():
            if item.number in stream.posted:
                stream.posted.discard(item.number)
                with suppress(StreamClosed):  # who is gone holds nothing
                    stream.connection.post(Frame(_header(Kind.CANCEL, item.number)))

    async def close(self) -> None:
        """Let go of everything."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        for number in tuple(self._held):
            self.release(Item(node=self.node, number=number))
        for stream in self._streams.values():
            await stream.connection.close()

    async def opened(self) -> None:
        """Have streams to the node's workers that are there now."""
        async with self._opening:
            await self._open()
        self._post_all()

    async def _open(self) -> None:
        for reach in self._workers():
            known = self._streams.get(reach.address)
            if known is not None and not known.connection.closed:
                continue
            with suppress(NodesError, OSError):  # tried again at the next look
                connection = await open_connection(
                    reach.address,
                    on_frame=lambda *_: None,
                    on_closed=lambda *_: None,
                    token=reach.token,
                    node=self.node,
                    origin=self._name,
                )
                self._streams[reach.address] = _Stream(connection)

    async def _keep(self) -> None:
        while True:
            await self.opened()
            await asyncio.sleep(LOOK_S)

    def _workers(self) -> tuple[Reach, ...]:
        held = self._router.deployments.get(self._deployment)
        epochs = () if held is None else tuple(held.epochs.values())
        found = [reach for routes in epochs for reach in routes.workers if reach.node == self.node]
        return tuple({reach.address: reach for reach in found}.values())

    def _post_all(self) -> None:
        """Every item to every stream that it was not posted to."""
        for stream in self._streams.values():
            if stream.connection.closed:
                continue
            for number in self._held.keys() - stream.posted:
                with suppress(StreamClosed):
                    stream.connection.post(pack(_header(Kind.TENSORS, number), self._held[number], {}))
                    stream.posted.add(number)


def _header(kind: Kind, number: int) -> Header:
    return Header(kind=kind, stage=STAGE, request=f"item-{number}", position=number)
