"""What a stage makes is checked before it is handed on."""

import numpy as np
import pytest

from nodes.backend import Array, TensorSpec
from nodes.errors import BadOutput
from nodes.soundness import check_outputs, overflowed

SPECS = (TensorSpec("y", "float32", (None, 2)),)
FINE = np.zeros((1, 2), np.float32)


def check(made: Array, fed: Array = FINE, *, unbounded: tuple[str, ...] = ()) -> None:
    check_outputs(SPECS, {"y": made}, {"x": fed}, unbounded)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_is_found_wherever_it_is_and_whatever_its_sign(dtype: str, sign: int) -> None:
    for place in (0, 500, 999):
        array = np.linspace(-60000, 60000, 1000).astype(dtype)
        assert not overflowed(array)
        array[place] = np.copysign(np.nan, sign)
        assert overflowed(array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_infinity_is_an_overflow_and_a_mask_of_minus_infinity_none(dtype: str) -> None:
    assert overflowed(np.array([0, np.inf], dtype))
    assert not overflowed(np.array([0, -np.inf], dtype))


@pytest.mark.parametrize("array", [np.zeros((0, 2), np.float32), np.array([2**31 - 1]), np.array([True])])
def test_empty_arrays_and_other_dtypes_never_overflow(array: Array) -> None:
    assert not overflowed(array)


def test_a_wrong_shape_names_both() -> None:
    with pytest.raises(BadOutput, match=r"output 'y' came as float32\[1, 3\], must be y float32\[\?, 2\]"):
        check(np.zeros((1, 3), np.float32))


def test_a_wrong_dtype_names_both() -> None:
    with pytest.raises(BadOutput, match=r"came as float64\[1, 2\], must be y float32"):
        check(np.zeros((1, 2)))


def test_nan_from_finite_inputs_is_refused_with_how_much_of_it() -> None:
    with pytest.raises(BadOutput, match="holds NaN in 1 of 2 places, though every input of the stage was finite"):
        check(np.array([[np.nan, 0]], np.float32))


def test_what_came_in_not_finite_may_go_out_so() -> None:
    check(np.array([[np.nan, 0]], np.float32), np.array([[-np.inf, 0]], np.float32))


def test_a_tensor_named_unbounded_may_hold_anything() -> None:
    check(np.array([[np.inf, np.nan]], np.float32), unbounded=("y",))


def test_bfloat16_travels_as_what_numpy_has_for_it() -> None:
    check_outputs((TensorSpec("y", "bfloat16", (2,)),), {"y": np.zeros(2, np.uint16)}, {}, ())
