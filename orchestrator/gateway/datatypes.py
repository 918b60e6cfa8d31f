"""The Open Inference Protocol's datatypes: values as raw bytes and as lists, and back to arrays.

BF16 is held as uint16, as on the streams between stages. BYTES are held as objects of type bytes; raw, each stands
behind its length, a little-endian u32. Sources: KServe's "Open Inference Protocol V2", tensor data types; Triton's
extension for binary tensor data.
"""

import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from nodes.backend import Array
from orchestrator.gateway.faults import invalid

BFLOAT16, BYTES = "BF16", "BYTES"
_LENGTH = struct.Struct("<I")
DTYPE_OF = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16", BFLOAT16: "bfloat16", "FP32": "float32",
    "FP64": "float64", BYTES: "string",
}  # fmt: skip
DATATYPE_OF = {dtype: datatype for datatype, dtype in DTYPE_OF.items()}
_HELD: dict[str, np.dtype[Any]] = {BFLOAT16: np.dtype(np.uint16), BYTES: np.dtype(np.object_)}
MOST_ELEMENTS = 1 << 40  # of a shape: beyond it nothing could be sent anyway


def held_as(datatype: str) -> np.dtype[Any]:
    """The dtype of arrays that hold this datatype. Refused for a datatype that there is not."""
    if datatype not in DTYPE_OF:
        raise invalid(f"no datatype {datatype!r}; known are {', '.join(DTYPE_OF)}")
    return _HELD.get(datatype) or np.dtype(DTYPE_OF[datatype])


def elements(name: str, shape: Sequence[int]) -> int:
    """How many a tensor of this shape has. Refused for a shape that can't be."""
    if any(extent < 0 for extent in shape):
        raise invalid(f"input {name!r}: shape {list(shape)} has a negative extent")
    count = prod(shape)
    if count > MOST_ELEMENTS:
        raise invalid(f"input {name!r}: shape {list(shape)} has {count:,} elements")
    return count


def from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Array:
    """A tensor of its raw bytes; a view of them, but for BYTES. Refused where they don't fit datatype and shape."""
    dtype, count = held_as(datatype), elements(name, shape)
    if datatype == BYTES:
        return _objects(_parted(name, data, count), shape)
    wanted = count * dtype.itemsize
    if len(data) != wanted:
        raise invalid(f"input {name!r}: {len(data)} bytes came, {datatype}{list(shape)} takes {wanted}")
    return np.frombuffer(data, dtype).reshape(shape)


def _parted(name: str, data: bytes | memoryview, count: int) -> list[bytes]:
    """The elements of BYTES."""
    found: list[bytes] = []
    at, view = 0, memoryview(data)
    while at < len(view):
        end = at + _LENGTH.size
        if end <= len(view):
            end += _LENGTH.unpack_from(view, at)[0]
        if end > len(view):
            raise invalid(f"input {name!r}: element {len(found)} of BYTES goes beyond the {len(view)} bytes that came")
        found.append(bytes(view[at + _LENGTH.size : end]))
        at = end
    if len(found) != count:
        raise invalid(f"input {name!r}: {len(found)} elements of BYTES came, its shape has {count}")
    return found


def _objects(values: Iterable[bytes], shape: Sequence[int]) -> Array:
    made = list(values)
    array = np.empty(len(made), np.object_)
    array[:] = made
    return array.reshape(shape)


def from_values(name: str, datatype: str, shape: Sequence[int], values: Any) -> Array:
    """A tensor of values in a list, flat or nested as its shape is; text stands for its UTF-8. Refused as above."""
    dtype, count = held_as(datatype), elements(name, shape)
    if datatype == BFLOAT16:
        raise invalid(f"input {name!r}: BF16 goes as raw bytes only")
    if datatype == BYTES:
        flat = [_as_bytes(name, value) for value in _flat(values)]
        _check_count(name, len(flat), count, shape)
        return _objects(flat, shape)
    try:
        array = np.array(values) if len(values) else np.empty(0, dtype)
        if dtype.kind == "u" and array.dtype.kind == "f":  # what numpy makes of whole numbers on both sides of 2^63
            array = _whole(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid(f"input {name!r}: its data is no tensor: {error}") from None
    _check_count(name, array.size, count, shape)
    return _exactly(name, datatype, array, dtype).reshape(shape)


def _whole(values: Any) -> Array:
    """Whole numbers as such; anything else as it is."""
    held = np.array(values, np.object_)
    return held.astype(np.uint64) if all(type(value) is int for value in held.reshape(-1)) else np.array(values)


def _check_count(name: str, came: int, count: int, shape: Sequence[int]) -> None:
    if came != count:
        raise invalid(f"input {name!r}: {came} values came, shape {list(shape)} has {count}")


def _exactly(name: str, datatype: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """The same values in their datatype; Refused for a kind that it doesn't hold, or a value beyond it."""
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if array.size and array.dtype.kind not in kinds:
        raise invalid(f"input {name!r}: its data is no {datatype}")
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        least, most = array.min(), array.max()
        if least < limits.min or most > limits.max:
            raise invalid(f"input {name!r}: values from {least} to {most} are beyond {datatype}")
    with np.errstate(over="ignore"):  # infinity is what a float of that size is
        return array.astype(dtype, copy=False)


def _flat(values: Any) -> Iterable[Any]:
    if not isinstance(values, list | tuple):
        yield values
        return
    for value in values:
        yield from _flat(value)


def _as_bytes(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise invalid(f"input {name!r}: BYTES are given as text, not as {type(value).__name__}")


def to_raw(array: Array, datatype: str) -> bytes | memoryview:
    """A tensor's raw bytes, row by row; a view of it where it lies so already."""
    if datatype == BYTES:
        return b"".join(_LENGTH.pack(len(value)) + value for value in map(_encoded, array.reshape(-1)))
    held = np.ascontiguousarray(array, held_as(datatype).newbyteorder("<"))
    return held.data.cast("B") if held.size else b""


def to_values(name: str, array: Array, datatype: str) -> list[Any]:
    """A tensor's values as one flat list, for JSON. Refused where JSON has none: BF16, NaN, infinity, bytes no text."""
    if datatype == BFLOAT16:
        raise invalid(f"output {name!r} is BF16, which JSON does not hold; ask for binary data")
    if datatype == BYTES:
        try:
            return [_encoded(value).decode() for value in array.reshape(-1)]
        except UnicodeDecodeError:
            raise invalid(f"output {name!r} holds bytes that are no text; ask for binary data") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise invalid(f"output {name!r} holds NaN or infinity, which JSON does not; ask for binary data")
    values: list[Any] = array.reshape(-1).tolist()
    return values


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
