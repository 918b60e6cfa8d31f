"""Dtypes that numpy has no type for, and how arrays hold them: bfloat16 as the bits in uint16, text as objects.

Elements of text (dtype "string", the Open Inference Protocol's BYTES) are `bytes`; ONNX means UTF-8. On the wire each
stands behind its length, a little-endian u32, as in that protocol.
"""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from nodes.backend import Array

BFLOAT16, STRING = "bfloat16", "string"
HELD: dict[str, np.dtype[Any]] = {BFLOAT16: np.dtype(np.uint16), STRING: np.dtype(np.object_)}
_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size  # of an element's length


def held_as(dtype: str) -> np.dtype[Any]:
    """The dtype of arrays that hold this one."""
    return HELD.get(dtype) or np.dtype(dtype)


def dtype_of(array: Array) -> str:
    """The dtype that an array holds; bfloat16 can't be told from uint16, and is not told."""
    return STRING if array.dtype.kind == "O" else array.dtype.name


@cache
def holds(held: np.dtype[Any], dtype: str) -> bool:
    """Whether arrays of `held` may be tensors of that dtype."""
    return held == HELD[dtype] if dtype in HELD else held.name == dtype


def zeros(shape: Sequence[int], dtype: str) -> Array:
    """A tensor of zeros, or of empty text."""
    held = held_as(dtype)
    return np.full(shape, b"" if held.kind == "O" else 0, held)


def as_held(array: Array) -> Array:
    """The array itself; numpy's own text as objects of type bytes, others' bfloat16 as its bits."""
    kind = array.dtype.kind
    if kind not in "USV":
        return array
    if kind == "V":
        return array.view(np.uint16) if array.dtype.name == BFLOAT16 else array
    found = np.empty(array.shape, np.object_)
    found.reshape(-1)[:] = [encoded(value) for value in array.reshape(-1).tolist()]
    return found


def encoded(value: Any) -> bytes:
    """An element of text as bytes. A surrogate, which UTF-8 has no form for, becomes a question mark."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def packed(array: Array) -> bytes:
    """Text as it goes on the wire, row by row."""
    return b"".join(_LENGTH.pack(len(value)) + value for value in map(encoded, array.reshape(-1)))


def parted(data: bytes | bytearray | memoryview, count: int) -> list[bytes]:
    """The elements of packed text; ValueError where they aren't `count`."""
    found: list[bytes] = []
    at, view = 0, memoryview(data)
    while at < len(view) and len(found) <= count:
        end = at + _LENGTH.size
        if end <= len(view):
            end += _LENGTH.unpack_from(view, at)[0]
        if end > len(view):
            raise ValueError(f"element {len(found)} of BYTES goes beyond the {len(view)} bytes that came")
        found.append(bytes(view[at + _LENGTH.size : end]))
        at = end
    if len(found) != count:
        came = len(found) if len(found) < count else "more"
        raise ValueError(f"{came} elements of BYTES came, its shape has {count}")
    return found
