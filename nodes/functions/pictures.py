"""Functions of pictures: uint8 [height, width, 3] in RGB order.

Pillow is imported when one first runs. EXIF orientation is not applied.
"""

from collections.abc import Mapping
from io import BytesIO
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.errors import BadInput, EngineMissing, UnsupportedOperator
from nodes.functions.params import Function, Params, number, numbers

MAX_PIXELS = 64_000_000  # a picture above this is refused before it is decoded: 192 MB as RGB


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise EngineMissing('picture functions need Pillow; install it with: pip install "isthmus[zoo]"') from None
    image: ModuleType = Image
    return image


def _picture(array: Array) -> Array:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise BadInput(f"a picture is uint8 [height, width, 3], not {array.dtype} {list(array.shape)}")
    return array


def _decode_jpeg(params: Params, data: Array) -> tuple[Array, ...]:
    """uint8 [n], one JPEG file → uint8 [H, W, 3]; grey and CMYK pictures become RGB."""
    image = _pillow()
    try:
        picture = image.open(BytesIO(np.ascontiguousarray(data, np.uint8).data), formats=("JPEG",))
        if picture.width * picture.height > MAX_PIXELS:
            raise BadInput(f"a picture of {picture.width} × {picture.height} exceeds {MAX_PIXELS:,} pixels")
        return (np.array(picture.convert("RGB")),)
    except image.UnidentifiedImageError:
        raise BadInput(f"{data.nbytes} bytes that are not a JPEG file") from None
    except (image.DecompressionBombError, image.DecompressionBombWarning) as error:  # Pillow looks first
        raise BadInput(f"a picture that exceeds {MAX_PIXELS:,} pixels: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"a damaged JPEG file of {data.nbytes} bytes: {error}") from None


def _encode_jpeg(params: Params, picture: Array) -> tuple[Array, ...]:
    """uint8 [H, W, 3] → uint8 [n], a JPEG file of the given `quality` (1 to 95, default 90)."""
    image, quality = _pillow(), int(number(params, "quality", 90))
    file = BytesIO()
    image.fromarray(np.ascontiguousarray(_picture(picture))).save(file, "JPEG", quality=quality)
    return (np.frombuffer(file.getvalue(), np.uint8),)


def _resize(params: Params, picture: Array) -> tuple[Array, ...]:
    """uint8 [H, W, 3] → uint8 [size[0], size[1], 3], bicubic with antialiasing (as Pillow resamples).

    `crop` is the part kept of the largest centred window with the target's aspect, as TensorFlow's central crop:
    .875 is 224 / (224 + 32), what EfficientNet-Lite was trained for. 0 (default) squeezes the whole picture.
    """
    image = _pillow()
    (height, width), crop = _size(params), float(number(params, "crop", 0.0))
    box = None
    if not 0 <= crop <= 1:
        raise UnsupportedOperator(f"resize: 'crop' is a part from 0 to 1, not {crop}")
    if crop:
        have_height, have_width = _picture(picture).shape[:2]
        scale = crop * min(have_height / height, have_width / width)
        top, left = (have_height - scale * height) / 2, (have_width - scale * width) / 2
        box = (left, top, left + scale * width, top + scale * height)
    source = image.fromarray(np.ascontiguousarray(_picture(picture)))
    return (np.array(source.resize((width, height), image.Resampling.BICUBIC, box=box)),)


def _normalise(params: Params, picture: Array) -> tuple[Array, ...]:
    """uint8 [H, W, 3] → float32 [1, 3, H, W]: (x − mean) / scale, each one number or one per channel."""
    mean, scale = (_channels(params, name, default) for name, default in (("mean", 0.0), ("scale", 1.0)))
    planes = _picture(picture).transpose(2, 0, 1)[None].astype(np.float32, order="C")
    planes -= mean
    planes *= np.float32(1) / scale
    return (planes,)


def _channels(params: Params, name: str, default: float) -> NDArray[np.float32]:
    values = numbers(params, name, default)
    if len(values) not in (1, 3):
        raise UnsupportedOperator(f"normalise: {name!r} takes 1 number or 3, not {len(values)}")
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


def _size(params: Params) -> tuple[int, int]:
    """Height and width of the parameter `size`: one number for a square, or two."""
    values = [int(value) for value in numbers(params, "size", 0)]
    if len(values) not in (1, 2) or min(values) < 1:
        raise UnsupportedOperator(f"resize: 'size' is [height, width], both above 0, not {params.get('size')!r}")
    return values[0], values[-1]


PICTURES: Mapping[str, Function] = {
    "decode_jpeg": Function(_decode_jpeg, lambda params, data: (("uint8", (None, None, 3)),), ("uint8",), ("picture",)),
    "encode_jpeg": Function(
        _encode_jpeg, lambda params, picture: (("uint8", (None,)),), ("uint8",), ("file",), params=("quality",)
    ),
    "resize": Function(
        _resize,
        lambda params, picture: (("uint8", (*_size(params), 3)),),
        ("uint8",),
        ("picture",),
        params=("size", "crop"),
    ),
    "normalise": Function(
        _normalise,
        lambda params, picture: (("float32", (1, 3, picture[0], picture[1])),),
        ("uint8",),
        ("planes",),
        params=("mean", "scale"),
    ),
}
