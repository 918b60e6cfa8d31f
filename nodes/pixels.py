"""Images as 8-bit pixels: which tensors are images, their floats as bytes by a line for each channel, JPEG. Pure.

An image is a tensor [N, C, H, W] or [N, H, W, C] of 1 or 3 channels and sides of at least 8; that follows from the
shape alone, channels first if both would do. A float pixel is byte × scale + offset of its channel. Most float images
were 8-bit pixels before a model's normalisation: then each channel's values stand on at most 256 evenly spaced
levels, which are found again and cost nothing but roundings. Others are stretched over 256 levels between the
channel's ends. What becomes of the bytes is jpeg.py's or nobody's.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.errors import MalformedFrame
from nodes.headers import TensorMeta
from nodes.quantise import FLOATS

LEVELS = 255  # steps between the darkest and the brightest 8-bit value
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

SMALLEST_SIDE = 8
SAMPLED = 4096  # values of a channel that its levels are first looked for in
ROUNDINGS = 4  # float32 roundings of the largest magnitude that a normalisation may have added


def channel_axis(shape: Sequence[int]) -> int | None:
    """1 for [N, C, H, W], 3 for [N, H, W, C], None for what is no image."""
    if len(shape) != 4 or shape[0] < 1:
        return None
    if shape[1] in (1, 3) and min(shape[2:]) >= SMALLEST_SIDE:
        return 1
    return 3 if shape[3] in (1, 3) and min(shape[1:3]) >= SMALLEST_SIDE else None


def is_image(shape: Sequence[int], dtype: str) -> bool:
    """Whether a tensor of that shape and numpy's dtype name can be sent as pixels at all."""
    return (dtype == "uint8" or dtype in FLOATS) and channel_axis(shape) is not None


def to_pixels(array: Array) -> tuple[Pixels, bytes] | None:
    """uint8 of the same shape; little-endian float32: a scale a channel, then an offset a channel.

    None for what is no image of floats, or holds NaN, infinity or values so close or so large that float32 has no line.
    """
    axis = channel_axis(array.shape)
    if axis is None or array.dtype.name not in FLOATS:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        values: Floats = np.ascontiguousarray(array, np.float32)
        low, high = _of_channels(np.minimum, values, axis), _of_channels(np.maximum, values, axis)
        spread = high - low
    smallest = LEVELS * np.finfo(np.float32).tiny  # below, a scale has no inverse
    if not np.isfinite(spread).all() or ((spread > 0) & (spread < smallest)).any():
        return None
    flat = spread == 0
    spread[flat] = 1
    pixels, step = _on_levels(values, axis, low, spread) or _stretched(values, axis, low, spread)
    step[flat] = 0  # what is lost of a flat channel's zeros (by JPEG) then does no harm
    return pixels, np.concatenate([step, low]).astype("<f4").tobytes()


def from_pixels(meta: TensorMeta, pixels: Array, dtype: np.dtype[Any]) -> Array:
    """uint8 pixels of the meta's shape as the floats they stand for. MalformedFrame for scales that don't fit it."""
    axis = channel_axis(meta.shape)
    if axis is None or len(meta.scales) != 8 * meta.shape[axis]:
        raise MalformedFrame(
            f"tensor {meta.name!r}: {len(meta.scales)} bytes of scales for an image {list(meta.shape)} ({meta.codec})"
        )
    line: Floats = np.frombuffer(meta.scales, "<f4")
    if not np.isfinite(line).all():
        raise MalformedFrame(f"tensor {meta.name!r}: a scale or an offset is not finite ({meta.codec})")
    step, low = np.split(line, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        values: Floats = np.multiply(_in_rows(pixels, axis), _along(step, meta.shape, axis), dtype=np.float32)
        values += _along(low, meta.shape, axis)
        found: Array = values.reshape(meta.shape).astype(dtype, copy=False)
    return found


def _in_rows(array: Array, axis: int) -> Any:
    """[N, H, W, C] as [N, H, W·C]: arithmetic that runs over three channels at a time takes ten times as long."""
    count, height, width, channels = array.shape
    return array if axis == 1 else array.reshape(count, height, width * channels)


def _along(line: Floats, shape: tuple[int, ...], axis: int) -> Floats:
    """A value a channel, shaped to go with an array in rows."""
    return line.reshape(-1, 1, 1) if axis == 1 else np.tile(line, shape[2])


def _of_channels(ufunc: np.ufunc, array: Floats, axis: int) -> Floats:
    """`ufunc` over all values of each channel: [C]."""
    if axis == 1:
        found: Floats = ufunc.reduce(array, axis=(0, 2, 3))
        return found
    found = ufunc.reduce(_in_rows(array, axis), axis=(0, 1))
    return ufunc.reduce(found.reshape(array.shape[2:]), axis=0)  # type: ignore[no-any-return]


def _stretched(array: Floats, axis: int, low: Floats, spread: Floats) -> tuple[Pixels, Floats]:
    step = spread / np.float32(LEVELS)
    levels = _levels(array, axis, low, step)
    np.rint(levels, out=levels)
    return levels.astype(np.uint8).reshape(array.shape), step


def _levels(array: Floats, axis: int, low: Floats, step: Floats) -> Floats:
    """Steps above the channel's lowest value, in rows."""
    levels: Floats = _in_rows(array, axis) - _along(low, array.shape, axis)
    levels *= _along(np.reciprocal(step), array.shape, axis)
    return levels


def _on_levels(array: Floats, axis: int, low: Floats, spread: Floats) -> tuple[Pixels, Floats] | None:
    """Pixels and steps if every channel's values are evenly spaced levels but for roundings.

    A part is looked at first, as sorting the whole takes longer than all the rest: it shows most others to have none.
    """
    rounding = np.float32(ROUNDINGS * np.finfo(np.float32).eps) * np.maximum(np.abs(low), np.abs(low + spread))
    stride = max(1, isqrt(array.size // array.shape[axis] // SAMPLED))
    sparse = tuple(slice(None) if i in (0, axis) else slice(None, None, stride) for i in range(4))
    channels = list(zip(low.tolist(), spread.tolist(), rounding.tolist(), strict=True))
    for part in (array[sparse], array) if stride > 1 else (array,):
        values = np.moveaxis(part, axis, 0)
        counts = np.array([_steps(each.ravel(), *channel) for each, channel in zip(values, channels, strict=True)])
        if not counts.all():
            return None
        step = (spread / counts).astype(np.float32)
        levels = _levels(array, axis, low, step)
        nearest = np.rint(levels)
        levels -= nearest
        np.abs(levels, out=levels)
        if (_of_channels(np.maximum, levels.reshape(array.shape), axis) * step <= rounding).all():
            # As far apart as 8 bits allow: black and white as 0 and 1 would be one colour to JPEG.
            apart = (LEVELS // counts).astype(np.float32)
            if (apart > 1).any():
                nearest *= _along(apart, array.shape, axis)
            return nearest.astype(np.uint8).reshape(array.shape), step / apart
    return None


def _steps(values: Floats, low: float, spread: float, rounding: float) -> int:
    """How many even steps lie between a channel's ends so that every value is on one; 0 if no number does."""
    found = np.unique(values)
    if len(found) > 2 * (LEVELS + 1):  # roundings may make two of one value
        return 0
    gaps = np.diff(found)
    gaps = gaps[gaps > 2 * rounding]
    fewest = max(1, round(spread / float(gaps.min()))) if len(gaps) else 1
    for count in range(fewest, LEVELS + 1):  # the smallest gap is nearly always one step: one turn
        levels = (found - np.float32(low)) * np.float32(count / spread)
        if np.abs(levels - np.rint(levels)).max() * spread <= rounding * count:
            return count if 2 * rounding * count < spread else 0
    return 0
