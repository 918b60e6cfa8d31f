"""Normalisation: the same function of the same inputs, in a form that engines read and planning can cut."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from nodes.backend import Array, load_backend
from nodes.normalise import FORM, NORMALISED_KEY, is_normalised, normalise
from nodes.timing import sample_feeds
from partitioner.load import load
from tests.contracts.backend_models import transformer
from tests.nodes.onnx_models import BOOL, INT64, dense, info, model_of, node, random_weight, two_inputs, weight

SHAPES = {"ids": (1, 12), "mask": (1, 12)}


def body(name: str, op_type: str) -> onnx.GraphProto:
    """A branch that reads `a` and `w` from the graph around it; both branches use the same inner names."""
    graph = onnx.GraphProto(name=name)
    graph.node.append(node(op_type, ["a", "w"], ["inner"], "step"))
    graph.node.append(node("Relu", ["inner"], ["made"]))
    graph.output.append(info("made", 4, 4))
    return graph


def branching() -> ModelProto:
    """y = flag ? relu(a + w) : relu(a · w), a = relu(x); the operator that makes `a` is called as the weight is."""
    nodes = [
        node("Relu", ["x"], ["a"], "w"),
        node("If", ["flag"], ["y"], then_branch=body("then", "Add"), else_branch=body("else", "Mul")),
    ]
    return model_of(nodes, [info("x", 4, 4), info("flag", dtype=BOOL)], [info("y", 4, 4)], [random_weight("w", 4, 4)])


def optional_inputs() -> ModelProto:
    """Clip without a lower bound: its second input is ""."""
    return model_of([node("Clip", ["x", "", "top"], ["y"])], [info("x", 2, 3)], [info("y", 2, 3)], [weight("top", 0.5)])


def shape_read_late() -> ModelProto:
    """x · w, flattened and given x's shape back, which is read from x itself."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Flatten", ["a"], ["f"], axis=0),
        node("Shape", ["x"], ["s"]),
        node("Reshape", ["f", "s"], ["y"]),
    ]
    return model_of(nodes, [info("x", "n", 4)], [info("y", "n", 4)], [random_weight("w", 4, 4)])


CASES: dict[str, tuple[ModelProto, Mapping[str, tuple[int, ...]]]] = {
    "several outputs": (dense(), {}),
    "free batch": (dense("batch"), {"x": (3, 8)}),
    "integers": (two_inputs(), {"ids": (5,)}),
    "bodies that read outer names": (branching(), {}),
    "optional inputs": (optional_inputs(), {}),
    "Shape read late": (shape_read_late(), {"x": (4, 4)}),
    "transformer": (transformer(), SHAPES),
}


@pytest.fixture(params=CASES, name="case")
def _case(request: pytest.FixtureRequest) -> tuple[ModelProto, ModelProto]:
    """A model and its normalised form."""
    model, shapes = CASES[request.param]
    return model, normalise(model, shapes=shapes).proto


def run(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    return load_backend("onnxruntime").compile(model.SerializeToString()).run(feeds)


def activations(model: ModelProto) -> list[str]:
    return [name for one in model.graph.node for name in one.output if name]


def test_it_computes_the_same(case: tuple[ModelProto, ModelProto]) -> None:
    source, made = case
    feeds = sample_feeds(load_backend("onnxruntime").compile(made.SerializeToString()).inputs, seed=4)
    want = run(source, feeds)
    have = run(made, feeds)
    assert list(have) == list(want)
    for name, array in want.items():
        assert np.allclose(np.asarray(have[name], float), np.asarray(array, float), rtol=1e-5, atol=1e-6)


def test_inputs_and_outputs_keep_their_names(case: tuple[ModelProto, ModelProto]) -> None:
    source, made = case
    for field in ("input", "output"):
        assert [e.name for e in getattr(made.graph, field)] == [e.name for e in getattr(source.graph, field)]


def test_every_activation_states_a_fixed_shape(case: tuple[ModelProto, ModelProto]) -> None:
    _, made = case
    stated = {entry.name: entry for entry in [*made.graph.value_info, *made.graph.output]}
    for name in activations(made):
        assert all(dim.HasField("dim_value") for dim in stated[name].type.tensor_type.shape.dim)
    assert load(made).graph.outputs == tuple(entry.name for entry in made.graph.output)


def test_no_name_is_used_twice_bodies_included(case: tuple[ModelProto, ModelProto]) -> None:
    _, made = case
    tensors, operators = [], []
    graphs = [made.graph]
    while graphs:
        graph = graphs.pop()
        tensors += [tensor.name for tensor in graph.initializer]
        for one in graph.node:
            operators.append(one.name)
            tensors += [name for name in one.output if name]
            graphs += [attribute.g for attribute in one.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    assert len(set(tensors)) == len(tensors)
    assert len(set(operators)) == len(operators) and "" not in operators


def test_the_checker_accepts_it(case: tuple[ModelProto, ModelProto]) -> None:
    onnx.checker.check_model(case[1], full_check=True)


def test_normalising_again_changes_nothing(case: tuple[ModelProto, ModelProto]) -> None:
    _, made = case
    assert normalise(made).proto.graph.node == made.graph.node


def test_the_same_model_gives_the_same_bytes() -> None:
    first, second = (normalise(transformer(), shapes=SHAPES).proto for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_what_depends_on_shapes_alone_is_folded() -> None:
    made = normalise(shape_read_late(), shapes={"x": (4, 4)}).proto
    assert "Shape" not in [one.op_type for one in made.graph.node]


def test_surplus_domains_are_stripped() -> None:
    model = dense()
    model.opset_import.extend([helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("ai.onnx.ml", 3)])
    assert [entry.domain for entry in normalise(model).proto.opset_import] == [""]


def test_operators_lead_back_to_those_of_the_source() -> None:
    model = dense()
    model.graph.node[1].name = ""
    found = normalise(model)
    assert dict(found.operators) == {"project": "project", "relu_1": "Relu#1"}
    assert [one.name for one in found.proto.graph.node] == ["project", "relu_1"]


def test_two_operators_of_one_name_get_two() -> None:
    model = dense()
    model.graph.node[1].name = "project"
    assert [one.name for one in normalise(model).proto.graph.node] == ["project", "project_2"]


def test_metadata_stays() -> None:
    model = dense()
    model.metadata_props.add(key="character", value="abc")
    kept = {entry.key: entry.value for entry in normalise(model).proto.metadata_props}
    assert kept == {"character": "abc", NORMALISED_KEY: FORM}


def test_what_was_normalised_is_known_by_its_file(tmp_path: Path) -> None:
    raw, done = tmp_path / "raw.onnx", tmp_path / "done.onnx"
    raw.write_bytes(dense().SerializeToString())
    normalise(raw).save(done)
    assert (is_normalised(raw), is_normalised(done)) == (False, True)


def test_weights_listed_as_inputs_are_weights() -> None:
    model = dense()
    model.ir_version = 3
    model.graph.input.append(info("w", 8, 4))
    assert [entry.name for entry in normalise(model).proto.graph.input] == ["x"]


def test_a_models_own_functions_are_inlined() -> None:
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model = model_of([node("Twice", ["x"], ["y"], domain="own")], [info("x", 2)], [info("y", 2)], domains=["own"])
    model.functions.append(twice)
    assert [one.op_type for one in normalise(model).proto.graph.node] == ["Add"]


def test_an_output_that_folds_to_a_constant_keeps_an_operator() -> None:
    nodes = [node("Shape", ["x"], ["s"]), node("Relu", ["x"], ["y"])]
    model = model_of(nodes, [info("x", "n", 4)], [info("y", "n", 4), info("s", 2, dtype=INT64)])
    made = normalise(model, shapes={"x": (2, 4)}).proto
    assert "s" in activations(made)
    np.testing.assert_array_equal(run(made, {"x": np.zeros((2, 4), np.float32)})["s"], [2, 4])


def test_what_the_source_claims_of_shapes_inside_is_not_believed() -> None:
    model = dense("batch")
    model.graph.output.pop()
    model.graph.value_info.append(info("hidden", 1, 4))
    made = normalise(model, shapes={"x": (3, 8)}).proto
    assert [dim.dim_value for dim in made.graph.value_info[0].type.tensor_type.shape.dim] == [3, 4]


def test_a_sample_fixes_a_shape_too() -> None:
    made = normalise(dense("batch"), samples={"x": np.zeros((7, 8), np.float32)}).proto
    assert [dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim] == [7, 8]


def test_a_shape_that_depends_on_values_is_the_samples_and_marked() -> None:
    nodes = [node("NonZero", ["x"], ["places"]), node("Transpose", ["places"], ["y"], "turn", perm=[1, 0])]
    model = model_of(nodes, [info("x", 6)], [info("y", "k", 1, dtype=INT64)])
    made = load(normalise(model, samples={"x": np.array([0, 1, 2, 0, 3, 0], np.float32)}).proto).graph
    assert (made.activations["y"].shape, made.activations["y"].dynamic) == ((3, 1), True)
    assert not made.activations["x"].dynamic


def test_a_model_is_not_changed_by_normalising_it() -> None:
    model = branching()
    before = model.SerializeToString(deterministic=True)
    normalise(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_file_and_its_contents_give_the_same(tmp_path: Path) -> None:
    onnx.save(dense(), tmp_path / "m.onnx")
    assert normalise(tmp_path / "m.onnx").proto == normalise(dense()).proto


def test_sparse_dimensions_of_minus_one_count_as_free() -> None:
    model = model_of([node("Relu", ["x"], ["y"])], [info("x", -1, 2)], [info("y", -1, 2)])
    made = normalise(model, shapes={"x": (3, 2)}).proto
    assert made.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert [dim.dim_value for dim in made.graph.output[0].type.tensor_type.shape.dim] == [3, 2]
