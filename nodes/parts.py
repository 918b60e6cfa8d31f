"""Large messages in parts, so that a cancel or ping passes between them on a slow link; sans-IO.

`split` cuts an encoded frame into PART frames; an Assembler joins them again and refuses parts that contradict
each other or promise more than its limits. It never waits: whoever owns it decides when to forget a message.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from nodes.errors import MalformedFrame
from nodes.framing import VERSION, Buffer, Carried, Frame, Kind, PartOf, decode, encode_chunks

MAX_MESSAGE_BYTES = 1 << 31
MAX_OPEN_MESSAGES = 64


def split(frame: Frame, message: int, part_bytes: int, version: int = VERSION) -> Iterator[Frame]:
    """PART frames that together hold `frame`'s bytes; each names request and stage, so that it can be refused.

    The whole frame carries `message` as its number, so that it is acknowledged once, when it is complete. `version` is
    the one that the peer speaks.
    """
    chunks = encode_chunks(frame, Carried(message, version=version))
    nbytes = sum(map(len, chunks))
    count = -(-nbytes // part_bytes)
    header = frame.header.naming(Kind.PART)
    pieces = _pieces(chunks, part_bytes)
    for index, piece in enumerate(pieces):
        yield Frame(header._replace(part=PartOf(message, index, count, nbytes)), piece)


def _pieces(chunks: list[Buffer], part_bytes: int) -> Iterator[tuple[Buffer, ...]]:
    piece: list[Buffer] = []
    room = part_bytes
    for chunk in chunks:
        view = memoryview(chunk)
        while view.nbytes:
            taken, view = view[:room], view[room:]
            piece.append(taken)
            room -= len(taken)
            if not room:
                yield tuple(piece)
                piece, room = [], part_bytes
    if piece:
        yield tuple(piece)


@dataclass(slots=True)
class _Open:
    """A message whose parts are still coming."""

    part: PartOf
    data: bytearray = field(default_factory=bytearray)  # grows as parts come: a promise alone takes no memory
    next_index: int = 0


@dataclass(slots=True)
class Assembler:
    """Joins the parts of one stream's messages; parts of one message come in order, messages may interleave.

    All that is held at once is no more than one message may have.
    """

    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_open_messages: int = MAX_OPEN_MESSAGES
    _open: dict[int, _Open] = field(default_factory=dict)
    _refused: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_OPEN_MESSAGES))

    def add(self, frame: Frame) -> Frame | None:
        """The whole frame once its last part is in, else None.

        MalformedFrame drops that message only, and is raised once: its later parts are swallowed.
        """
        part = frame.header.part
        if part is None:
            raise MalformedFrame("a PART frame says nothing about its message (key 'j')")
        if part.message in self._refused and part.message not in self._open:
            return None
        try:
            return self._add(part, frame)
        except MalformedFrame:
            self._open.pop(part.message, None)
            self._refused.append(part.message)
            raise

    def _add(self, part: PartOf, frame: Frame) -> Frame | None:
        held = self._open.get(part.message)
        if held is None:
            held = self._begin(part)
        if part.place != held.next_index or (part.parts, part.nbytes) != (held.part.parts, held.part.nbytes):
            raise MalformedFrame(
                f"message {part.message}: part {part.place} of {part.parts} ({part.nbytes} bytes) after "
                f"{held.next_index} parts of {held.part.parts} ({held.part.nbytes} bytes)"
            )
        end = len(held.data) + frame.nbytes
        if end > part.nbytes:
            raise MalformedFrame(f"message {part.message}: parts hold {end} bytes, promised were {part.nbytes}")
        if sum(len(each.data) for each in self._open.values()) + frame.nbytes > self.max_message_bytes:
            raise MalformedFrame(
                f"message {part.message}: {len(self._open)} messages in parts hold more than "
                f"{self.max_message_bytes} bytes together"
            )
        for data in frame.buffers:
            held.data += data
        held.next_index = part.place + 1
        if held.next_index < part.parts:
            return None
        if end != part.nbytes:
            raise MalformedFrame(f"message {part.message}: all parts hold {end} bytes, promised were {part.nbytes}")
        del self._open[part.message]
        return decode(held.data)

    def _begin(self, part: PartOf) -> _Open:
        if part.place != 0:
            raise MalformedFrame(f"message {part.message}: part {part.place} came before its first part")
        if part.nbytes > self.max_message_bytes:
            raise MalformedFrame(
                f"message {part.message} of {part.nbytes} bytes is over the limit of {self.max_message_bytes}"
            )
        if len(self._open) >= self.max_open_messages:
            raise MalformedFrame(f"{len(self._open)} messages are open in parts already; the limit is that")
        held = _Open(part)
        self._open[part.message] = held
        return held
