"""One stream of frames between two peers: numbering, parts, acknowledgements, credits, back-pressure.

Works over anything that reads and writes bytes (a Wire); gRPC stays in stream.py. It knows nothing of stages or
requests, and never runs user code but `on_frame` and `on_closed`, plain functions called in the event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from nodes.emulation import LinkShaper
from nodes.errors import MalformedFrame, StreamClosed
from nodes.framing import Carried, Fault, Frame, Header, Kind, TensorMeta, decode, encode
from nodes.links import FIRST_PART_BYTES, LARGE_BYTES, LinkEstimate, LinkEstimator, part_bytes
from nodes.parts import MAX_MESSAGE_BYTES, Assembler, split

WINDOW_BYTES = 64 << 20  # tensor bytes a peer may send before it hears that some were used
OUTBOX_BYTES = 64 << 20
OUTBOX_FRAMES = 1024
ACK_DELAY_S = 0.005  # time for an answer to carry the acknowledgement along
FAST_BYTES_PER_S = 100e6  # above, a part holds up the acknowledgement it carries less than a frame of its own costs
MAX_NOTES = 512
HEADER_BYTES = 200  # typical; what an emulated link charges for a frame beside its tensors
_EXPRESS = frozenset((Kind.ACK, Kind.CREDIT, Kind.CANCEL, Kind.PING))
_ACK, _CREDIT = Frame(Header(kind=Kind.ACK)), Frame(Header(kind=Kind.CREDIT))


class Wire(Protocol):
    """Bytes in, bytes out, in order; one reader and one writer at a time."""

    async def read(self) -> bytes | None:
        """The next message; None when the peer ended the stream. StreamClosed if it broke."""
        ...

    def write(self, data: bytes) -> Coroutine[Any, Any, None]:
        """Send one message, waiting for the transport, and for nothing but futures. StreamClosed if it broke."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Who talks to whom: node names, and the router's id if the dialling peer is one."""

    node: str = ""
    peer_node: str = ""
    origin: str = ""


class _Outgoing(NamedTuple):
    """A frame on its way out; number 0 is never acknowledged. What it carries is settled as it leaves this side."""

    frame: Frame
    nbytes: int
    number: int
    carried: Carried | None = None


OnFrame = Callable[["Connection", Frame], None]
OnClosed = Callable[["Connection", str], None]


class Connection:
    """A live stream. Not thread-safe: use it from its event loop only.

    Messages larger than `part_bytes` go in parts; if None, than suits the goodput measured so far.
    """

    def __init__(
        self,
        wire: Wire,
        ends: Ends,
        *,
        on_frame: OnFrame,
        on_closed: OnClosed,
        shaper: LinkShaper | None = None,
        manual_credit: bool = False,
        part_bytes: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.node, self.peer_node, self.origin = ends.node, ends.peer_node, ends.origin
        self.closed = False
        self.received_bytes = self.sent_bytes = 0
        self.last_used_s = time.monotonic()
        self._estimator = LinkEstimator()
        self._carrying_bytes = LARGE_BYTES
        self._notes: list[tuple[bool, int, float, float]] = []  # (sent or acknowledged, number, bytes or held_s, at)
        self._wire, self._shaper = wire, shaper
        self._on_frame, self._on_closed = on_frame, on_closed
        self._manual_credit = manual_credit
        self._fixed_part_bytes, self._max_message_bytes = part_bytes, max_message_bytes
        self._part_bytes = part_bytes or FIRST_PART_BYTES
        self._assembler = Assembler(max_message_bytes)
        self._loop = asyncio.get_running_loop()
        self._express: deque[_Outgoing] = deque()
        self._outbox: deque[_Outgoing] = deque()
        self._parts: Iterator[Frame] = iter(())
        self._queued_bytes = self._queued_frames = 0  # posted and not yet written, held back by a shaper or not
        self._outstanding_bytes = 0  # written and not yet credited
        self._number = 0
        self._acks: list[tuple[int, float]] = []
        self._credit_bytes = 0
        self._due_since_s = 0.0  # when the oldest of these came
        self._flush_at: asyncio.TimerHandle | None = None
        self._pings: dict[int, tuple[asyncio.Future[float], float]] = {}
        self._roomy: list[Callable[[], None]] = []
        self._writing = False  # also once a write has failed: nothing follows it

    # -- sending ---------------------------------------------------------------------------------------------

    def post(self, frame: Frame) -> None:
        """Queue a frame without waiting; whoever floods should ask `ready` first. StreamClosed."""
        if self.closed:
            raise StreamClosed(f"the stream to {self.peer_node or 'the peer'} is closed")
        self.last_used_s = time.monotonic()
        self._number += 1
        nbytes = frame.nbytes
        self._notes.append((True, self._number, nbytes, self.last_used_s))
        self._hand_over(_Outgoing(frame, nbytes, self._number), frame.header.kind in _EXPRESS and nbytes < LARGE_BYTES)

    async def send(self, frame: Frame) -> None:
        """Queue a frame, waiting while the outbox is full. StreamClosed."""
        while not self.ready and not self.closed:
            room = self._loop.create_future()
            self.when_ready(lambda room=room: None if room.done() else room.set_result(None))  # type: ignore[misc]
            await room
        self.post(frame)

    @property
    def ready(self) -> bool:
        """Whether the outbox has room."""
        return self._queued_bytes < OUTBOX_BYTES and self._queued_frames < OUTBOX_FRAMES

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call once when the outbox has room again, or the stream is closed."""
        self._roomy.append(call)

    def probe(self, padding_bytes: int = 0) -> None:
        """Send a ping of that size whose acknowledgement feeds the link's estimate."""
        self.post(ping_frame(padding_bytes))

    async def ping(self, padding_bytes: int = 0, timeout_s: float = 5.0) -> float:
        """Round trip in seconds, the peer's own time left out. StreamClosed, also after `timeout_s`."""
        answer: asyncio.Future[float] = self._loop.create_future()
        self._pings[self._number + 1] = (answer, time.monotonic())
        self.post(ping_frame(padding_bytes))
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            raise StreamClosed(f"{self.peer_node or 'the peer'} did not answer a ping in {timeout_s:g} s") from None

    @property
    def link(self) -> LinkEstimate:
        """What sending so far has told about the way to the peer."""
        self._digest()
        return self._estimator.estimate

    def _digest(self) -> None:
        """Estimate from what was noted. Messages only note: digested in bulk, the arithmetic is off their path."""
        notes, self._notes = self._notes, []
        goodput = self._estimator.estimate.goodput_bytes_per_s
        self._part_bytes = self._fixed_part_bytes or part_bytes(goodput)
        self._carrying_bytes = self._part_bytes if goodput and goodput > FAST_BYTES_PER_S else LARGE_BYTES
        for is_sent, number, value, at_s in notes:
            if is_sent:
                self._estimator.sent(number, int(value), at_s)
            else:
                self._estimator.acknowledged(number, value, at_s)

    def consumed(self, frame: Frame) -> None:
        """Let the peer send as many bytes again (only with `manual_credit`; else this happens by itself)."""
        if self.closed or not frame.nbytes:
            return
        if not (self._acks or self._credit_bytes):
            self._due_since_s = time.monotonic()
        self._credit_bytes += frame.nbytes
        if self._credit_bytes >= WINDOW_BYTES // 4:
            self._flush()
        else:
            self._flush_later()

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the stream ends; then `on_closed` has been called and nothing of it is left."""
        reason = "the peer closed the stream"
        try:
            while (data := await self._wire.read()) is not None:
                self._receive(data)
        except StreamClosed as error:
            reason = str(error)
        finally:
            self._end(reason)

    async def drain(self, timeout_s: float = 5.0) -> None:
        """Wait until everything posted was given to the transport, at most `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        while self._queued_frames and not self.closed and time.monotonic() < until_s:
            room = self._loop.create_future()
            handle = self._loop.call_later(0.01, room.set_result, None)
            try:
                await room
            finally:
                handle.cancel()

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        if self._flush_at is not None:
            self._flush_at.cancel()
        for answer, _ in self._pings.values():
            if not answer.done():
                answer.set_exception(StreamClosed(reason))
        self._outbox.clear()
        self._tell_roomy()
        self._on_closed(self, reason)

    # -- writing ---------------------------------------------------------------------------------------------

    def _hand_over(self, going: _Outgoing, express: bool) -> None:
        self._queued_bytes += going.nbytes
        self._queued_frames += 1
        if self._shaper is None:
            self._enqueue(going, express)
            return
        going = going._replace(carried=self._carried(going))  # on the emulated link this side no longer holds it
        charged_bytes = going.nbytes + HEADER_BYTES
        enqueue = partial(self._enqueue, going, express)
        self._shaper.send(self.node, self.peer_node, charged_bytes, enqueue, express=express)

    def _enqueue(self, going: _Outgoing, express: bool) -> None:
        (self._express if express else self._outbox).append(going)
        if not self._writing:
            self._write()

    def _write(self) -> None:
        """Write what may be written, at once: no task has to wake up for it, and bookkeeping comes after."""
        self._writing = True  # from here on: giving room to whoever waits for it may post again
        try:
            data = None if self.closed else self._next()
            if data is None:
                self._writing = False
                return
            self.sent_bytes += len(data)
            if not self._waits(self._wire.write(data)):
                self._loop.call_soon(self._write)  # even so others have their turn, and a cancel passes between parts
        except (StreamClosed, MalformedFrame) as error:
            self._loop.call_soon(self._end, str(error))  # not from within the caller's post

    def _waits(self, writing: Coroutine[Any, Any, None]) -> bool:
        """Run a write until it must wait for the transport; whether it must. Then it goes on by itself."""
        try:
            waited = writing.send(None)
        except StopIteration:
            return False
        waited._asyncio_future_blocking = False  # what a task does with a future that its coroutine waits for
        waited.add_done_callback(lambda _: self._go_on(writing))
        return True

    def _go_on(self, writing: Coroutine[Any, Any, None]) -> None:
        try:
            if self._waits(writing):
                return
        except (StreamClosed, asyncio.CancelledError) as error:
            self._end(str(error) or "a write was cancelled")
        else:
            self._write()

    def _next(self) -> bytes | None:
        """The next bytes to write: control first, then the rest of a message begun, then the next in credit."""
        if self._express:
            return self._leave(self._express.popleft())
        part = next(self._parts, None)
        if part is not None:
            return encode(part)
        if not self._outbox:
            return None
        going = self._outbox[0]
        if self._outstanding_bytes and self._outstanding_bytes + going.nbytes > WINDOW_BYTES:
            return None  # until the peer has credited some
        if going.frame.header.kind is not Kind.PING:
            self._outstanding_bytes += going.nbytes
        return self._leave(self._outbox.popleft())

    def _leave(self, going: _Outgoing) -> bytes:
        """A message's bytes, or its first part's."""
        self._queued_bytes -= going.nbytes
        self._queued_frames -= 1
        if self._roomy and self.ready:
            self._tell_roomy()
        if going.nbytes > self._part_bytes:
            self._parts = split(going.frame, going.number, self._part_bytes)
            return encode(next(self._parts))
        return encode(going.frame, going.carried or self._carried(going))

    def _tell_roomy(self) -> None:
        waiting, self._roomy = self._roomy, []
        for call in waiting:
            call()

    def _carried(self, going: _Outgoing) -> Carried:
        """What is due to the peer, unless the message is so large that it would hold that up."""
        if going.nbytes >= self._carrying_bytes or not (self._acks or self._credit_bytes):
            return Carried(going.number)
        now_s = time.monotonic()
        carried = Carried(going.number, tuple([(n, now_s - at_s) for n, at_s in self._acks]), self._credit_bytes)
        self._acks.clear()
        self._credit_bytes = 0  # the timer runs on: a timer a message costs more than one that finds nothing to do
        return carried

    def _flush_later(self) -> None:
        if self._flush_at is None:
            self._flush_at = self._loop.call_later(ACK_DELAY_S, self._flush_old)

    def _flush_old(self) -> None:
        """Flush once the oldest has waited its time; the timer was set for one that an answer has carried since."""
        self._flush_at = None
        self._digest()  # a link that has become known as fast lets large answers carry acknowledgements
        left_s = self._due_since_s + ACK_DELAY_S - time.monotonic()
        if left_s > 0 and (self._acks or self._credit_bytes) and not self.closed:
            self._flush_at = self._loop.call_later(left_s, self._flush_old)
        else:
            self._flush()

    def _flush(self) -> None:
        """Acknowledge and credit in a frame of its own."""
        if self.closed or not (self._acks or self._credit_bytes):
            return
        frame = _ACK if self._acks else _CREDIT
        self._hand_over(_Outgoing(frame, 0, 0), True)

    # -- reading ---------------------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        now_s = self.last_used_s = time.monotonic()
        self.received_bytes += len(data)
        header: Header | None = None
        try:
            frame = decode(data)
            header = frame.header
            if header.kind is Kind.PART:
                whole = self._assembler.add(frame)
                if whole is None:
                    return
                frame, header = whole, whole.header
        except MalformedFrame as error:
            self._refuse(error, header, len(data))
            return
        if header.acks or header.credit_bytes:
            self._heard(header, now_s)
        if header.number:
            if not (self._acks or self._credit_bytes):
                self._due_since_s = now_s
            self._acks.append((header.number, now_s))
            if header.kind is Kind.PING:
                self._flush()
            else:
                self._flush_later()
        if header.kind in (Kind.TENSORS, Kind.ERROR, Kind.CANCEL):
            self._on_frame(self, frame)
            if not self._manual_credit:
                self.consumed(frame)

    def _heard(self, header: Header, now_s: float) -> None:
        for number, held_s in header.acks:
            self._notes.append((False, number, held_s, now_s))
            if self._pings and (answer := self._pings.pop(number, None)) and not answer[0].done():
                answer[0].set_result(now_s - held_s - answer[1])
        if len(self._notes) > MAX_NOTES:
            self._digest()
        if header.credit_bytes:
            self._outstanding_bytes = max(0, self._outstanding_bytes - header.credit_bytes)
            if self._outbox and not self._writing:
                self._write()

    def _refuse(self, error: MalformedFrame, header: Header | None, nbytes: int) -> None:
        """Tell the peer what was wrong with its frame, under the request's name where it could be read."""
        about = header or Header()
        self._credit_bytes += about.part.nbytes if about.part else nbytes  # a sender never waits for what was dropped
        fault = Fault("MalformedFrame", str(error), True)
        answer = Header(
            kind=Kind.ERROR,
            deployment=about.deployment,
            epoch=about.epoch,
            stage=about.stage,
            request=about.request,
            attempt=about.attempt,
            origin=about.origin,
            fault=fault,
        )
        self.post(Frame(answer))


def ping_frame(padding_bytes: int) -> Frame:
    """A PING that weighs `padding_bytes`."""
    if not padding_bytes:
        return Frame(Header(kind=Kind.PING))
    meta = TensorMeta("padding", "uint8", (padding_bytes,), nbytes=padding_bytes)
    return Frame(Header(kind=Kind.PING, tensors=(meta,)), (bytes(padding_bytes),))
