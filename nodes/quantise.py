"""Floats as signed bytes and scales, one scale a channel, a tensor or a token; and back. Pure.

Symmetric: scale = max |x| / 127 over the values that share it, byte = round(x / scale). Which values share one follows
from the rank alone, so that a receiver needs nothing but the shape:

| granularity | rank 1 | rank 2 | rank 3 [batch, tokens, features] | rank 4 and more [batch, channels, …] |
| --- | --- | --- | --- | --- |
| channel | each value | each column | each index of axis 1 | each channel |
| tensor | one scale | one scale | one scale | one scale |
| token | one scale | each row | each row of features | each place, over the channels |
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.errors import MalformedFrame
from nodes.headers import TensorMeta

FLOATS = ("float16", "float32", "float64")
LARGEST = 3.4e38  # a little under what float32 holds, so that no rounding leads beyond
LARGEST_SCALE = {"float16": 515.8, "float32": 2.679e36, "float64": 2.679e36}  # times 127 just fits
MAX_SCALES_BYTES = 1 << 16  # scales travel in the header, which holds a mebibyte for all tensors of a frame


def quantise(array: Array, per: str) -> tuple[Array, bytes] | None:
    """int8 values and little-endian float32 scales; `per` is "channel", "tensor" or "token".

    None for what can't be held so: no floats, rank 0, nothing in it, NaN or infinity, more scales than a header takes.
    """
    if array.dtype.name not in FLOATS or array.ndim == 0 or array.size == 0:
        return None
    shared = _shared(per, array.ndim)
    if 4 * prod(_scales_shape(array.shape, shared)) > MAX_SCALES_BYTES:
        return None
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        peak = np.maximum(array.max(axis=shared, keepdims=True), -array.min(axis=shared, keepdims=True))
        peak = peak.astype(np.float32)
        scales = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype("<f4")
        inverse = np.reciprocal(scales).astype(array.dtype, copy=False)
    # max and min carry NaN on; float64 may be too large for float32, and a small scale's inverse for the dtype
    if not ((peak <= LARGEST).all() and np.isfinite(inverse).all()):
        return None
    scaled = array * inverse  # at most 127 and a few roundings, so rint needs no clipping after it
    np.rint(scaled, out=scaled)
    return scaled.astype(np.int8), scales.tobytes()


def dequantise(meta: TensorMeta, values: Array, dtype: np.dtype[Any], per: str) -> Array:
    """`values` times their scales, as `dtype`. MalformedFrame for scales that don't fit the shape or aren't scales."""
    shape = _scales_shape(meta.shape, _shared(per, len(meta.shape)))
    if not shape or len(meta.scales) != 4 * prod(shape):
        raise MalformedFrame(
            f"tensor {meta.name!r}: {len(meta.scales)} bytes of scales for shape {list(meta.shape)} ({meta.codec})"
        )
    scales = np.frombuffer(meta.scales, "<f4")
    if len(scales) and not (scales.min() > 0 and scales.max() <= LARGEST_SCALE[dtype.name]):  # min carries NaN on
        raise MalformedFrame(f"tensor {meta.name!r}: its scales are not all above 0 and within {dtype} ({meta.codec})")
    found: Array = np.multiply(values, scales.reshape(shape), dtype=np.float32).astype(dtype, copy=False)
    return found


@lru_cache(64)
def _shared(per: str, rank: int) -> tuple[int, ...]:
    """The axes along which values share a scale."""
    if per == "tensor":
        return tuple(range(rank))
    if per == "token":
        return (1,) if rank >= 4 else (max(rank - 1, 0),)
    channel = 1 if rank >= 3 else rank - 1
    return tuple(axis for axis in range(rank) if axis != channel)


@lru_cache(256)
def _scales_shape(shape: tuple[int, ...], shared: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if axis in shared else length for axis, length in enumerate(shape)])
