"""Images [N, C, H, W] or [N, H, W, C] as JPEG files and back, by Pillow, which is imported when first needed. Pure.

On the wire: a little-endian u32 length for each image of the batch, then the files one after the other. Their pixels
are those of pixels.py. Baseline files alone are read: a progressive one of a few kilobytes can cost seconds.
"""

import struct
from io import BytesIO
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.errors import EngineMissing, MalformedFrame
from nodes.headers import TensorMeta
from nodes.pixels import channel_axis, to_pixels

LARGEST_SIDE = 65500  # libjpeg's
MODES = {1: "L", 3: "RGB"}


def pillow_installed() -> bool:
    """Whether Pillow is here."""
    try:
        _pillow()
    except EngineMissing:
        return False
    return True


def to_jpegs(array: Array, quality: int) -> tuple[Array, bytes] | None:
    """The batch's lengths and files as one row of bytes, and the scales of `to_pixels` (none for uint8).

    None for what is no image that JPEG can hold; EngineMissing without Pillow.
    """
    axis = channel_axis(array.shape)
    if axis is None or max(array.shape) > LARGEST_SIDE:
        return None
    held = (array, b"") if array.dtype == np.uint8 else to_pixels(array)
    if held is None:
        return None
    plugin = _pillow()
    pixels, scales = held
    files = []
    for picture in np.moveaxis(pixels, axis, 3):
        file = BytesIO()
        plane = np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
        plugin.Image.fromarray(plane).save(file, "JPEG", quality=quality)
        files.append(file.getvalue())
    lengths = struct.pack(f"<{len(files)}I", *map(len, files))
    return np.frombuffer(b"".join([lengths, *files]), np.uint8), scales


def from_jpegs(meta: TensorMeta, buffer: bytes | bytearray | memoryview) -> Array:
    """The uint8 pixels in the meta's shape. MalformedFrame for a file that isn't just that; EngineMissing."""
    axis = channel_axis(meta.shape)
    if axis is None:
        raise MalformedFrame(f"tensor {meta.name!r}: {list(meta.shape)} is no image ({meta.codec})")
    if meta.dtype == "uint8" and meta.scales:
        raise MalformedFrame(f"tensor {meta.name!r}: pixels of uint8 have no scales ({meta.codec})")
    plugin = _pillow()
    files = _files(meta, memoryview(buffer))
    pixels = np.empty(meta.shape, np.uint8)
    for picture, file in zip(np.moveaxis(pixels, axis, 3), files, strict=True):
        try:
            picture[...] = _read(plugin, file, picture.shape)
        except Exception as error:  # Pillow's readers raise whatever their parsing does: SyntaxError, struct.error…
            raise MalformedFrame(f"tensor {meta.name!r}: no JPEG file of its shape: {error}") from None
    return pixels


def _read(plugin: Any, file: memoryview, shape: tuple[int, ...]) -> Array:
    """[H, W, C] of one file. ValueError for another size, form or kind, before the picture takes any memory."""
    height, width, channels = shape
    with plugin.JpegImageFile(BytesIO(file)) as picture:  # Image.open would also try what else such a file may be
        if picture.size != (width, height) or picture.mode != MODES[channels]:
            raise ValueError(f"it is {picture.size[0]} × {picture.size[1]} in {picture.mode}")
        if "progressive" in picture.info:
            raise ValueError("it is progressive")
        return np.asarray(picture).reshape(shape)


def _files(meta: TensorMeta, buffer: memoryview) -> list[memoryview]:
    """The files of a batch. MalformedFrame unless their lengths add up to what is there."""
    count = meta.shape[0]
    if 4 * count > len(buffer):
        raise MalformedFrame(f"tensor {meta.name!r}: {len(buffer)} bytes for {count} JPEG files")
    lengths = struct.unpack_from(f"<{count}I", buffer)
    if 4 * count + sum(lengths) != len(buffer):
        raise MalformedFrame(f"tensor {meta.name!r}: {len(buffer)} bytes for JPEG files of {list(lengths)[:4]}")
    files, start = [], 4 * count
    for length in lengths:
        files.append(buffer[start : start + length])
        start += length
    return files


def _pillow() -> Any:
    try:
        from PIL import JpegImagePlugin
    except ImportError:
        raise EngineMissing('JPEG codecs need Pillow; install it with: pip install "isthmus[zoo]"') from None
    return JpegImagePlugin
