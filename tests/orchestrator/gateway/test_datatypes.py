"""Values as bytes and lists, and back; and what does not fit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nodes.backend import TensorSpec
from orchestrator.gateway.datatypes import DTYPE_OF, from_raw, from_values, held_as, to_raw, to_values
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.models import Model, Wanted
from orchestrator.gateway.serving import _output
from tests.orchestrator.gateway.served import DTYPES, values_of

DATATYPES = [name for name in DTYPE_OF if name != "BYTES"]


def test_every_dtype_has_a_datatype() -> None:
    assert sorted(DTYPE_OF.values()) == sorted(DTYPES)


@pytest.mark.parametrize("datatype", DTYPE_OF)
def test_raw_bytes_come_back(datatype: str) -> None:
    array = values_of(DTYPE_OF[datatype])
    back = from_raw("x", datatype, array.shape, bytes(to_raw(array, datatype)))
    assert back.dtype == held_as(datatype)
    assert np.array_equal(back, array)


@given(datatype=st.sampled_from(DATATYPES), data=st.data())
def test_any_array_comes_back_raw_whatever_its_order(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays.arrays(held_as(datatype), arrays.array_shapes(min_dims=0, min_side=0)))
    for each in (array, array.T):
        back = from_raw("x", datatype, each.shape, bytes(to_raw(each, datatype)))
        assert back.tobytes() == np.ascontiguousarray(each).tobytes()


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_any_bytes_come_back_raw(values: list[bytes]) -> None:
    array = np.empty(len(values), np.object_)
    array[:] = values
    assert from_raw("x", "BYTES", [len(values)], bytes(to_raw(array, "BYTES"))).tolist() == values


@pytest.mark.parametrize("datatype", [name for name in DTYPE_OF if name not in ("BF16", "BYTES", "FP16", "FP64")])
def test_lists_come_back_nested_or_flat(datatype: str) -> None:
    array = values_of(DTYPE_OF[datatype])
    for values in (array.tolist(), array.reshape(-1).tolist()):
        assert np.array_equal(from_values("x", datatype, [2, 2], values), array)
    assert to_values("y", array, datatype) == array.reshape(-1).tolist()


def test_text_is_bytes_and_back() -> None:
    array = from_values("x", "BYTES", [2], ["münchen", ""])
    assert array.tolist() == ["münchen".encode(), b""]
    assert to_values("y", array, "BYTES") == ["münchen", ""]


@pytest.mark.parametrize(
    ("datatype", "shape", "values", "said"),
    [
        ("FP31", [1], [1], "no datatype 'FP31'; known are BOOL"),
        ("FP32", [2], [1.0], "1 values came, shape [2] has 2"),
        ("FP32", [-1], [1.0], "an extent of its shape is below 0 or beyond"),
        ("FP32", [1 << 50], [1.0], "an extent of its shape is below 0 or beyond"),
        ("FP32", [1 << 30, 1 << 30], [1.0], "its shape has more than 1,099,511,627,776 elements"),
        ("FP32", [0, 1 << 40, 2], [], "its shape has more than"),
        ("FP32", [1] * 65, [1.0], "its shape has 65 dimensions, 64 are the most"),
        ("FP32", [2], [[1.0], [1.0, 2.0]], "3 values came, shape [2] has 2"),
        ("FP32", [2], ["y" * 1000, "b"], "its data is no FP32: str"),
        ("FP32", [1], [10**400], "a value is beyond FP32"),
        ("FP32", [1], ["1.0"], "its data is no FP32"),
        ("FP32", [1], [None], "its data is no FP32"),
        ("FP32", [1], [True], "its data is no FP32"),
        ("INT8", [1], [128], "a value is beyond INT8"),
        ("UINT8", [1], [-1], "a value is beyond UINT8"),
        ("UINT64", [1], [1 << 64], "a value is beyond UINT64"),
        ("UINT8", [1], np.array([300], np.uint32), "a value is beyond UINT8"),
        ("INT32", [1], [1.5], "its data is no INT32"),
        ("BOOL", [1], [1], "its data is no BOOL"),
        ("BYTES", [1], [1], "BYTES are given as text, not as int"),
        ("BF16", [1], [1.0], "BF16 goes as raw bytes only"),
    ],
)
def test_values_that_do_not_fit_are_refused(datatype: str, shape: list[int], values: Any, said: str) -> None:
    with pytest.raises(Refused) as refused:
        from_values("x", datatype, shape, values)
    assert said in str(refused.value)
    assert refused.value.fault is Fault.INVALID


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("FP32", [2], b"\0" * 7, "7 bytes came, FP32[2] takes 8"),
        ("FP32", [], b"", "0 bytes came, FP32[] takes 4"),
        ("BYTES", [1], b"\1\0\0", "element 0 of BYTES goes beyond the 3 bytes that came"),
        ("BYTES", [1], b"\2\0\0\0a", "element 0 of BYTES goes beyond the 5 bytes that came"),
        ("BYTES", [2], b"\0\0\0\0", "1 elements of BYTES came, its shape has 2"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype: str, shape: list[int], data: bytes, said: str) -> None:
    with pytest.raises(Refused) as refused:
        from_raw("x", datatype, shape, data)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("datatype", "array"),
    [("BF16", np.zeros(1, np.uint16)), ("FP32", np.array([np.nan], np.float32)), ("BYTES", values_of("string"))],
)
def test_what_json_does_not_hold_is_refused_with_the_way_out(datatype: str, array: Any) -> None:
    with pytest.raises(Refused, match="ask for binary data"):
        to_values("y", array, datatype)


def test_the_greatest_values_of_a_bf16_output_are_those_of_its_numbers() -> None:
    spec = TensorSpec("y", "bfloat16", (None, 3))
    model = Model(name="m", version=1, versions=(1,), inputs=(spec,), outputs=(spec,), width=1)
    bits = np.array([[0xC010, 0x3FC0, 0x3F80]], np.uint16)  # -2.25, 1.5, 1
    made = _output(model, Wanted(name="y", classes=2), bits)
    assert (made.datatype, made.array.tolist()) == ("BYTES", [[b"1.500000:1", b"1.000000:2"]])
