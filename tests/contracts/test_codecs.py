"""Every codec, every dtype and shape: what comes out is what went in, within the codec's error, or raw."""

from pathlib import Path

import numpy as np
import pytest

import nodes.codec as codec_module
from nodes.codec import CODECS, decode, encode, encode_named
from nodes.errors import MalformedFrame, NodesError
from nodes.framing import TensorMeta

IMAGES = [(1, 3, 16, 24), (2, 1, 9, 8), (2, 16, 11, 3)]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 0, 4), (1, 8, 5, 5), (2, 3, 4, 5, 6), *IMAGES]
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", "complex64"]
ERRORS = {  # of the largest magnitude (int8 and uint8: of those that share a scale)
    "raw": 0.0,
    "fp16": 2**-11,
    **dict.fromkeys(("int8", "int8-tensor", "int8-token"), 0.5 / 127),
    "uint8": 1 / 255,  # half a step, of which 255 reach from the lowest to the highest
    **dict.fromkeys(("jpeg95", "jpeg85"), 2.0),  # noise: nothing is sure but that no value leaves its channel's range
}


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
        slack = 2**-10 * largest if dtype == "float16" else 1e-6 * largest
        allowed = ERRORS[used.partition("+")[0]] * largest + (slack if not used.startswith("raw") else 0)
        assert np.abs(found.astype(np.complex128) - array).max() <= allowed


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["bool", "int64", "complex64"])
def test_what_is_no_float_goes_raw(codec: str, dtype: str) -> None:
    assert encode(array_of(dtype, (3, 4)), codec).codec.startswith("raw")


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_is_used_for_what_it_is_for(codec: str) -> None:
    assert there_and_back(array_of("float32", (1, 3, 16, 24)), codec)[1] == codec


@pytest.mark.parametrize("codec", [name for name in CODECS if not name.startswith(("raw", "fp16"))])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_goes_raw_rather_than_as_bytes(codec: str, bad: float) -> None:
    array = array_of("float32", (1, 3, 16, 24))
    array[0, 1, 2, 3] = bad
    found, used = there_and_back(array, codec)
    assert used.startswith("raw")
    assert np.array_equal(found, array, equal_nan=True)


@pytest.mark.parametrize("codec", ["raw", "fp16"])
def test_nan_and_infinity_survive(codec: str) -> None:
    array = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    assert np.array_equal(there_and_back(array, codec)[0], array, equal_nan=True)


@pytest.mark.parametrize("codec", CODECS)
def test_memory_layout_does_not_matter(codec: str) -> None:
    tokens, images = array_of("float32", (4, 6, 8)), array_of("float32", (2, 16, 24, 3))
    views = [tokens[::2], tokens.T, tokens[:, ::-1], tokens.astype(">f4"), np.moveaxis(images, 3, 1), images[:, ::-1]]
    for view in views:
        assert np.array_equal(there_and_back(view, codec)[0], there_and_back(view.astype("<f4").copy(), codec)[0])


def test_the_oldest_codecs_write_what_they_always_wrote() -> None:
    array = np.array([[127.0, -254.0], [0.0, 127.0]], np.float32)
    meta, buffer = encode_named("x", array, "int8")
    assert meta == ("x", "float32", (2, 2), "int8", np.array([1, 2], "<f4").tobytes(), 4)
    assert np.frombuffer(buffer, np.int8).tolist() == [127, -127, 0, 64]
    meta, buffer = encode_named("x", array, "fp16")
    assert (meta[2:], bytes(buffer)) == (((2, 2), "fp16", b"", 8), array.astype("<f2").tobytes())


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
        TensorMeta("x", "float32", (-1,), nbytes=8),
        TensorMeta("x", "int32", (8,), "int8-tensor", b"\0\0\x80?", nbytes=8),
        TensorMeta("x", "bfloat16", (4,), "fp16", nbytes=8),
        TensorMeta("x", "float32", (8,), "int8-tensor", b"\0\0\x80\xbf", nbytes=8),
        TensorMeta("x", "float32", (8,), "int8-tensor", b"\0\0\xc0\x7f", nbytes=8),
        TensorMeta("x", "float32", (8,), "int8-tensor", b"\0\0\x80\x7f", nbytes=8),
        TensorMeta("x", "float16", (8,), "int8-tensor", b"\0\0\x80H", nbytes=8),
        TensorMeta("x", "float32", (2, 4), "int8-token", b"\0\0\x80?", nbytes=8),
        TensorMeta("x", "float32", (8,), "uint8", bytes(8), nbytes=8),
        TensorMeta("x", "float32", (1, 1, 8, 8), "jpeg95", bytes(8), nbytes=8),
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


def test_what_says_that_it_unpacks_to_a_terabyte_is_refused_before_any_memory_is_taken() -> None:
    size = 2**40
    bomb = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x03\x00\x00\x00"
    with pytest.raises(MalformedFrame, match=r"'x': 17 bytes \(raw\+zstd\) to unpack to 1,099,511,627,776"):
        decode(TensorMeta("x", "uint8", (size,), "raw+zstd", nbytes=len(bomb)), bomb)


@pytest.mark.parametrize("codec", ["raw+zstd", "jpeg95"])
def test_what_a_receiver_would_not_unpack_is_sent_plain(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    black = np.zeros((1, 3, 1024, 1024), np.uint8)
    assert there_and_back(black, codec)[1] == codec
    monkeypatch.setattr(codec_module, "FREE_BYTES", black.nbytes - 1)
    found, used = there_and_back(black, codec)
    assert used == "raw"
    assert np.array_equal(found, black)


def test_a_peer_that_is_older_than_a_codec_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    meta, buffer = encode_named("x", array_of("float32", (1, 3, 16, 24)), "jpeg95")
    monkeypatch.setattr(codec_module, "CODECS", CODECS[:6])
    with pytest.raises(MalformedFrame, match="'x': dtype 'float32' in codec 'jpeg95' is not known here"):
        decode(meta, buffer)


def test_unknown_codecs_and_dtypes_are_refused() -> None:
    with pytest.raises(NodesError, match="no codec 'int4'"):
        encode(np.zeros(3), "int4")
    with pytest.raises(NodesError, match="no form on the wire"):
        encode(np.array(["a"]), "raw")


def test_the_wires_document_describes_every_codec() -> None:
    text = (Path(__file__).parents[2] / "docs/wire.md").read_text()
    assert [name for name in CODECS if f"`{name}`" not in text] == []
