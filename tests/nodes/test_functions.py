"""Registered functions: pictures in, arrays out."""

import sys
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nodes.backend import Array
from nodes.errors import BadInput, EngineMissing, UnsupportedOperator
from nodes.functions import Param, function, pictures

EFFICIENTNET = {"mean": [127.0], "scale": [128.0]}


def call(name: str, *arrays: Array, **params: Param) -> NDArray[Any]:
    (made,) = function(name).run(params, *arrays)
    return made


def jpeg(height: int = 30, width: int = 40, mode: str = "RGB") -> Array:
    ramp = np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(ramp).convert(mode).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


def framed(height: int, width: int, border: int) -> Array:
    """Black, with a white border."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[border:-border, border:-border] = 0
    return picture


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_jpeg_becomes_three_channels(mode: str) -> None:
    picture = call("decode_jpeg", jpeg(mode=mode))
    assert (picture.dtype.name, picture.shape) == ("uint8", (30, 40, 3))


def test_bytes_that_are_no_jpeg_are_the_callers_fault() -> None:
    with pytest.raises(BadInput, match="100 bytes that are not a JPEG"):
        call("decode_jpeg", np.zeros(100, np.uint8))


def test_a_jpeg_cut_short_is_the_callers_fault() -> None:
    with pytest.raises(BadInput, match="damaged JPEG"):
        call("decode_jpeg", jpeg(200, 200)[:-500])


def test_another_picture_format_is_refused() -> None:
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    with pytest.raises(BadInput, match="not a JPEG"):
        call("decode_jpeg", np.frombuffer(file.getvalue(), np.uint8))


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(BadInput, match="40 × 30 exceeds 1,000 pixels"):
        call("decode_jpeg", jpeg(30, 40))


def test_encoding_is_undone_by_decoding() -> None:
    picture = call("decode_jpeg", jpeg())
    again = call("decode_jpeg", call("encode_jpeg", picture, quality=95))
    assert np.abs(again.astype(int) - picture).max() < 12


def test_quality_decides_the_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert call("encode_jpeg", noise, quality=20).size < call("encode_jpeg", noise, quality=90).size / 2


def test_a_central_crop_leaves_the_border_out() -> None:
    assert call("resize", framed(100, 160, border=20), size=[32, 32], crop=0.5).max() == 0


def test_a_crop_has_the_targets_aspect() -> None:
    cropped = call("resize", framed(100, 200, border=4), size=[50, 100], crop=1.0)
    assert cropped.shape == (50, 100, 3)
    assert cropped[0, 50].min() == 255 == cropped[25, 0].min()


def test_without_a_crop_the_whole_picture_is_squeezed() -> None:
    squeezed = call("resize", framed(100, 200, border=20), size=32)
    assert squeezed[0, 0].min() == 255 == squeezed[-1, -1].min()


def test_normalise_subtracts_divides_and_moves_channels_first() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    planes = call("normalise", picture, mean=[1.0, 2.0, 3.0], scale=[10.0, 20.0, 30.0])
    expected = (picture[2, 4] - np.array([1.0, 2.0, 3.0])) / np.array([10.0, 20.0, 30.0])
    assert (planes.dtype.name, planes.shape) == ("float32", (1, 3, 5, 7))
    np.testing.assert_allclose(planes[0, :, 2, 4], expected, rtol=1e-6)


def test_normalise_is_exact_for_powers_of_two() -> None:
    picture = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(
        call("normalise", picture, **EFFICIENTNET)[0, 0].ravel(), (np.arange(256, dtype=np.float32) - 127) / 128
    )


@pytest.mark.parametrize(
    ("name", "array", "params"),
    [
        ("decode_jpeg", jpeg(), {}),
        ("encode_jpeg", framed(20, 20, 2), {"quality": 80}),
        ("resize", framed(20, 20, 2), {"size": [8, 9], "crop": 0.875}),
        ("normalise", framed(20, 20, 2), EFFICIENTNET),
    ],
)
def test_inferred_types_are_those_of_a_run(name: str, array: Array, params: Mapping[str, Param]) -> None:
    (made,) = function(name).run(params, array)
    ((dtype, shape),) = function(name).infer(params, array.shape)
    assert made.dtype.name == dtype
    assert all(dim in (None, have) for dim, have in zip(shape, made.shape, strict=True))


@pytest.mark.parametrize("name", ["encode_jpeg", "resize", "normalise"])
def test_what_is_no_picture_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"uint8 \[height, width, 3\], not float32 \[1, 3, 4, 4\]"):
        call(name, np.zeros((1, 3, 4, 4), np.float32), size=[2, 2])


def test_an_unknown_function_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnsupportedOperator, match="'translate'; there are decode_jpeg"):
        function("translate")


@pytest.mark.parametrize(
    ("name", "params"), [("size", {"size": [0, 4]}), ("size", {}), ("crop", {"size": 4, "crop": 1.5})]
)
def test_parameters_that_make_no_sense_are_refused(name: str, params: Mapping[str, Param]) -> None:
    with pytest.raises(UnsupportedOperator, match=f"'{name}'"):
        call("resize", framed(8, 8, 1), **params)


def test_without_pillow_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = jpeg()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(EngineMissing, match="pip install"):
        call("decode_jpeg", photo)
