"""Whatever a meta and its bytes say, decoding gives the tensor of that shape and dtype or names it as malformed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.codec import CODECS, decode, encode_named
from nodes.errors import MalformedFrame
from nodes.framing import Buffer, TensorMeta
from tests.nodes.pictures import imagenet, picture

DTYPES = ("bool", "uint8", "int64", "float16", "float32", "float64", "complex64", "bfloat16", "float99", "")
SIZES = st.one_of(
    st.integers(0, 20), st.integers(-3, 2**70), st.none(), st.text(max_size=2), st.floats(), st.booleans()
)
SHAPES = st.one_of(
    st.lists(SIZES, max_size=5).map(tuple),
    st.sampled_from([(1, 3, 8, 8), (2, 8, 9, 1), (4, 4), (1,) * 70, (2**40, 2**40), (0, 2**63)]),
)
METAS = st.builds(
    TensorMeta, st.just("x"), st.sampled_from(DTYPES), SHAPES, st.sampled_from(CODECS), st.binary(max_size=48)
)
VALID = [encode_named("x", imagenet(picture(16, 24)[None]), codec) for codec in CODECS]


def decodes_or_names_the_tensor(meta: TensorMeta, data: Buffer) -> None:
    try:
        found = decode(meta, data)
    except MalformedFrame as error:
        assert "tensor 'x'" in str(error)
        assert len(str(error)) < 500
    else:
        assert found.shape == meta.shape
        assert found.dtype.name == {"bfloat16": "uint16"}.get(meta.dtype, meta.dtype)


@given(meta=METAS, data=st.binary(max_size=64))
def test_any_meta_over_any_bytes(meta: TensorMeta, data: bytes) -> None:
    decodes_or_names_the_tensor(meta, data)


@given(valid=st.sampled_from(VALID), at=st.integers(0, 5000), value=st.integers(0, 255), cut=st.integers(0, 5000))
def test_a_changed_byte_or_a_missing_end(valid: tuple[TensorMeta, Buffer], at: int, value: int, cut: int) -> None:
    meta, buffer = valid
    data = bytearray(buffer)
    data[at % len(data)] = value
    decodes_or_names_the_tensor(meta, bytes(data))
    decodes_or_names_the_tensor(meta, bytes(buffer)[: cut % len(data)])


@given(valid=st.sampled_from(VALID), meta=METAS)
def test_a_meta_that_is_anothers(valid: tuple[TensorMeta, Buffer], meta: TensorMeta) -> None:
    decodes_or_names_the_tensor(meta, valid[1])
    decodes_or_names_the_tensor(valid[0]._replace(scales=meta.scales), valid[1])
    decodes_or_names_the_tensor(valid[0]._replace(shape=meta.shape), valid[1])
    decodes_or_names_the_tensor(valid[0]._replace(dtype=meta.dtype), valid[1])


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(
    meta=METAS, data=st.binary(max_size=64), valid=st.sampled_from(VALID), at=st.integers(0, 5000), value=st.binary()
)
def test_many_more(meta: TensorMeta, data: bytes, valid: tuple[TensorMeta, Buffer], at: int, value: bytes) -> None:
    decodes_or_names_the_tensor(meta, data)
    changed = bytearray(valid[1])
    changed[at % len(changed) : at % len(changed) + len(value)] = value
    decodes_or_names_the_tensor(valid[0], bytes(changed))
    decodes_or_names_the_tensor(meta._replace(codec=valid[0].codec), valid[1])
