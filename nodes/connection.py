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
from nodes.framing import VERSION, Carried, Fault, Frame, Header, Kind, TensorMeta, decode, encode
from nodes.link_watch import IDLE_S, LinkWatch
from nodes.links import LARGE_BYTES, PLACED, LinkEstimate
from nodes.parts import MAX_MESSAGE_BYTES, Assembler, split
from nodes.placing import Placing, charged_bytes

WINDOW_BYTES = 64 << 20  # tensor bytes a peer may send before it hears that some were used
OUTBOX_BYTES = 64 << 20
OUTBOX_FRAMES = 1024
MOST_FRAMES = 16 * OUTBOX_FRAMES  # that wait for a peer which goes on sending and does not read
SAID_CHARACTERS = 500  # of what was wrong with a frame, which may be as long as a header
ACK_DELAY_S = 0.005  # time for an answer to carry the acknowledgement along
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
    """Who talks to whom, and how: node names, the router's id if the dialling peer is one, the version both speak."""

    node: str = ""
    peer_node: str = ""
    origin: str = ""
    version: int = VERSION


class _Outgoing(NamedTuple):
    """A frame on its way out; number 0 is never acknowledged. What it carries is settled as it leaves this side."""

    frame: Frame
    nbytes: int
    number: int
    carried: Carried | None = None


def _belongs(going: _Outgoing, request: str, attempt: int) -> bool:
    header = going.frame.header
    return header.kind is Kind.TENSORS and (header.request, header.attempt) == (request, attempt)


OnFrame = Callable[["Connection", Frame], None]
OnClosed = Callable[["Connection", str], None]
OnLinkChange = Callable[["Connection"], None]


class Connection:
    """A live stream. Not thread-safe: use it from its event loop only.

    Messages larger than `part_bytes` go in parts; if None, than suits the goodput measured so far. `on_link_change` is
    called soon after `link` has become another: within 3 round trips or half a second, once messages can tell.
    """

    def __init__(
        self,
        wire: Wire,
        ends: Ends,
        *,
        on_frame: OnFrame,
        on_closed: OnClosed,
        on_link_change: OnLinkChange | None = None,
        shaper: LinkShaper | None = None,
        placing: Placing | None = None,
        manual_credit: bool = False,
        part_bytes: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.node, self.peer_node, self.origin, self.version = ends.node, ends.peer_node, ends.origin, ends.version
        self.closed = False
        self.received_bytes = self.sent_bytes = self.shared_bytes = 0  # those in shared memory count among those sent
        self.last_used_s = self.heard_s = time.monotonic()
        self.on_link_change = on_link_change
        self._watch = LinkWatch(self._link_changed, self._held_back, part_bytes)
        self._awaits_credit = False
        self._wire, self._shaper, self._placing = wire, shaper, placing or Placing()
        self._on_frame, self._on_closed = on_frame, on_closed
        self._manual_credit = manual_credit
        self._max_message_bytes = max_message_bytes
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
        going = _Outgoing(frame, frame.nbytes, self._number)
        self._note_sent(going, self.last_used_s, is_probe=frame.header.kind is Kind.PING)
        self._hand_over(going, frame.header.kind in _EXPRESS and going.nbytes < LARGE_BYTES)

    async def send(self, frame: Frame) -> None:
        """Queue a frame, waiting while the outbox is full. StreamClosed."""
        while not self.ready and not self.closed:
            room = self._loop.create_future()
            self.when_ready(lambda room=room: None if room.done() else room.set_result(None))  # type: ignore[misc]
            await room
        self.post(frame)

    def withdraw(self, request: str, attempt: int) -> bool:
        """Take back this attempt's messages that have not begun to leave; whether there were any.

        What an emulated link already holds is on its way.
        """
        taken = [going for going in self._outbox if going.carried is None and _belongs(going, request, attempt)]
        for going in taken:
            self._outbox.remove(going)
            self._queued_bytes -= going.nbytes
            self._queued_frames -= 1
            self._watch.withdrawn(going.number)
        if taken and self.ready:
            self._tell_roomy()
        return bool(taken)

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

    def probe_if_idle(self, most_bytes: int, idle_s: float = IDLE_S) -> None:
        """Measure a link that nothing large was sent over for `idle_s`: an empty ping, then one of `most_bytes`.

        It is padded less on a slow link, and takes at most a twentieth of its time; at once where the last messages
        hint at a change. Nothing is sent while anything is under way.
        """
        nbytes = None if self.closed else self._watch.probe_bytes(most_bytes, idle_s)
        if nbytes is not None:
            self.probe()
            self.probe(nbytes)

    async def ping(self, padding_bytes: int = 0, timeout_s: float = 5.0) -> float:
        """Round trip in seconds, the peer's own time left out.

        StreamClosed, also once nothing at all has come from the peer for `timeout_s`: a slow link is not a dead one.
        """
        answer: asyncio.Future[float] = self._loop.create_future()
        number, left_s = self._number + 1, timeout_s
        self._pings[number] = (answer, time.monotonic())
        self.post(ping_frame(padding_bytes))
        try:
            while left_s > 0:
                await asyncio.wait((answer,), timeout=left_s)
                if answer.done():
                    return answer.result()
                left_s = self.heard_s + timeout_s - time.monotonic()
        finally:
            self._pings.pop(number, None)
        raise StreamClosed(f"{self.peer_node or 'the peer'} did not answer a ping in {timeout_s:g} s")

    @property
    def link(self) -> LinkEstimate:
        """What sending so far has told about the way to the peer."""
        return self._watch.estimate

    @property
    def transfers(self) -> tuple[int, float]:
        """Messages of ours, probes left out, that are known to have come through; and the seconds that they took."""
        return self._watch.transfers

    def _link_changed(self) -> None:
        if self.closed:
            return
        self.probe()  # tells a longer way from a narrower one
        if self.on_link_change is not None:
            self.on_link_change(self)

    def _held_back(self) -> int | None:
        """From which message on they wait for credit or the transport."""
        return self._outbox[0].number if self._outbox else None

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
                if max(self._queued_frames, len(self._acks)) > MOST_FRAMES:
                    raise StreamClosed(f"{self.peer_node or 'the peer'} sends on and reads nothing")
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
        self._watch.close()
        for answer, _ in self._pings.values():
            if not answer.done():
                answer.set_exception(StreamClosed(reason))
        self._outbox.clear()
        self._express.clear()
        self._placing.close()
        self._tell_roomy()
        self._on_closed(self, reason)

    # -- writing ---------------------------------------------------------------------------------------------

    def _hand_over(self, going: _Outgoing, express: bool) -> None:
        self._queued_bytes += going.nbytes
        self._queued_frames += 1
        if self._shaper is None or not self._is_shaped:
            self._enqueue(going, express)
            return
        going = going._replace(carried=self._carried(going))  # on the emulated link this side no longer holds it
        charged_bytes = going.nbytes + HEADER_BYTES
        enqueue = partial(self._enqueue, going, express)
        self._shaper.send(self.node, self.peer_node, charged_bytes, enqueue, express=express)

    @property
    def _is_shaped(self) -> bool:
        """Whether there is an emulated link between here and the peer."""
        return self._shaper is not None and self._shaper.shapes(self.node, self.peer_node)

    def _is_placed(self, going: _Outgoing) -> bool:
        """Whether a message is for shared memory; an emulated link is to carry what a real one would."""
        return going.carried is None and self._placing.carries(going.frame, going.nbytes) and not self._is_shaped

    def _note_sent(self, going: _Outgoing, now_s: float, *, is_probe: bool = False) -> None:
        self._watch.sent(going.number, PLACED if self._is_placed(going) else going.nbytes, now_s, is_probe=is_probe)

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
            return self._encoded(part)
        if not self._outbox:
            return None
        going = self._outbox[0]
        if self._outstanding_bytes and self._outstanding_bytes + going.nbytes > WINDOW_BYTES:
            self._awaits_credit = True
            return None  # until the peer has credited some
        if self._awaits_credit:
            self._awaits_credit = False
            self._note_sent(going, time.monotonic())  # the link was not to blame
        if going.frame.header.kind is not Kind.PING:
            self._outstanding_bytes += going.nbytes
        return self._leave(self._outbox.popleft())

    def _leave(self, going: _Outgoing) -> bytes:
        """A message's bytes, or its first part's."""
        self._queued_bytes -= going.nbytes
        self._queued_frames -= 1
        if self._roomy and self.ready:
            self._tell_roomy()
        if self._is_placed(going):
            placed = self._placing.place(going.frame, self.version)
            self._watch.sent(going.number, going.nbytes if placed is None else PLACED, time.monotonic())
            if placed is not None:
                self.sent_bytes += going.nbytes
                self.shared_bytes += going.nbytes
                return encode(placed, self._carried(going._replace(nbytes=0)))
        if going.nbytes > self._watch.part_bytes:
            self._parts = split(going.frame, going.number, self._watch.part_bytes, self.version)
            return self._encoded(next(self._parts))
        return encode(going.frame, going.carried or self._carried(going))

    def _encoded(self, part: Frame) -> bytes:
        """A part's bytes, under a number of its own: acknowledged, it tells that bytes go through.

        Not where an emulated link held the whole message back, and its parts leave together.
        """
        of = part.header.part
        if of is None or self._is_shaped:
            return encode(part, Carried(version=self.version))
        self._number += 1
        self._watch.sent(self._number, part.nbytes, time.monotonic(), of.message)
        return encode(part, Carried(self._number, version=self.version))

    def _tell_roomy(self) -> None:
        waiting, self._roomy = self._roomy, []
        for call in waiting:
            call()

    def _carried(self, going: _Outgoing) -> Carried:
        """What is due to the peer, unless the message is so large that it would hold that up."""
        if going.nbytes >= self._watch.carrying_bytes or not (self._acks or self._credit_bytes):
            return Carried(going.number, version=self.version)
        now_s = time.monotonic()
        acks = tuple([(n, now_s - at_s) for n, at_s in self._acks])
        carried = Carried(going.number, acks, self._credit_bytes, self.version)
        self._acks.clear()
        self._credit_bytes = 0  # the timer runs on: a timer a message costs more than one that finds nothing to do
        return carried

    def _flush_later(self) -> None:
        if self._flush_at is None:
            self._flush_at = self._loop.call_later(ACK_DELAY_S, self._flush_old)

    def _flush_old(self) -> None:
        """Flush once the oldest has waited its time; the timer was set for one that an answer has carried since."""
        self._flush_at = None
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
        now_s = self.last_used_s = self.heard_s = time.monotonic()
        self.received_bytes += len(data)
        header: Header | None = None
        nbytes = len(data)
        try:
            frame = decode(data)
            header = frame.header
            if header.kind is Kind.PART:
                if header.number:
                    self._owe(header.number, now_s)
                whole = self._assembler.add(frame)
                if whole is None:
                    return
                frame, header = whole, whole.header
            elif header.kind is Kind.PLACED:
                self._heard(header, now_s)  # it is due whether or not there is anything in that place
                header = header._replace(acks=(), credit_bytes=0)
                nbytes = charged_bytes(frame) or nbytes
                frame = self._placing.found(frame)
                self.received_bytes += frame.nbytes
        except MalformedFrame as error:
            self._refuse(error, header, nbytes)
            return
        self._take_in(header, frame, now_s)

    def _take_in(self, header: Header, frame: Frame, now_s: float) -> None:
        """A message that is whole; `header` is that of what came over the stream for it."""
        if header.acks or header.credit_bytes:
            self._heard(header, now_s)
        if header.number:
            self._owe(header.number, now_s)
            if header.kind is Kind.PING:
                self._flush()
        if frame.header.kind in (Kind.TENSORS, Kind.ERROR, Kind.CANCEL):
            self._on_frame(self, frame)
            if not self._manual_credit:
                self.consumed(frame)

    def _owe(self, number: int, now_s: float) -> None:
        """An acknowledgement, soon."""
        if not (self._acks or self._credit_bytes):
            self._due_since_s = now_s
        self._acks.append((number, now_s))
        self._flush_later()

    def _heard(self, header: Header, now_s: float) -> None:
        for number, held_s in header.acks:
            self._watch.acknowledged(number, held_s, now_s)
            if self._pings and (answer := self._pings.pop(number, None)) and not answer[0].done():
                answer[0].set_result(now_s - held_s - answer[1])
        if header.credit_bytes:
            self._outstanding_bytes = max(0, self._outstanding_bytes - header.credit_bytes)
            if self._outbox and not self._writing:
                self._write()

    def _refuse(self, error: MalformedFrame, header: Header | None, nbytes: int) -> None:
        """Tell the peer what was wrong with its frame, under the request's name where it could be read."""
        about = header or Header()
        self._credit_bytes += about.part.nbytes if about.part else nbytes  # a sender never waits for what was dropped
        fault = Fault("MalformedFrame", str(error)[:SAID_CHARACTERS], True)
        self.post(Frame(about.naming(Kind.ERROR, fault)))
        if about.number and about.part is None:
            self._owe(about.number, time.monotonic())
        self._flush_later()


def ping_frame(padding_bytes: int) -> Frame:
    """A PING that weighs `padding_bytes`."""
    if not padding_bytes:
        return Frame(Header(kind=Kind.PING))
    meta = TensorMeta("padding", "uint8", (padding_bytes,), nbytes=padding_bytes)
    return Frame(Header(kind=Kind.PING, tensors=(meta,)), (bytes(padding_bytes),))
