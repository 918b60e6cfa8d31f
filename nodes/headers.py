"""What a frame says besides tensor bytes, as values and as a msgpack map; sans-IO.

A stream's headers are much alike, so what they have in common is packed once and read once: `pack_header` puts it
first, `unpack_header` knows a begin that it has checked before. Any order of keys is read all the same. This file
knows nothing of tensor bytes: framing.py puts them behind the header. A header is written in the version that its
reader speaks (`Carried.version`): what that one does not know is left out.

The values here are NamedTuples where the house has dataclasses: one is made several times a message, a frozen
dataclass of this size takes five times as long (5 µs), and msgpack packs tuples as they are.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from math import isfinite, isnan
from typing import Any, NamedTuple

import msgpack

from nodes.errors import MalformedFrame

VERSION = 2
SPOKEN = (VERSION - 1, VERSION)
TELLS_CODE = 2  # the version since which hops tell the code that ran them; docs/wire.md lists what each version added
ALIGNMENT = 16
LENGTH = struct.Struct("<I")
MAX_FORMS = 256  # remembered, so that headers alike are neither packed nor checked field by field again
MAX_FORM_BYTES = 4096
MAX_NAME = 1024  # characters of a name: workers remember requests by theirs, and put them into what they tell
MAX_DIMENSIONS = 64  # as many as numpy has

_FILLER = "_"
_FILLED = tuple(bytes((short,)) + bytes(short) for short in range(ALIGNMENT))  # the end of a bin8: length, zeros
_PACKER = msgpack.Packer()  # one for all: msgpack.packb would allocate its buffer anew for each frame
_MAP16, _FIXMAP = b"\xde", 0x80  # msgpack's first bytes of maps: two bytes of length follow, or it is in the byte


class Kind(IntEnum):
    """What a frame is for."""

    TENSORS = 1
    PART = 2
    ACK = 3
    ERROR = 4
    CANCEL = 5
    CREDIT = 6
    PING = 7
    PLACED = 8


class TensorMeta(NamedTuple):
    """One tensor of a frame; `nbytes` counts its encoded bytes, `scales` are little-endian float32."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str = "raw"
    scales: bytes = b""
    nbytes: int = 0


class HopTiming(NamedTuple):
    """Where one stage's time went, in seconds; collected only for requests that are traced.

    `code` is the version of the code that ran it; "" where a peer of version 1 is on the way.
    """

    stage: str
    queue_s: float
    decode_s: float
    compute_s: float
    encode_s: float
    code: str = ""


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
    `timings` is None unless the request is traced. `way` names the nodes of the stages that follow, where they have
    replicas; who doesn't know it sends to each stage's first. `priority` 1 is the highest; 0, none, is the normal one
    (batching.py). `snapshot`: stages also return the state that they keep of the sequence. `number`, `acks` (number,
    seconds held) and `credit_bytes` belong to one connection: they are read here, and written by it as Carried.
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
    way: tuple[str, ...] = ()
    priority: int = 0
    snapshot: bool = False
    number: int = 0
    acks: tuple[tuple[int, float], ...] = ()
    credit_bytes: int = 0
    version: int = VERSION

    def holding(self, tensors: tuple[TensorMeta, ...]) -> "Header":
        """The same with other tensors; a fifth of what `_replace` takes."""
        return _new(Header, (*self[:_TENSORS], tensors, *self[_TENSORS + 1 :]))

    def naming(self, kind: Kind, fault: Fault | None = None) -> "Header":
        """One of another kind that names the same request, and says nothing else of it."""
        return Header(
            kind=kind,
            deployment=self.deployment,
            epoch=self.epoch,
            stage=self.stage,
            request=self.request,
            attempt=self.attempt,
            origin=self.origin,
            fault=fault,
        )

    def passed_on(
        self,
        stage: str,
        budget_s: float | None,
        tensors: tuple[TensorMeta, ...],
        timings: tuple[HopTiming, ...] | None,
        way: tuple[str, ...] = (),
    ) -> "Header":
        """The header of what a stage makes of this one's frame; a sixth of what `_replace` takes."""
        kind, deployment, epoch, _, request, attempt, sequence, position, last, _, _, trace, origin, *_ = self
        about = (kind, deployment, epoch, stage, request, attempt, sequence, position, last)
        return Header(*about, budget_s, tensors, trace, origin, timings, None, None, way, self.priority, self.snapshot)


class Carried(NamedTuple):
    """What a connection adds to a frame as it leaves: its number, what is due to the peer, the version both speak."""

    number: int = 0
    acks: tuple[tuple[int, float], ...] = ()
    credit_bytes: int = 0
    version: int = VERSION


def pack_header(header: Header, carried: Carried) -> list[bytes]:
    """Length and msgpack map: what a form of header has in common, what differs, and a filler to align what follows."""
    number, acks, credit_bytes, version = carried
    form = (version, *header[:_REQUEST], *header[_REQUEST + 1 : _BUDGET], *header[_BUDGET + 1 : _NUMBER])
    common = _forms.get(form) or _pack_common(header, form, version)
    packed: bytes = _PACKER.pack(
        {"r": header.request, "b": header.budget_s, "n": number, "c": acks, "g": credit_bytes, _FILLER: b""}
    )
    differing = packed[1:-1]  # without the map's own first byte, and the filler's length, which comes anew
    nbytes = len(common) + len(differing) + 1
    short = -(LENGTH.size + nbytes) % ALIGNMENT
    return [LENGTH.pack(nbytes + short), common, differing, _FILLED[short]]


_forms: dict[tuple[Any, ...], bytes] = {}  # a stream's headers differ in few fields; the rest is packed once


def _pack_common(header: Header, form: tuple[Any, ...], version: int) -> bytes:
    """The first byte of the whole map and the pairs that headers of this form share, as `version` knows them."""
    fields: dict[str, Any] = {
        key: value
        for key, value, default in zip(_KEYS, header, _DEFAULTS, strict=True)
        if value != default and key not in _DIFFERING
    }
    fields["v"] = version
    if header.timings is not None and version < TELLS_CODE:
        fields["m"] = [timing[:_TIMES_END] for timing in header.timings]
    common = _MAP16 + struct.pack(">H", len(fields) + len(_DIFFERING)) + bytes(_PACKER.pack(fields)[1:])
    if _recurs(header):
        if len(_forms) >= MAX_FORMS:
            _forms.clear()
        _forms[form] = common
    return common


def _recurs(header: Header) -> bool:
    """Whether more headers like this are to be expected: places in a sequence, times and scales differ each time."""
    once = header.sequence or header.trace or header.timings is not None or header.fault or header.part
    return not once and not any(meta.scales for meta in header.tensors)


def unpack_header(packed: bytes) -> Header:
    """The header, read from what differs alone where its beginning is one that was seen and checked before."""
    begin = packed[: packed.find(_FIRST_DIFFERING)]
    common = _seen_begins.get(begin)
    if common is not None:
        header = _with_differing(common, packed[len(begin) :])
        if header is not None:
            return header
    header = _unpack_whole(packed)
    if common is None and len(begin) <= MAX_FORM_BYTES and _recurs(header):
        _learn(begin, header)
    return header


_seen_begins: dict[bytes, Header] = {}  # the mirror image of _forms


def _learn(begin: bytes, header: Header) -> None:
    """Remember the begin of a header that was read, if it is just the pairs that a form has in common."""
    pairs = int.from_bytes(begin[1:3], "big") - len(_DIFFERING)
    if begin[:1] != _MAP16 or not 0 <= pairs < 16:  # of a peer that orders its keys otherwise
        return
    try:
        fields = msgpack.unpackb(bytes((_FIXMAP + pairs,)) + begin[3:], use_list=False)
    except (ValueError, msgpack.UnpackException):
        return
    if len(fields) == pairs and fields.keys().isdisjoint(_DIFFERING):
        if len(_seen_begins) >= MAX_FORMS:
            _seen_begins.clear()
        _seen_begins[begin] = header


def _with_differing(common: Header, packed: bytes) -> Header | None:
    """`common` with the fields in `packed`; None if they aren't just those, or not what they should be."""
    try:
        fields = msgpack.unpackb(_MAP_OF_DIFFERING + packed, use_list=False)
        request, budget_s, number, acks, credit_bytes, _ = map(fields.__getitem__, _DIFFERING)
        if (
            type(request) is not str
            or len(request) > MAX_NAME
            or type(budget_s) not in _BUDGET_TYPES
            or (budget_s is not None and isnan(budget_s))  # no deadline could be compared with it
            or type(number) is not int
            or type(acks) is not tuple
            or type(credit_bytes) is not int
            or credit_bytes < 0
        ):
            return None
        if acks:
            acks = _acks(acks)
    except (LookupError, TypeError, ValueError, OverflowError, msgpack.UnpackException):
        return None
    about = (*common[:_REQUEST], request, *common[_REQUEST + 1 : _BUDGET], budget_s, *common[_BUDGET + 1 : _NUMBER])
    return _new(Header, (*about, number, acks, credit_bytes, common.version))


def _unpack_whole(packed: bytes) -> Header:
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
    if kind is None or min(map(values.__getitem__, _COUNTS)) < 0:
        raise MalformedFrame(f"kind {values[0]!r} is unknown, or a count is below 0, in {values[:8]}")
    budget_s = values[_BUDGET]
    if max(map(len, map(values.__getitem__, _NAMES))) > MAX_NAME or (budget_s is not None and isnan(budget_s)):
        raise MalformedFrame(f"a name is longer than {MAX_NAME} characters, or 'b' (budget_s) is NaN")
    values[0] = kind
    try:
        for place, read in _INNER:
            if values[place] is not None:
                values[place] = read(values[place])
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedFrame(f"request {fields.get('r')!r}: {error}") from None
    return _new(Header, values)


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
        shape = meta.shape
        if len(shape) > MAX_DIMENSIONS or any(type(extent) is not int or extent < 0 for extent in shape):
            raise ValueError(f"tensor {meta.name[:40]!r}: the shape {str(shape)[:80]} is none")
        if max(len(meta.name), len(meta.dtype), len(meta.codec)) > MAX_NAME:
            raise ValueError(f"tensor {meta.name[:40]!r}: a name is longer than {MAX_NAME} characters")
    return metas


def _timings(given: tuple[Any, ...]) -> tuple[HopTiming, ...]:
    return tuple(_timing(*hop) for hop in given)


def _timing(stage: Any, queue_s: Any, decode_s: Any, compute_s: Any, encode_s: Any, *newer: Any) -> HopTiming:
    """A hop; what a newer peer tells beyond this version's fields falls away."""
    code = str(newer[0]) if newer else ""
    return HopTiming(str(stage), float(queue_s), float(decode_s), float(compute_s), float(encode_s), code)


def _fault(given: tuple[Any, ...]) -> Fault:
    kind, message, caller_fault = given
    return Fault(str(kind), str(message), bool(caller_fault))


def _part(given: tuple[Any, ...]) -> PartOf:
    part = PartOf(*map(int, given))
    if min(part) < 0 or part.place >= part.parts:
        raise ValueError(f"part {part.place} of {part.parts}")
    return part


def _way(given: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, given))


def _acks(given: tuple[Any, ...]) -> tuple[tuple[int, float], ...]:
    acks = tuple([(int(number), float(held_s)) for number, held_s in given])
    if not all(isfinite(held_s) for _, held_s in acks):
        raise ValueError("an acknowledgement was held for no number of seconds")
    return acks


_TIMES_END = HopTiming._fields.index("code")
_TENSOR_TYPES = (str, str, tuple, str, bytes, int)
_KINDS = {kind.value: kind for kind in Kind}
_NONE = type(None)
_BUDGET_TYPES = (float, int, _NONE)
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
    "b": ("budget_s", _BUDGET_TYPES),
    "t": ("tensors", (tuple,)),
    "i": ("trace", (str,)),
    "o": ("origin", (str,)),
    "m": ("timings", (tuple, _NONE)),
    "x": ("fault", (tuple, _NONE)),
    "j": ("part", (tuple, _NONE)),
    "w": ("way", (tuple,)),
    "y": ("priority", (int,)),
    "z": ("snapshot", (bool,)),
    "n": ("number", (int,)),
    "c": ("acks", (tuple,)),
    "g": ("credit_bytes", (int,)),
    "v": ("version", (int,)),
}
_KEYS = tuple(_FIELDS)
_DIFFERING = ("r", "b", "n", "c", "g", _FILLER)
_MAP_OF_DIFFERING = bytes((_FIXMAP + len(_DIFFERING),))
_FIRST_DIFFERING = bytes(_PACKER.pack(_DIFFERING[0]))
_new = tuple.__new__  # a named tuple from values, without its keyword handling
_REQUEST, _BUDGET, _TENSORS, _NUMBER = map(Header._fields.index, ("request", "budget_s", "tensors", "number"))
_NAMES = tuple(map(Header._fields.index, ("deployment", "stage", "request", "sequence", "trace", "origin")))
_COUNTS = tuple(map(Header._fields.index, ("epoch", "attempt", "position", "priority", "credit_bytes")))
_READERS = {"way": _way, "tensors": _tensors, "timings": _timings, "fault": _fault, "part": _part, "acks": _acks}
_INNER: tuple[tuple[int, Callable[[Any], Any]], ...] = tuple(
    (Header._fields.index(name), read) for name, read in _READERS.items()
)
_DEFAULTS = tuple(None if name in ("kind", "version") else getattr(Header(), name) for name, _ in _FIELDS.values())
