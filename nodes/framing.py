"""Frames: little-endian u32 header length, msgpack header, tensor bytes; sans-IO.

`encode` and `decode` turn a Frame into bytes and back without copying a payload more than once (encoding) or at
all (decoding). Payload and tensors start on 16-byte boundaries of the frame. This file knows neither sockets nor
what a codec means, and does not cut large messages: parts.py does.

The values here are NamedTuples where the house has dataclasses: one is made several times a message, a frozen
dataclass of this size takes five times as long (5 µs), and msgpack packs tuples as they are.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from nodes.errors import MalformedFrame

VERSION = 1
SPOKEN = (VERSION - 1, VERSION)
ALIGNMENT = 16
MAX_HEADER_BYTES = 1 << 20
MAX_FORMS = 64
Buffer = bytes | bytearray | memoryview

_LENGTH = struct.Struct("<I")
_FILLER = "_"
_ZEROS = bytes(ALIGNMENT)
_PACKER = msgpack.Packer()  # one for all: msgpack.packb would allocate its buffer anew for each frame


class Kind(IntEnum):
    """What a frame is for."""

    TENSORS = 1
    PART = 2
    ACK = 3
    ERROR = 4
    CANCEL = 5
    CREDIT = 6
    PING = 7


class TensorMeta(NamedTuple):
    """One tensor of a frame; `nbytes` counts its encoded bytes, `scales` are little-endian float32."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str = "raw"
    scales: bytes = b""
    nbytes: int = 0


class HopTiming(NamedTuple):
    """Where one stage's time went, in seconds; collected only for requests that are traced."""

    stage: str
    queue_s: float
    decode_s: float
    compute_s: float
    encode_s: float


class PartOf(NamedTuple):
    """Which piece of which message a PART frame holds; `nbytes` is the whole message's length."""

    message: int
    place: int
    parts: int
    nbytes: int


class Fault(NamedTuple):
    """Why a request failed: an error's class name, one line, and whether the caller can mend it."""

    kind: str
    message: str
    caller_fault: bool = False


class Header(NamedTuple):
    """Everything a frame says besides tensor bytes; build it by keywords. A field at its default is not sent.

    `budget_s` is what remains of the request's time, reduced at each hop (clocks are never compared).
    `timings` is None unless the request is traced. `number`, `acks` (number, seconds held) and `credit_bytes`
    belong to one connection: they are read here, and written by it as Carried.
    """

    kind: Kind = Kind.TENSORS
    deployment: str = ""
    epoch: int = 0
    stage: str = ""
    request: str = ""
    attempt: int = 0
    sequence: str = ""
    position: int = 0
    last: bool = True
    budget_s: float | None = None
    tensors: tuple[TensorMeta, ...] = ()
    trace: str = ""
    origin: str = ""
    timings: tuple[HopTiming, ...] | None = None
    fault: Fault | None = None
    part: PartOf | None = None
    number: int = 0
    acks: tuple[tuple[int, float], ...] = ()
    credit_bytes: int = 0
    version: int = VERSION


class Frame(NamedTuple):
    """A header and the encoded bytes of its tensors, parallel to `header.tensors` (of a PART: one slice)."""

    header: Header
    buffers: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        """Encoded tensor bytes, without header and alignment."""
        return sum(len(buffer) for buffer in self.buffers)


class Carried(NamedTuple):
    """What a connection adds to a frame as it leaves: its number and what is due to the peer."""

    number: int = 0
    acks: tuple[tuple[int, float], ...] = ()
    credit_bytes: int = 0


NOTHING_CARRIED = Carried()


def encode(frame: Frame, carried: Carried = NOTHING_CARRIED) -> bytes:
    """The frame's bytes, each payload written once. MalformedFrame if buffers and metas disagree."""
    return b"".join(encode_chunks(frame, carried))


def encode_chunks(frame: Frame, carried: Carried = NOTHING_CARRIED) -> list[Buffer]:
    """The frame as chunks to be joined: header first, then buffers with alignment between them."""
    header, buffers = frame
    if header.kind is not Kind.PART and [len(buffer) for buffer in buffers] != [meta[-1] for meta in header.tensors]:
        raise MalformedFrame(
            f"frame of {header.request or header.kind.name}: buffers of {[len(b) for b in buffers]} bytes "
            f"for tensors of {[meta.nbytes for meta in header.tensors]}"
        )
    packed = _pack_header(header, carried)
    chunks: list[Buffer] = [_LENGTH.pack(len(packed)), packed]
    if header.kind is Kind.PART:
        return [*chunks, *buffers]  # slices of one frame, which has its alignment already
    for buffer in buffers:
        chunks.append(buffer)
        if short := -len(buffer) % ALIGNMENT:
            chunks.append(_ZEROS[:short])
    return chunks


def decode(data: Buffer) -> Frame:
    """The frame in `data`, whose buffers are views of `data`. MalformedFrame names the fault."""
    if len(data) < _LENGTH.size:
        raise MalformedFrame(f"frame of {len(data)} bytes is shorter than its length field")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or start > len(data):
        raise MalformedFrame(f"header of {length} bytes in a frame of {len(data)}")
    view = memoryview(data).toreadonly()
    header = _unpack_header(view[_LENGTH.size : start])
    if header.kind is Kind.PART:
        return Frame(header, (view[start:],))
    return Frame(header, _split_payload(header, view, start))


def _split_payload(header: Header, view: memoryview, start: int) -> tuple[memoryview, ...]:
    buffers = []
    for tensor in header.tensors:
        end = start + tensor.nbytes
        if end > len(view):
            raise MalformedFrame(
                f"request {header.request!r}: tensor {tensor.name!r} ends at byte {end} of a frame of {len(view)}"
            )
        buffers.append(view[start:end])
        start = end + -end % ALIGNMENT
    if start != len(view):
        raise MalformedFrame(f"request {header.request!r}: frame of {len(view)} bytes, its tensors end at {start}")
    return tuple(buffers)


def _pack_header(header: Header, carried: Carried) -> bytes:
    """The msgpack map, with a filler as last key so that the payload after it starts aligned."""
    fields: dict[str, Any] = {
        key: value for key, value, default in zip(_KEYS, header, _DEFAULTS, strict=True) if value != default
    }
    if carried is not NOTHING_CARRIED:
        fields |= {"n": carried.number, "c": carried.acks, "g": carried.credit_bytes}
    fields[_FILLER] = b""  # the order of the other keys means nothing
    packed: bytes = _PACKER.pack(fields)
    short = -(_LENGTH.size + len(packed)) % ALIGNMENT
    return packed[:-1] + bytes((short,)) + _ZEROS[:short]  # an empty bin8's last byte is its length


def _unpack_header(packed: memoryview) -> Header:
    try:
        fields = msgpack.unpackb(packed, use_list=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedFrame(f"header is not msgpack: {error}") from None
    if type(fields) is not dict:
        raise MalformedFrame(f"header is a {type(fields).__name__}, not a map")
    if fields.get("v") not in SPOKEN:
        raise MalformedFrame(f"protocol version {fields.get('v')!r}; this peer speaks {SPOKEN[0]} and {SPOKEN[1]}")
    values: list[Any] = list(map(fields.get, _KEYS, _DEFAULTS))  # keys of a newer peer fall away
    types = tuple(map(type, values))
    if types not in _seen_types:
        _check_types(values, types)
    kind = _KINDS.get(values[0])
    if kind is None or min(values[_EPOCH], values[_ATTEMPT], values[_POSITION], values[_CREDIT]) < 0:
        raise MalformedFrame(f"kind {values[0]!r} is unknown, or a count is below 0, in {values[:8]}")
    values[0] = kind
    try:
        for place, read in _INNER:
            if values[place] is not None:
                values[place] = read(values[place])
    except (TypeError, ValueError) as error:
        raise MalformedFrame(f"request {fields.get('r')!r}: {error}") from None
    return Header._make(values)


_seen_types: set[tuple[type, ...]] = set()  # headers of a fleet have few forms; one seen is not checked by field again


def _check_types(values: Sequence[Any], types: tuple[type, ...]) -> None:
    for (key, (name, allowed)), value in zip(_FIELDS.items(), values, strict=True):
        if type(value) not in allowed:
            raise MalformedFrame(f"header key {key!r} ({name}) holds {str(value)[:60]!r}, a {type(value).__name__}")
    if len(_seen_types) < MAX_FORMS:
        _seen_types.add(types)


def _tensors(given: tuple[Any, ...]) -> tuple[TensorMeta, ...]:
    metas = tuple(map(TensorMeta._make, given))
    for meta in metas:
        if tuple(map(type, meta)) != _TENSOR_TYPES or meta.nbytes < 0:
            raise TypeError(f"tensor {str(meta.name)[:40]!r} is not [name, dtype, shape, codec, scales, nbytes]")
    return metas


def _timings(given: tuple[Any, ...]) -> tuple[HopTiming, ...]:
    return tuple(HopTiming(str(stage), *map(float, times)) for stage, *times in given)


def _fault(given: tuple[Any, ...]) -> Fault:
    kind, message, caller_fault = given
    return Fault(str(kind), str(message), bool(caller_fault))


def _part(given: tuple[Any, ...]) -> PartOf:
    part = PartOf(*map(int, given))
    if min(part) < 0 or part.place >= part.parts:
        raise ValueError(f"part {part.place} of {part.parts}")
    return part


def _acks(given: tuple[Any, ...]) -> tuple[tuple[int, float], ...]:
    return tuple((int(number), float(held_s)) for number, held_s in given)


_TENSOR_TYPES = (str, str, tuple, str, bytes, int)
_KINDS = {kind.value: kind for kind in Kind}
_NONE = type(None)
_FIELDS: Mapping[str, tuple[str, tuple[type, ...]]] = {  # in the order of Header's fields
    "k": ("kind", (int,)),
    "d": ("deployment", (str,)),
    "e": ("epoch", (int,)),
    "s": ("stage", (str,)),
    "r": ("request", (str,)),
    "a": ("attempt", (int,)),
    "q": ("sequence", (str,)),
    "p": ("position", (int,)),
    "l": ("last", (bool,)),
    "b": ("budget_s", (float, int, _NONE)),
    "t": ("tensors", (tuple,)),
    "i": ("trace", (str,)),
    "o": ("origin", (str,)),
    "m": ("timings", (tuple, _NONE)),
    "x": ("fault", (tuple, _NONE)),
    "j": ("part", (tuple, _NONE)),
    "n": ("number", (int,)),
    "c": ("acks", (tuple,)),
    "g": ("credit_bytes", (int,)),
    "v": ("version", (int,)),
}
_KEYS = tuple(_FIELDS)
_EPOCH, _ATTEMPT, _POSITION, _CREDIT = map(Header._fields.index, ("epoch", "attempt", "position", "credit_bytes"))
_READERS = {"tensors": _tensors, "timings": _timings, "fault": _fault, "part": _part, "acks": _acks}
_INNER: tuple[tuple[int, Callable[[Any], Any]], ...] = tuple(
    (Header._fields.index(name), read) for name, read in _READERS.items()
)
_DEFAULTS = tuple(None if name in ("kind", "version") else getattr(Header(), name) for name, _ in _FIELDS.values())
