from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from partitioner.errors import InvalidModel
from partitioner.load import load
from tests.partitioner.onnx_builders import branched, info, model_of, weight, with_if, with_shape_read_late


def test_operators_activations_and_weights_are_read() -> None:
    graph = load(branched()).graph
    assert [(one.name, one.inputs, one.weights) for one in graph.operators] == [
        ("first", ("x",), ("w",)),
        ("left", ("a",), ("w",)),
        ("right", ("a",), ("top",)),
        ("join", ("b", "c"), ()),
    ]
    assert graph.activations["a"].consumers == (1, 2)
    assert graph.activations["a"].nbytes == 64
    assert (graph.inputs, graph.outputs) == (("x",), ("y", "b"))


def test_reads_inside_a_body_count_as_the_operators_reads() -> None:
    choose = load(with_if()).graph.operators[1]
    assert set(choose.inputs) == {"flag", "a"}
    assert choose.weights == ("w",)


def test_weights_inside_a_body_weigh_on_its_operator() -> None:
    proto = with_if()
    proto.graph.node[1].attribute[0].g.initializer.append(weight("inner", 3, 5))
    graph = load(proto).graph
    assert graph.weights_of([1]) == 4 * 4 * 4 + 3 * 5 * 4


def test_a_shape_read_late_makes_the_input_an_activation_of_both_readers() -> None:
    graph = load(with_shape_read_late()).graph
    assert graph.activations["x"].consumers == (0, 2)


def test_constant_nodes_become_weights() -> None:
    value = numpy_helper.from_array(np.ones((4, 4), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["k"], value=value),
        helper.make_node("Constant", [], ["f"], value_float=2.0),
        helper.make_node("Sum", ["x", "k", "f"], ["y"]),
    ]
    graph = load(model_of(nodes, [info("x", 4, 4)], [info("y", 4, 4)])).graph
    assert [one.op_type for one in graph.operators] == ["Sum"]
    assert graph.weights_bytes == {"k": 64, "f": 4}


def test_nodes_out_of_order_are_sorted_and_the_proto_with_them() -> None:
    proto = branched()
    nodes = [ModelProto.FromString(proto.SerializeToString()).graph.node[i] for i in (3, 2, 1, 0)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    model = load(proto)
    names = [one.name for one in model.graph.operators]
    assert names == ["first", "right", "left", "join"]
    assert [node.name for node in model.proto.graph.node] == names


def test_nodes_without_a_name_or_sharing_one_get_their_own() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], "same"),
        helper.make_node("Relu", ["b"], ["y"], "same"),
    ]
    model = load(model_of(nodes, [info("x", 4)], [info("y", 4)], (), [info("a", 4), info("b", 4)]))
    names = [one.name for one in model.graph.operators]
    assert names == ["a", "same", "same~1"]
    assert [node.name for node in model.proto.graph.node] == names


def test_an_output_that_nobody_reads_needs_no_shape() -> None:
    nodes = [helper.make_node("Dropout", ["x"], ["y", "mask"], "drop")]
    assert load(model_of(nodes, [info("x", 4)], [info("y", 4)])).graph.operators[0].outputs == ("y",)


def test_a_dynamic_activation_is_marked_as_one() -> None:
    proto = branched()
    proto.metadata_props.add(key="isthmus.dynamic", value="x,a")
    activations = load(proto).graph.activations
    assert [name for name, one in activations.items() if one.dynamic] == ["x", "a"]


def test_external_weights_are_sized_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(branched(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    assert load(path).graph.weights_bytes == {"w": 64, "top": 4}


def test_loading_leaves_the_callers_model_alone() -> None:
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], [info("x", 4)], [info("y", 4)])
    load(proto)
    assert proto.graph.node[0].name == ""


def broken(change: str) -> ModelProto:
    proto = branched()
    graph = proto.graph
    if change == "twice":
        graph.node[2].output[0] = "b"
    if change == "unmade":
        graph.node[1].input[0] = "nowhere"
    if change == "cycle":
        graph.node[0].input[0] = "y"
    if change == "no shape":
        del graph.value_info[:]
    if change == "free dimension":
        graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    if change == "complex":
        graph.input[0].type.tensor_type.elem_type = TensorProto.COMPLEX64
    if change == "constant output":
        graph.output.append(info("w", 4, 4))
    if change == "output unmade":
        graph.output.append(info("z", 4, 4))
    return proto


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("twice", "'b' is defined twice"),
        ("unmade", "'left' reads 'nowhere'"),
        ("cycle", "'first' depends on its own output"),
        ("no shape", "'a': no shape is known"),
        ("free dimension", r"'x' has no fixed shape \(batch, 4\)"),
        ("complex", "COMPLEX64"),
        ("constant output", "'w' is a constant"),
        ("output unmade", "output 'z' is made by nothing"),
    ],
)
def test_an_invalid_model_is_refused_in_one_line(change: str, told: str) -> None:
    with pytest.raises(InvalidModel, match=told) as caught:
        load(broken(change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x08\x0a", b"\xff" * 100])
def test_a_file_that_is_not_onnx_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"photo\.onnx: not an ONNX model"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="no such file"):
        load(tmp_path / "none.onnx")


def test_a_body_that_only_hands_an_outer_name_out_reads_it() -> None:
    proto = with_if()
    body = proto.graph.node[1].attribute[0].g
    del body.node[:]
    body.output[0].name = "x"
    assert "x" in load(proto).graph.operators[1].inputs
