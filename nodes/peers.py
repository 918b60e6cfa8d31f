"""The workers that this one sends to: streams opened when first needed, kept, and opened again after a loss.

Frames wait while a stream is being opened. If it can't be, or breaks, every request sent over it of late is
reported lost, so that its router replays it at once instead of waiting for a timeout.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from nodes.connection import Connection
from nodes.emulation import LinkShaper
from nodes.errors import NodesError, StreamClosed, Unsecured
from nodes.framing import Frame, Header, Kind
from nodes.stream import DialledConnection, open_connection

LOST_WINDOW_S = 10.0  # a request sent longer ago than this is its router's own to miss
LOST_FRAMES = 1024
WAITING_FRAMES = 256

OnLost = Callable[[Header, NodesError], None]


@dataclass(slots=True)
class _Peer:
    """One address."""

    connection: DialledConnection | None = None
    waiting: list[Frame] = field(default_factory=list)
    roomy: list[Callable[[], None]] = field(default_factory=list)
    sent: deque[tuple[float, Header]] = field(default_factory=lambda: deque(maxlen=LOST_FRAMES))
    opening: asyncio.Task[None] | None = None


class Peers:
    """Streams to other workers by address."""

    def __init__(
        self,
        node: str,
        token: str | None,
        *,
        on_frame: Callable[[Connection, Frame], None],
        on_lost: OnLost,
        shaper: LinkShaper | None,
    ) -> None:
        self._node, self._token, self._shaper = node, token, shaper
        self._on_frame, self._on_lost = on_frame, on_lost
        self._peers: dict[str, _Peer] = {}
        self._closing = False

    def post(self, address: str, frame: Frame) -> None:
        """Send now, or as soon as the stream is open."""
        peer = self._peers.setdefault(address, _Peer())
        if peer.connection is not None:
            self._put(peer, peer.connection, frame)
            return
        peer.waiting.append(frame)
        if peer.opening is None:
            peer.opening = asyncio.create_task(self._open(address, peer))

    def has_room(self, address: str, call: Callable[[], None]) -> bool:
        """Whether more may be posted; if not, `call` is called once when it may."""
        peer = self._peers.get(address)
        if peer is None:
            return True
        if peer.connection is None:
            if len(peer.waiting) < WAITING_FRAMES:
                return True
            peer.roomy.append(call)
            return False
        if not peer.connection.ready:
            peer.connection.when_ready(call)
            return False
        return True

    def connections(self) -> list[DialledConnection]:
        """Those open now."""
        return [peer.connection for peer in self._peers.values() if peer.connection is not None]

    async def close(self) -> None:
        """End every stream; nothing is reported lost."""
        self._closing = True
        tasks = [peer.opening for peer in self._peers.values() if peer.opening is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self.connections()))

    def _put(self, peer: _Peer, connection: Connection, frame: Frame) -> None:
        if frame.header.kind is Kind.TENSORS:
            peer.sent.append((time.monotonic(), frame.header))
        try:
            connection.post(frame)
        except StreamClosed as error:
            self._on_lost(frame.header, error)

    async def _open(self, address: str, peer: _Peer) -> None:
        try:
            peer.connection = await open_connection(
                address,
                token=self._token,
                node=self._node,
                shaper=self._shaper,
                on_frame=self._on_frame,
                on_closed=lambda _, reason: self._lost(peer, reason),
            )
        except NodesError as error:
            lost = StreamClosed(str(error)) if isinstance(error, Unsecured) else error  # as routers know it
            waiting, peer.waiting = peer.waiting, []
            for frame in waiting:
                self._on_lost(frame.header, lost)
        else:
            peer.connection.probe()  # the first round trip, so that goodput can be told from propagation
            waiting, peer.waiting = peer.waiting, []
            for frame in waiting:
                self._put(peer, peer.connection, frame)
        finally:
            peer.opening = None
            roomy, peer.roomy = peer.roomy, []
            for call in roomy:
                call()

    def _lost(self, peer: _Peer, reason: str) -> None:
        """Report what may have been under way: not what is older than the window or the request's own budget."""
        peer.connection = None
        now_s = time.monotonic()
        sent, error = list(peer.sent), StreamClosed(reason)
        peer.sent.clear()
        for sent_s, header in sent:
            if not self._closing and now_s - sent_s < min(LOST_WINDOW_S, header.budget_s or LOST_WINDOW_S):
                self._on_lost(header, error)
