"""Models with state: what planning sees of them, what is refused, and what their stages get back."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from partitioner.errors import InvalidModel
from partitioner.load import Model, load
from partitioner.stateful import beside, stateful, together
from tests.orchestrator.sequence_site import STATE, remembering
from tests.partitioner.onnx_builders import info, model_of, weight

NEAR, FAR = ("first", "add_near"), ("second", "scaled", "add_far", "keep_far")


@pytest.fixture(name="plain")
def _plain(tmp_path: Path) -> Model:
    return load(remembering(tmp_path))


def test_state_and_what_is_kept_cost_a_plan_nothing(plain: Model) -> None:
    graph = stateful(plain, dict(STATE), ("scale",)).graph
    assert (graph.inputs, graph.outputs) == (("x",), ("y",))
    assert set(graph.activations) == {"x", "narrow", "near_next", "wide", "wide_scaled", "y"}
    assert {one.name: one.inputs for one in graph.operators}["add_near"] == ("narrow",)


def test_what_makes_a_state_and_what_reads_it_must_share_a_stage(plain: Model) -> None:
    assert together(stateful(plain, dict(STATE), ("scale",))) == (("add_far", "keep_far"),)
    assert together(plain) == ()


def test_a_stage_has_the_state_and_the_kept_inputs_that_it_reads(plain: Model) -> None:
    model = stateful(plain, dict(STATE), ("scale",))
    assert beside(model, NEAR) == ({"near_next": "near"}, ())
    assert beside(model, FAR) == ({"far_next": "far"}, ("scale",))


@pytest.mark.parametrize(
    ("state", "kept", "told"),
    [
        ({"near_next": "far"}, (), r"'near_next' → 'far': 'near_next' is float32\[1, 4\], 'far' is float32\[1, 64\]"),
        ({"nowhere": "near"}, (), "'nowhere' is no output; it has y, near_next, far_next"),
        ({"near_next": "nowhere"}, (), "'nowhere' is no input; it has x, near, far, scale"),
        ({}, ("nowhere",), "kept 'nowhere' is no input; it has x, near, far, scale"),
        ({}, ("x", "near", "far", "scale"), "with its state taken away no input is left"),
    ],
)
def test_state_that_the_model_has_not_is_refused_by_name(
    plain: Model, state: dict[str, str], kept: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InvalidModel, match=told):
        stateful(plain, state, kept)


def test_state_of_two_dtypes_is_refused() -> None:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "add"), helper.make_node("Cast", ["s"], ["s_next"], "c", to=7)]
    given, made = [info("x", 1, 4), info("s", 1, 4)], [info("y", 1, 4), info("s_next", 1, 4, dtype=7)]
    model = load(model_of(nodes, given, made, [weight("w", 1, 4)]))
    with pytest.raises(InvalidModel, match=r"'s_next' is int64\[1, 4\], 's' is float32\[1, 4\]; they must agree"):
        stateful(model, {"s_next": "s"})
    assert np.dtype("int64") == model.graph.activations["s_next"].dtype
