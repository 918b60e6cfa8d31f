"""The Open Inference Protocol's datatypes: values as raw bytes and as lists, and back to arrays.

BF16 is held as uint16, as on the streams between stages. BYTES are held as objects of type bytes; raw, each stands
behind its length, a little-endian u32. Sources: KServe's "Open Inference Protocol V2", tensor data types; Triton's
extension for binary tensor data.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from nodes import held
from nodes.backend import Array
from nodes.held import encoded, packed, parted
from orchestrator.gateway.faults import invalid

BFLOAT16, BYTES = "BF16", "BYTES"
DTYPE_OF = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16", BFLOAT16: "bfloat16", "FP32": "float32",
    "FP64": "float64", BYTES: "string",
}  # fmt: skip
_KINDS: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}  # what JSON may give for each
DATATYPE_OF = {dtype: datatype for datatype, dtype in DTYPE_OF.items()}
MOST_ELEMENTS, MOST_RANK = 1 << 40, 64  # beyond, nothing could be sent anyway; numpy has no more dimensions


def held_as(datatype: str) -> np.dtype[Any]:
    """The dtype of arrays that hold this datatype. Refused for a datatype that there is not."""
    if datatype not in DTYPE_OF:
        raise invalid(f"no datatype {datatype!r}; known are {', '.join(DTYPE_OF)}")
    return held.held_as(DTYPE_OF[datatype])


def elements(name: str, shape: Sequence[int]) -> int:
    """How many a tensor of this shape has. Refused for a shape that can't be."""
    if len(shape) > MOST_RANK:
        raise invalid(f"input {name!r}: its shape has {len(shape)} dimensions, {MOST_RANK} are the most")
    if any(not 0 <= extent <= MOST_ELEMENTS for extent in shape):
        raise invalid(f"input {name!r}: an extent of its shape is below 0 or beyond {MOST_ELEMENTS:,}")
    if prod(extent or 1 for extent in shape) > MOST_ELEMENTS:
        raise invalid(f"input {name!r}: its shape has more than {MOST_ELEMENTS:,} elements")
    return prod(shape)


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
    try:
        return parted(data, count)
    except ValueError as error:
        raise invalid(f"input {name!r}: {error}") from None


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
    flat = values.reshape(-1) if isinstance(values, np.ndarray) else list(_flat(values))
    if len(flat) != count:
        raise invalid(f"input {name!r}: {len(flat)} values came, shape {list(shape)} has {count}")
    if datatype == BYTES:
        return _objects([_as_bytes(name, value) for value in flat], shape)
    if isinstance(flat, np.ndarray):
        return _within(name, datatype, flat, dtype).reshape(shape)
    strange = set(map(type, flat)) - _KINDS[dtype.kind]
    if strange:
        raise invalid(
            f"input {name!r}: its data is no {datatype}: {', '.join(sorted(one.__name__ for one in strange))}"
        )
    try:
        with np.errstate(over="ignore"):  # infinity is what a float of that size is
            return np.array(flat, dtype).reshape(shape)
    except OverflowError:
        raise invalid(f"input {name!r}: a value is beyond {datatype}") from None


def _within(name: str, datatype: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Values of a wider type, as protobuf has them, in their own."""
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise invalid(f"input {name!r}: a value is beyond {datatype}")
    return array.astype(dtype, copy=False)


def _flat(values: Any) -> Iterable[Any]:
    if not isinstance(values, list):
        yield values
        return
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _as_bytes(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise invalid(f"input {name!r}: BYTES are given as text, not as {type(value).__name__}")


def to_raw(array: Array, datatype: str) -> bytes | memoryview:
    """A tensor's raw bytes, row by row; a view of it where it lies so already."""
    if datatype == BYTES:
        return packed(array)
    little = np.ascontiguousarray(array, held_as(datatype).newbyteorder("<"))
    return little.data.cast("B") if little.size else b""


def to_values(name: str, array: Array, datatype: str) -> list[Any]:
    """A tensor's values as one flat list, for JSON. Refused where JSON has none: BF16, NaN, infinity, bytes no text."""
    if datatype == BFLOAT16:
        raise invalid(f"output {name!r} is BF16, which JSON does not hold; ask for binary data")
    if datatype == BYTES:
        try:
            return [encoded(value).decode() for value in array.reshape(-1)]
        except UnicodeDecodeError:
            raise invalid(f"output {name!r} holds bytes that are no text; ask for binary data") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise invalid(f"output {name!r} holds NaN or infinity, which JSON does not; ask for binary data")
    values: list[Any] = array.reshape(-1).tolist()
    return values
