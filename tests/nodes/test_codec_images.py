"""Images as 8-bit pixels and as JPEG: what was 8-bit before a normalisation comes back as it was."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nodes.codec import decode, encode_named, worth_trying
from nodes.errors import EngineMissing, MalformedFrame
from nodes.framing import TensorMeta
from tests.nodes.pictures import imagenet, picture

Floats = NDArray[Any]
NORMALISATIONS: dict[str, Callable[[NDArray[np.uint8]], Floats]] = {
    "as they are": lambda pixels: pixels.astype(np.float32),
    "0 to 1": lambda pixels: pixels / np.float32(255),
    "-1 to 1": lambda pixels: pixels / np.float32(127.5) - np.float32(1),
    "powers of two": lambda pixels: (pixels.astype(np.float32) - 127) / np.float32(128),
    "ImageNet's": imagenet,
    "one multiplication, one addition": lambda pixels: pixels * np.float32(0.0171) + np.float32(-2.1179),
}


def there_and_back(array: NDArray[np.generic], codec: str) -> tuple[NDArray[np.generic], TensorMeta]:
    meta, buffer = encode_named("x", array, codec)
    return decode(meta, bytes(buffer)), meta


def off(found: NDArray[np.generic], array: NDArray[np.generic]) -> float:
    return float(np.abs(found.astype(np.float64) - array.astype(np.float64)).max())


def range_of(array: NDArray[np.float32]) -> float:
    return float(array.max() - array.min())


@pytest.mark.parametrize("normalised", NORMALISATIONS.values(), ids=NORMALISATIONS)
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
def test_what_was_8_bit_comes_back_exact_but_for_roundings(
    normalised: Callable[[NDArray[np.uint8]], Floats], last: bool
) -> None:
    image = normalised(np.stack([picture(96, 80, seed=n) for n in range(2)]))
    image = np.ascontiguousarray(np.moveaxis(image, 1, 3)) if last else image
    found, meta = there_and_back(image, "uint8")
    assert (meta.codec, meta.nbytes, found.dtype.name) == ("uint8", image.size, "float32")
    assert off(found, image) <= 4 * np.finfo(np.float32).eps * np.abs(image).max()


def test_doubles_that_were_8_bit_come_back_exact_but_for_a_floats_roundings() -> None:
    image = picture(64, 64)[None] / 255.0 - 0.45
    found, _ = there_and_back(image, "uint8")
    assert found.dtype.name == "float64"
    assert off(found, image) <= 4 * np.finfo(np.float32).eps


@pytest.mark.parametrize("levels", [(0, 255), (3, 17, 250), (40, 42, 44, 50), (200,), tuple(range(256))], ids=str)
def test_few_levels_are_found_wherever_they_lie(levels: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).choice(np.array(levels, np.uint8), (1, 3, 40, 40))
    image = imagenet(pixels)
    assert off(there_and_back(image, "uint8")[0], image) <= 2e-6


def test_a_level_that_stands_in_one_pixel_only_is_found() -> None:
    """The look at a part of the image shows even levels only; the odd one is off its grid."""
    pixels = picture(300, 300)[None] // 2 * 2
    pixels[0, 1, 151, 77] = 101
    image = imagenet(pixels)
    assert off(there_and_back(image, "uint8")[0], image) <= 2e-6


def test_other_images_are_off_by_half_a_step_at_most() -> None:
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 70, 70)).astype(np.float32)
    found, meta = there_and_back(image, "uint8")
    assert meta.codec == "uint8"
    assert 0.9 < off(found, image) / (range_of(image) / 510) < 1.001


def test_black_and_white_stay_so_in_jpeg() -> None:
    pixels = np.full((1, 1, 64, 64), 255, np.uint8)
    pixels[..., 16:40, 24:48] = 0
    image = pixels / np.float32(255)
    assert off(there_and_back(image, "jpeg95")[0], image) < 0.05


def test_a_flat_channel_stays_flat_in_jpeg() -> None:
    image = imagenet(picture(64, 64)[None])
    image[:, 1] = 0.25
    assert off(there_and_back(image, "jpeg95")[0][:, 1], image[:, 1]) == 0


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("as_float", [False, True])
def test_jpeg_keeps_each_image_of_a_batch(axis: int, channels: int, as_float: bool) -> None:
    pixels = np.moveaxis(np.stack([picture(48, 64, channels, seed=n) for n in range(3)]), 1, axis)
    image = pixels / np.float32(255) if as_float else pixels
    found, meta = there_and_back(image, "jpeg95")
    assert (meta.codec, found.shape, found.dtype) == ("jpeg95", image.shape, image.dtype)
    assert found.flags.c_contiguous
    assert np.abs(found.astype(float) - image).mean() < 4 * (1 / 255 if as_float else 1)
    assert meta.nbytes < pixels.size


def test_a_lower_quality_takes_fewer_bytes_and_errs_more() -> None:
    image = imagenet(picture(96, 96)[None])
    (fine, much), (coarse, little) = (there_and_back(image, codec) for codec in ("jpeg95", "jpeg85"))
    assert little.nbytes < 0.7 * much.nbytes < 0.1 * image.nbytes
    assert off(coarse, image) > off(fine, image)


@pytest.mark.parametrize("shape", [(1, 4, 32, 32), (3, 32, 32), (1, 3, 7, 32), (1, 1, 1, 64), (0, 3, 32, 32)], ids=str)
@pytest.mark.parametrize("codec", ["uint8", "jpeg95"])
def test_what_is_no_image_goes_raw(shape: tuple[int, ...], codec: str) -> None:
    assert there_and_back(np.ones(shape, np.float32), codec)[1].codec == "raw"


def test_image_codecs_are_tried_on_inputs_that_look_like_images_only() -> None:
    asked = ("raw", "fp16", "raw+zstd", "uint8", "jpeg95")
    image = (1, 3, 224, 224)
    assert worth_trying(asked, image, "float32", model_input=True) == asked[1:]
    assert worth_trying(asked, image, "float32", model_input=False) == ("fp16", "raw+zstd")
    assert worth_trying(asked, (1, 64, 28, 28), "float32", model_input=True) == ("fp16", "raw+zstd")
    assert worth_trying(asked, image, "int64", model_input=True) == ("fp16", "raw+zstd")


def test_pixels_without_a_finite_line_are_refused() -> None:
    meta, buffer = encode_named("x", imagenet(picture(16, 16)[None]), "uint8")
    for bad in (np.inf, np.nan):
        line = np.frombuffer(meta.scales, "<f4").copy()
        line[4] = bad
        with pytest.raises(MalformedFrame, match="'x': a scale or an offset is not finite"):
            decode(meta._replace(scales=line.tobytes()), buffer)


def test_bytes_beside_the_jpeg_files_are_refused() -> None:
    meta, buffer = encode_named("x", picture(16, 16)[None], "jpeg95")
    with pytest.raises(MalformedFrame, match=f"'x': {len(buffer) + 1} bytes for JPEG files of "):
        decode(meta, bytes(buffer) + b"\0")


@pytest.mark.parametrize("shape", [(1, 3, 32, 40), (1, 1, 40, 32), (2, 3, 40, 32), (1, 3, 40_000, 32_000)], ids=str)
def test_a_jpeg_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    meta, buffer = encode_named("x", picture(40, 32)[None], "jpeg95")
    with pytest.raises(MalformedFrame, match="'x'"):
        decode(meta._replace(shape=shape), buffer)


def test_a_progressive_jpeg_is_refused() -> None:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.moveaxis(picture(32, 32), 0, 2)).save(file, "JPEG", progressive=True)
    data = len(file.getvalue()).to_bytes(4, "little") + file.getvalue()
    with pytest.raises(MalformedFrame, match="'x': no JPEG file of its shape: it is progressive"):
        decode(TensorMeta("x", "uint8", (1, 3, 32, 32), "jpeg95", nbytes=len(data)), data)


def test_without_pillow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(32, 32)[None]
    meta, buffer = encode_named("x", image, "jpeg95")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(EngineMissing, match=r'JPEG codecs need Pillow; install it with: pip install "isthmus\[zoo\]"'):
        encode_named("x", image, "jpeg95")
    with pytest.raises(EngineMissing, match="Pillow"):
        decode(meta, buffer)
