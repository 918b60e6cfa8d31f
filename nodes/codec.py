"""Codecs of tensors on the wire: raw, fp16, int8 per channel, each with or without zstd. Pure.

Lossy codecs take float32 and float64 (int8 also float16). Whatever they can't represent (integers; for int8
tensors with NaN or infinity) is sent raw instead and the meta says so: a receiver trusts the meta, never the plan.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from nodes.backend import Array
from nodes.errors import MalformedFrame, NodesError
from nodes.framing import Buffer, Frame, Header, TensorMeta

ZSTD = "+zstd"
ZSTD_LEVEL = 1  # links of 10–100 Mbps are outrun by level 1 already; higher levels cost more than they save
CODECS = ("raw", "fp16", "int8", "raw+zstd", "fp16+zstd", "int8+zstd")
_BFLOAT16 = "bfloat16"
_FLOATS = ("float32", "float64")
_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
} | {_BFLOAT16: np.dtype("uint16")}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != _BFLOAT16}  # numpy works a dtype's name out anew
_STORED = {"raw": None, "fp16": np.dtype(np.float16), "int8": np.dtype(np.int8)}


class Encoded(NamedTuple):
    """A tensor's bytes on the wire, its scales (little-endian float32) and the codec that was used in the end."""

    buffer: Buffer
    scales: bytes
    codec: str


def encode(array: Array, codec: str) -> Encoded:
    """`array` in `codec`, or in raw where `codec` can't hold it (then `Encoded.codec` says so).

    A contiguous raw tensor is not copied: the buffer is a view of it. NodesError for an unknown codec.
    """
    array = _little_endian(array)
    if codec == "raw":
        return Encoded(_bytes_of(array), b"", codec)
    if codec not in CODECS:
        raise NodesError(f"no codec {codec!r}; known are {', '.join(CODECS)}")
    base, _, packed = codec.partition("+")
    scales = b""
    if base == "fp16" and array.dtype.name in _FLOATS:
        with np.errstate(over="ignore"):
            values: Array = array.astype(np.float16)
    elif base == "int8" and (quantised := _quantise(array)) is not None:
        values, scales = quantised
    else:
        base, values = "raw", array
    buffer = _bytes_of(values)
    if packed:
        return Encoded(_compressor().compress(buffer), scales, base + ZSTD)
    return Encoded(buffer, scales, base)


def decode(meta: TensorMeta, buffer: Buffer) -> Array:
    """The tensor; of codec raw a read-only view of `buffer`, else a new array. MalformedFrame names the tensor."""
    dtype = _DTYPES.get(meta.dtype)
    if dtype is None or meta.codec not in CODECS:
        raise MalformedFrame(f"tensor {meta.name!r}: dtype {meta.dtype!r} in codec {meta.codec!r} is not known here")
    base, _, packed = ("raw", "", "") if meta.codec == "raw" else meta.codec.partition("+")
    stored = _STORED[base] or dtype
    if packed:
        buffer = _decompress(meta, buffer, stored.itemsize)
    try:
        values: Array = np.ndarray(meta.shape, stored, buffer)
    except (TypeError, ValueError):
        values = np.empty(0, np.bool_)
    if values.nbytes != len(buffer):
        raise MalformedFrame(
            f"tensor {meta.name!r}: {len(buffer)} bytes for shape {list(meta.shape)} of {stored.name} ({meta.codec})"
        )
    if base == "raw":
        return values
    return values.astype(dtype) if base == "fp16" else _dequantise(meta, values, dtype)


def pack(header: Header, arrays: Mapping[str, Array], codecs: Mapping[str, str]) -> Frame:
    """`arrays` as a frame under `header`; a tensor that `codecs` doesn't name goes raw."""
    metas, buffers = [], []
    for name, array in arrays.items():
        meta, buffer = encode_named(name, array, codecs.get(name, "raw"))
        metas.append(meta)
        buffers.append(buffer)
    return Frame(header.holding(tuple(metas)), tuple(buffers))


def encode_named(name: str, array: Array, codec: str, dtype: str | None = None) -> tuple[TensorMeta, Buffer]:
    """One tensor as meta and buffer; `dtype` overrides the name on the wire (bfloat16 held as uint16)."""
    known = _NAMES.get(array.dtype)
    if known and codec == "raw" and array.flags.c_contiguous:
        buffer: Buffer = _bytes_of(array)
        return TensorMeta(name, dtype or known, array.shape, codec, b"", len(buffer)), buffer
    array = _little_endian(array)
    buffer, scales, used = encode(array, codec)
    return TensorMeta(name, dtype or _NAMES[array.dtype], array.shape, used, scales, len(buffer)), buffer


def unpack(frame: Frame) -> dict[str, Array]:
    """Every tensor of the frame by name; raw ones are read-only views of it. MalformedFrame."""
    return {meta.name: decode(meta, buffer) for meta, buffer in zip(frame.header.tensors, frame.buffers, strict=True)}


def _little_endian(array: Array) -> Array:
    """The array itself unless its bytes are in the other order; NodesError for a dtype that can't travel."""
    if array.dtype in _NAMES:
        return array
    swapped = array.dtype.newbyteorder("<")
    if swapped not in _NAMES:
        raise NodesError(f"dtype {array.dtype} has no form on the wire; known are {', '.join(_DTYPES)}")
    return array.astype(swapped)


def _bytes_of(values: Array) -> memoryview:
    """A byte view, copied only if the values are not contiguous."""
    if not values.flags.c_contiguous:
        values = np.ascontiguousarray(values)
    return values.reshape(-1).view(np.uint8).data.toreadonly()


def _channel_axis(rank: int) -> int:
    """Channels stand second in NCHW-like tensors, last in matrices and vectors."""
    return 1 if rank >= 3 else rank - 1


def _quantise(array: Array) -> tuple[Array, bytes] | None:
    """Symmetric int8 with one scale a channel: scale = max |x| / 127; None where that isn't possible."""
    if array.dtype.name not in (*_FLOATS, "float16") or array.ndim == 0 or array.size == 0:
        return None
    axis = _channel_axis(array.ndim)
    others = tuple(i for i in range(array.ndim) if i != axis)
    with np.errstate(invalid="ignore"):
        peak = np.maximum(array.max(axis=others), -array.min(axis=others)).astype(np.float32)
    if not np.isfinite(peak).all():  # max and min carry NaN on, and float64 may be too large for float32
        return None
    scales = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype("<f4")
    if not (scales > 0).all():  # a peak so small that its scale underflows
        return None
    scaled = array * _along(np.reciprocal(scales, dtype=np.float32), axis, array.ndim).astype(array.dtype, copy=False)
    if not np.isfinite(scaled).all():
        return None
    np.rint(scaled, out=scaled)
    np.clip(scaled, -127, 127, out=scaled)
    return scaled.astype(np.int8), scales.tobytes()


def _dequantise(meta: TensorMeta, values: Array, dtype: np.dtype[Any]) -> Array:
    axis = _channel_axis(len(meta.shape))
    if axis < 0 or len(meta.scales) != 4 * meta.shape[axis]:
        raise MalformedFrame(f"tensor {meta.name!r}: {len(meta.scales) // 4} scales for shape {list(meta.shape)}")
    scales = _along(np.frombuffer(meta.scales, "<f4"), axis, len(meta.shape))
    return np.multiply(values, scales, dtype=np.float32).astype(dtype, copy=False)


def _along(scales: Array, axis: int, rank: int) -> Array:
    return scales.reshape([-1 if i == axis else 1 for i in range(rank)])


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise NodesError("codec with +zstd needs the package zstandard: pip install zstandard") from None
    return zstandard


def _compressor() -> Any:
    return _zstandard().ZstdCompressor(level=ZSTD_LEVEL)


def _decompress(meta: TensorMeta, buffer: Buffer, itemsize: int) -> bytes:
    """The tensor's bytes, and never more than the shape allows: a small frame must not fill the memory."""
    zstandard = _zstandard()
    nbytes = itemsize * prod(meta.shape)
    try:
        promised = zstandard.frame_content_size(buffer)
        if promised != nbytes:
            raise MalformedFrame(f"tensor {meta.name!r}: compressed {promised} bytes, its shape needs {nbytes}")
        data: bytes = zstandard.ZstdDecompressor().decompress(buffer, max_output_size=nbytes)
    except zstandard.ZstdError as error:
        raise MalformedFrame(f"tensor {meta.name!r}: not zstd: {error}") from None
    return data
