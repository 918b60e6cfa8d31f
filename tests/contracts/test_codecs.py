"""Every codec, every dtype and shape: what comes out is what went in, within the codec's error, or raw."""

import numpy as np
import pytest

from nodes.codec import CODECS, decode, encode, encode_named
from nodes.errors import MalformedFrame, NodesError
from nodes.framing import TensorMeta

SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 0, 4), (1, 8, 5, 5), (2, 3, 4, 5, 6)]
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", "complex64"]
ERRORS = {"raw": 0.0, "fp16": 2**-11, "int8": 0.5 / 127}  # of the largest magnitude (int8: of the channel)


def array_of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.default_rng(7).normal(0, 3, shape)
    return np.asarray(values).astype(dtype)


def there_and_back(array: np.ndarray, codec: str) -> tuple[np.ndarray, str]:
    meta, buffer = encode_named("x", array, codec)
    return decode(meta, bytes(buffer)), meta.codec


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensors_come_back_within_the_codecs_error(codec: str, dtype: str, shape: tuple[int, ...]) -> None:
    array = array_of(dtype, shape)
    found, used = there_and_back(array, codec)
    assert found.shape == shape
    assert found.dtype == array.dtype
    if array.size:
        largest = float(np.abs(array.astype(np.complex128)).max())
        slack = 2**-10 * largest if used.startswith("int8") and dtype == "float16" else 1e-6 * largest
        allowed = ERRORS[used.partition("+")[0]] * largest + (slack if not used.startswith("raw") else 0)
        assert np.abs(found.astype(np.complex128) - array).max() <= allowed


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["bool", "int64", "complex64"])
def test_what_is_no_float_goes_raw(codec: str, dtype: str) -> None:
    assert encode(array_of(dtype, (3, 4)), codec).codec.startswith("raw")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_int8_falls_back_to_raw_for_what_is_not_finite(bad: float) -> None:
    array = np.array([[1.0, bad], [2.0, 3.0]], np.float32)
    found, used = there_and_back(array, "int8")
    assert used == "raw"
    assert np.array_equal(found, array, equal_nan=True)


@pytest.mark.parametrize("codec", ["raw", "fp16"])
def test_nan_and_infinity_survive(codec: str) -> None:
    array = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    assert np.array_equal(there_and_back(array, codec)[0], array, equal_nan=True)


@pytest.mark.parametrize("codec", CODECS)
def test_memory_layout_does_not_matter(codec: str) -> None:
    array = array_of("float32", (4, 6, 8))
    for view in (array[::2], array.T, array[:, ::-1], array.astype(">f4")):
        assert np.array_equal(there_and_back(view, codec)[0], there_and_back(view.astype("<f4").copy(), codec)[0])


def test_int8_scales_each_channel_by_its_own_peak() -> None:
    array = np.stack([np.full((4, 4), 0.01), np.full((4, 4), 100.0)])[None].astype(np.float32)
    found, _ = there_and_back(array, "int8")
    assert np.allclose(found, array, rtol=0.005)


def test_bfloat16_travels_as_raw_16_bit_words() -> None:
    words = np.array([0x3F80, 0xC000], np.uint16)
    meta, buffer = encode_named("x", words, "raw", dtype="bfloat16")
    assert meta.dtype == "bfloat16"
    assert np.array_equal(decode(meta, buffer), words)


def test_a_raw_tensor_is_a_view_both_ways() -> None:
    array = array_of("float32", (3, 4))
    encoded = encode(array, "raw")
    assert np.shares_memory(np.frombuffer(encoded.buffer, np.uint8), array)
    found = decode(TensorMeta("x", "float32", (3, 4), nbytes=48), encoded.buffer)
    assert np.shares_memory(found, array)
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "meta",
    [
        TensorMeta("x", "float32", (3,), nbytes=8),
        TensorMeta("x", "float99", (2,), nbytes=8),
        TensorMeta("x", "float32", (2,), "gzip", nbytes=8),
        TensorMeta("x", "float32", (-1, -2), nbytes=8),
        TensorMeta("x", "float32", (8,), "int8", b"1234", nbytes=8),
        TensorMeta("x", "float32", (2,), "raw+zstd", nbytes=8),
    ],
    ids=str,
)
def test_metas_that_contradict_their_bytes_are_refused(meta: TensorMeta) -> None:
    with pytest.raises(MalformedFrame, match="'x'"):
        decode(meta, bytes(8))


def test_a_small_frame_cannot_unpack_to_more_than_its_shape() -> None:
    buffer = encode(np.zeros(1_000_000, np.uint8), "raw+zstd").buffer
    with pytest.raises(MalformedFrame, match="compressed 1000000 bytes"):
        decode(TensorMeta("x", "uint8", (10,), "raw+zstd", nbytes=len(buffer)), buffer)


def test_unknown_codecs_and_dtypes_are_refused() -> None:
    with pytest.raises(NodesError, match="no codec 'int4'"):
        encode(np.zeros(3), "int4")
    with pytest.raises(NodesError, match="no form on the wire"):
        encode(np.array(["a"]), "raw")
