"""Fusions against what numpy makes of the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nodes.functions import Param
from nodes.joining.join import join
from nodes.joining.steps import Fusion, Pipeline, Source
from partitioner.errors import InvalidModel
from tests.nodes.joining.pipelines import run

Floats = NDArray[Any]


def pipeline(fusion: str, *shapes: tuple[int | None, ...], **params: Param) -> Pipeline:
    sources = tuple(Source(name=f"in{at}", dtype="float32", shape=shape) for at, shape in enumerate(shapes))
    step = Fusion(name="mix", fusion=fusion, wires=tuple(one.name for one in sources), params=params)
    return Pipeline(name="fused", sources=sources, steps=(step,), outputs={"made": "mix"})


def attention(*rows: Floats) -> Floats:
    stacked = np.stack(rows, axis=1).astype(np.float64)
    alike = (stacked[:, :1] @ stacked.transpose(0, 2, 1)) / np.sqrt(stacked.shape[2])
    powers = np.exp(alike - alike.max(axis=-1, keepdims=True))
    return np.asarray((powers / powers.sum(axis=-1, keepdims=True) @ stacked)[:, 0])


def cosine(one: Floats, other: Floats) -> Floats:
    return np.asarray((one * other).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)))


@pytest.mark.parametrize(
    ("fusion", "count", "expected"),
    [
        ("concatenate", 3, lambda *rows: np.concatenate(rows, axis=1)),
        ("late", 3, lambda *rows: sum(rows) / 3),
        ("attention", 3, attention),
        ("cosine", 2, cosine),
    ],
)
@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 3), width=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_fusions_are_what_they_say(
    fusion: str, count: int, expected: Callable[..., Floats], rows: int, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    given_ = [random.normal(size=(rows, width)).astype(np.float32) for _ in range(count)]
    feeds = {f"in{at}": array for at, array in enumerate(given_)}
    made = run(pipeline(fusion, *[(rows, width)] * count), feeds)["made"]
    np.testing.assert_allclose(made, expected(*given_), rtol=1e-4, atol=1e-5)


def test_rows_are_pooled_by_weights_that_the_data_give() -> None:
    feeds = {"in0": np.float32([[1, 0], [0, 4]]), "in1": np.float32([3, 1])}
    assert run(pipeline("pooled", (2, 2), (2,)), feeds)["made"].tolist() == [[0.75, 1.0]]


def test_of_nothing_the_cosine_is_nought() -> None:
    feeds = {"in0": np.zeros((1, 4), np.float32), "in1": np.ones((1, 4), np.float32)}
    assert run(pipeline("cosine", (1, 4), (1, 4)), feeds)["made"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (pipeline("blend", (1, 4), (1, 4)), "no fusion 'blend'; there are concatenate, late, attention, cosine"),
        (pipeline("late", (1, 4)), "late takes two or more tensors, 1 are given"),
        (pipeline("cosine", *[(1, 4)] * 3), "cosine takes two tensors, 3 are given"),
        (pipeline("pooled", (2, 4), (3,)), "pooled: 2 rows, 3 weights"),
        (pipeline("pooled", (2, 4), (2, 1)), r"pooled takes float32 \[rows, width\] and \[rows\]"),
        (pipeline("attention", (1, 4), (1, 5)), r"tensors of one width, they have 4, 5; it reads in0, in1"),
        (pipeline("late", (1, 4), (4,)), r"takes float32 \[rows, width\], not float32 \[4\]"),
        (pipeline("late", (1, 4), (1, 4), weights=[1.0, 2.0, 3.0]), "2 tensors, 3 weights"),
        (pipeline("late", (1, 4), (1, 4), weights=[0.0]), "0 or more, and not all 0"),
    ],
)
def test_what_cant_be_fused_is_told(made: Pipeline, told: str) -> None:
    with pytest.raises(InvalidModel, match=told):
        join(made)
