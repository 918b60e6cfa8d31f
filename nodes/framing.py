"""Frames: little-endian u32 header length, msgpack header, tensor bytes; sans-IO.

`encode` and `decode` turn a Frame into bytes and back without copying a payload more than once (encoding) or at
all (decoding). Payload and tensors start on 16-byte boundaries of the frame. This file knows neither sockets nor
what a codec means, and does not cut large messages: parts.py does. Headers are headers.py's.
"""

from typing import NamedTuple

from nodes.errors import MalformedFrame
from nodes.headers import (
    ALIGNMENT,
    LENGTH,
    SPOKEN,
    VERSION,
    Carried,
    Fault,
    Header,
    HopTiming,
    Kind,
    PartOf,
    TensorMeta,
    pack_header,
    unpack_header,
)

__all__ = [
    "SPOKEN", "VERSION", "Buffer", "Carried", "Fault", "Frame", "Header", "HopTiming", "Kind", "PartOf", "TensorMeta",
    "decode", "encode", "encode_chunks",
]  # fmt: skip

MAX_HEADER_BYTES = 1 << 20
NOTHING_CARRIED = Carried()
Buffer = bytes | bytearray | memoryview
_ZEROS = bytes(ALIGNMENT)
_ABOUT_OTHERS = (Kind.PART, Kind.PLACED)  # their payload is not their header's tensors


class Frame(NamedTuple):
    """A header and the encoded bytes of its tensors, parallel to `header.tensors` (of a PART: one slice;
    of a PLACED one: where the frame lies that it stands for).
    """

    header: Header
    buffers: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        """Encoded tensor bytes, without header and alignment."""
        return sum(map(len, self.buffers))


def encode(frame: Frame, carried: Carried = NOTHING_CARRIED) -> bytes:
    """The frame's bytes, each payload written once. MalformedFrame if buffers and metas disagree."""
    return b"".join(encode_chunks(frame, carried))


def encode_chunks(frame: Frame, carried: Carried = NOTHING_CARRIED) -> list[Buffer]:
    """The frame as chunks to be joined: header first, then buffers with alignment between them."""
    header, buffers = frame
    chunks: list[Buffer] = [*pack_header(header, carried)]
    if header.kind in _ABOUT_OTHERS:
        return [*chunks, *buffers]  # slices of one frame, which has its alignment already
    if [len(buffer) for buffer in buffers] != [meta[-1] for meta in header.tensors]:
        raise MalformedFrame(
            f"frame of {header.request or header.kind.name}: buffers of {[len(b) for b in buffers]} bytes "
            f"for tensors of {[meta.nbytes for meta in header.tensors]}"
        )
    for buffer in buffers:
        chunks.append(buffer)
        if short := -len(buffer) % ALIGNMENT:
            chunks.append(_ZEROS[:short])
    return chunks


def decode(data: Buffer) -> Frame:
    """The frame in `data`, whose buffers are views of `data`. MalformedFrame names the fault."""
    if len(data) < LENGTH.size:
        raise MalformedFrame(f"frame of {len(data)} bytes is shorter than its length field")
    (length,) = LENGTH.unpack_from(data)
    start = LENGTH.size + length
    if length > MAX_HEADER_BYTES or start > len(data):
        raise MalformedFrame(f"header of {length} bytes in a frame of {len(data)}")
    view = memoryview(data)
    if not view.readonly:
        view = view.toreadonly()
    header = unpack_header(bytes(view[LENGTH.size : start]))
    if header.kind in _ABOUT_OTHERS:
        return Frame(header, (view[start:],))
    return Frame(header, _split_payload(header, view, start))


def _split_payload(header: Header, view: memoryview, start: int) -> tuple[memoryview, ...]:
    buffers = []
    for tensor in header.tensors:
        end = start + tensor[-1]
        if end > len(view):
            raise MalformedFrame(
                f"request {header.request!r}: tensor {tensor.name!r} ends at byte {end} of a frame of {len(view)}"
            )
        buffers.append(view[start:end])
        start = end + -end % ALIGNMENT
    if start != len(view):
        raise MalformedFrame(f"request {header.request!r}: frame of {len(view)} bytes, its tensors end at {start}")
    return tuple(buffers)
