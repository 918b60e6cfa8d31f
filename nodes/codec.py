"""Codecs of tensors on the wire: raw, fp16, int8 and, for images, 8-bit pixels and JPEG; many with zstd on top. Pure.

Lossy codecs take float32 and float64 (int8 and images also float16, JPEG also uint8). Whatever they can't represent
(integers; NaN or infinity in int8; what is no image as pixels) is sent raw instead and the meta says so: a receiver
trusts the meta, never the plan. How values become bytes is quantise.py's, pixels.py's and jpeg.py's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nodes.backend import Array
from nodes.errors import MalformedFrame, NodesError
from nodes.framing import Buffer, Frame, Header, TensorMeta
from nodes.held import BFLOAT16, HELD, LENGTH_BYTES, STRING, packed, parted
from nodes.jpeg import from_jpegs, pillow_installed, to_jpegs
from nodes.pixels import from_pixels, is_image, to_pixels
from nodes.quantise import FLOATS, dequantise, quantise

ZSTD = "+zstd"
ZSTD_LEVEL = 1  # links of 10–100 Mbps are outrun by level 1 already; higher levels cost more than they save
FREE_BYTES, LARGEST_RATIO = 64 << 20, 128  # what a tensor may unpack to: that, or so many times its coded bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What planning may hope of a codec before it was tried: coded bytes per raw byte of a float32 tensor.

    `images_only`: on anything but an image it sends raw.
    """

    nominal_ratio: float
    images_only: bool = False


KINDS: Mapping[str, Codec] = {
    "raw": Codec(nominal_ratio=1.0),
    "fp16": Codec(nominal_ratio=0.5),
    "int8": Codec(nominal_ratio=0.25),  # per channel
    "raw+zstd": Codec(nominal_ratio=0.9),
    "fp16+zstd": Codec(nominal_ratio=0.45),
    "int8+zstd": Codec(nominal_ratio=0.18),
    "int8-tensor": Codec(nominal_ratio=0.25),
    "int8-tensor+zstd": Codec(nominal_ratio=0.18),
    "int8-token": Codec(nominal_ratio=0.25),
    "int8-token+zstd": Codec(nominal_ratio=0.18),
    "uint8": Codec(nominal_ratio=0.25, images_only=True),
    "uint8+zstd": Codec(nominal_ratio=0.2, images_only=True),
    "jpeg95": Codec(nominal_ratio=0.06, images_only=True),
    "jpeg85": Codec(nominal_ratio=0.03, images_only=True),
}
CODECS = tuple(KINDS)
_WIDE_FLOATS = ("float32", "float64")
_JPEGS = {"jpeg95": 95, "jpeg85": 85}  # name → quality
MAX_RANK = 64  # numpy's
_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
} | {BFLOAT16: HELD[BFLOAT16]}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != BFLOAT16}  # numpy works a dtype's name out anew


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
    values, scales = array, b""
    if (coded := _LOSSY[base].encode(array) if base != "raw" else None) is not None:
        values, scales = coded
    else:
        base = "raw"
    buffer: Buffer = _bytes_of(values)
    if packed:
        smaller = _compressor().compress(buffer)
        if _plausible(len(buffer), len(smaller)):
            return Encoded(smaller, scales, base + ZSTD)
    elif base in _JPEGS and not _plausible(array.nbytes, len(buffer)):
        return Encoded(_bytes_of(array), b"", "raw")
    return Encoded(buffer, scales, base)


def decode(meta: TensorMeta, buffer: Buffer) -> Array:
    """The tensor; of codec raw a read-only view of `buffer`, else a new array. MalformedFrame names the tensor."""
    if meta.dtype == STRING:
        return _text(meta, buffer)
    dtype = _DTYPES.get(meta.dtype)
    if dtype is None or meta.codec not in CODECS:
        raise MalformedFrame(f"tensor {meta.name!r}: dtype {meta.dtype!r} in codec {meta.codec!r} is not known here")
    if meta.codec == "raw":
        return _shaped(meta, dtype, buffer)
    base, _, packed = meta.codec.partition("+")
    lossy = _LOSSY.get(base)
    if lossy is not None and meta.dtype not in lossy.dtypes:
        raise MalformedFrame(f"tensor {meta.name!r}: codec {meta.codec!r} holds no {meta.dtype}")
    if base in _JPEGS:
        _unpacked_nbytes(meta, dtype.itemsize, len(buffer))
        pixels = from_jpegs(meta, buffer)
        return pixels if dtype == np.uint8 else from_pixels(meta, pixels, dtype)
    stored = dtype if lossy is None else lossy.stored
    if packed:
        buffer = _decompress(meta, buffer, stored.itemsize)
    values = _shaped(meta, stored, buffer)
    return values if lossy is None else lossy.decode(meta, values, dtype)


def pack(
    header: Header,
    arrays: Mapping[str, Array],
    codecs: Mapping[str, str],
    dtypes: Mapping[str, str] = MappingProxyType({}),
) -> Frame:
    """`arrays` as a frame under `header`; a tensor that `codecs` doesn't name goes raw.

    `dtypes` tells those that numpy has no type for, as `encode_named`'s.
    """
    metas, buffers = [], []
    for name, array in arrays.items():
        meta, buffer = encode_named(name, array, codecs.get(name, "raw"), dtypes.get(name))
        metas.append(meta)
        buffers.append(buffer)
    return Frame(header.holding(tuple(metas)), tuple(buffers))


def encode_named(name: str, array: Array, codec: str, dtype: str | None = None) -> tuple[TensorMeta, Buffer]:
    """One tensor as meta and buffer. `dtype` is its name on the wire where numpy has none (held.py); text goes raw."""
    if dtype not in HELD:
        dtype = None
    if array.dtype.kind == "O":
        text = packed(array)
        return TensorMeta(name, STRING, array.shape, "raw", b"", len(text)), text
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


def worth_trying(codecs: Iterable[str], shape: Sequence[int], dtype: str, *, model_input: bool) -> tuple[str, ...]:
    """Those of `codecs` to try on an activation: never raw, those for images on inputs that look like one only."""
    if dtype in HELD:
        return ()
    picture = model_input and is_image(shape, dtype)
    return tuple(name for name in codecs if name != "raw" and (picture or not KINDS[name].images_only))


def runs_here(codec: str) -> bool:
    """Whether what the codec needs is installed; JPEG's Pillow isn't everywhere."""
    return codec not in _JPEGS or pillow_installed()


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


def _shaped(meta: TensorMeta, stored: np.dtype[Any], buffer: Buffer) -> Array:
    """The bytes as values of the meta's shape, not copied. MalformedFrame where they aren't as many."""
    try:
        values: Array | None = np.ndarray(meta.shape, stored, buffer)
    except (TypeError, ValueError):
        values = None
    if values is None or values.nbytes != len(buffer) or values.shape != meta.shape:
        raise MalformedFrame(
            f"tensor {meta.name!r}: {len(buffer)} bytes for shape {str(list(meta.shape))[:80]} of {stored.name} "
            f"({meta.codec})"
        )
    return values


def _text(meta: TensorMeta, buffer: Buffer) -> Array:
    """Elements of text, copied."""
    if meta.codec != "raw":
        raise MalformedFrame(f"tensor {meta.name!r}: codec {meta.codec!r} holds no {STRING}")
    _unpacked_nbytes(meta, 1, len(buffer))
    count = prod(meta.shape)
    if LENGTH_BYTES * count > len(buffer):
        raise MalformedFrame(f"tensor {meta.name!r}: {len(buffer)} bytes for {count} elements of {STRING}")
    try:
        found = np.empty(meta.shape, np.object_)
        found.reshape(-1)[:] = parted(buffer, count)
    except ValueError as error:
        raise MalformedFrame(f"tensor {meta.name!r}: {error}") from None
    return found


def _to_half(array: Array) -> tuple[Array, bytes] | None:
    if array.dtype.name not in _WIDE_FLOATS:
        return None
    with np.errstate(over="ignore"):
        return array.astype(np.float16), b""


def _from_half(meta: TensorMeta, values: Array, dtype: np.dtype[Any]) -> Array:
    return values.astype(dtype)


class _Lossy(NamedTuple):
    """How a base codec turns an array into values and scales (None: it can't) and such values into an array again."""

    encode: Callable[[Array], tuple[Array, bytes] | None]
    decode: Callable[[TensorMeta, Array, np.dtype[Any]], Array]
    stored: np.dtype[Any]
    dtypes: tuple[str, ...]


_LOSSY = {
    "fp16": _Lossy(_to_half, _from_half, np.dtype(np.float16), _WIDE_FLOATS),
    "uint8": _Lossy(to_pixels, from_pixels, np.dtype(np.uint8), FLOATS),
    **{
        name: _Lossy(partial(quantise, per=per), partial(dequantise, per=per), np.dtype(np.int8), FLOATS)
        for name, per in (("int8", "channel"), ("int8-tensor", "tensor"), ("int8-token", "token"))
    },
    **{
        name: _Lossy(partial(to_jpegs, quality=quality), from_pixels, np.dtype(np.uint8), ("uint8", *FLOATS))
        for name, quality in _JPEGS.items()
    },
}


def _plausible(nbytes: int, coded_nbytes: int) -> bool:
    """Whether a receiver will unpack that much from so little."""
    return nbytes <= max(FREE_BYTES, LARGEST_RATIO * coded_nbytes)


def _unpacked_nbytes(meta: TensorMeta, itemsize: int, coded_nbytes: int) -> int:
    """The bytes that the shape needs. MalformedFrame for no shape, or one so large that the bytes can't mean it."""
    shape = meta.shape
    if len(shape) > MAX_RANK or not all(type(length) is int and length >= 0 for length in shape):
        raise MalformedFrame(f"tensor {meta.name!r}: {str(list(shape))[:80]} is no shape")
    nbytes = itemsize * prod(shape)
    if not _plausible(nbytes, coded_nbytes):
        raise MalformedFrame(f"tensor {meta.name!r}: {coded_nbytes} bytes ({meta.codec}) to unpack to {nbytes:,}")
    return nbytes


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
    nbytes = _unpacked_nbytes(meta, itemsize, len(buffer))
    try:
        promised = zstandard.frame_content_size(buffer)
        if promised != nbytes:
            raise MalformedFrame(f"tensor {meta.name!r}: compressed {promised} bytes, its shape needs {nbytes}")
        data: bytes = zstandard.ZstdDecompressor().decompress(buffer, max_output_size=nbytes)
    except zstandard.ZstdError as error:
        raise MalformedFrame(f"tensor {meta.name!r}: not zstd: {error}") from None
    return data
