"""Small ONNX models for tests, made by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from partitioner.extract import Piece, save_onnx

Arrays = dict[str, NDArray[np.generic]]


def info(name: str, *shape: int | str, dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name: str, *shape: int, seed: int = 0) -> TensorProto:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    infos: Sequence[ValueInfoProto] = (),
) -> ModelProto:
    graph = helper.make_graph(nodes, "made", inputs, outputs, weights, value_info=infos)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("isthmus", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def branched() -> ModelProto:
    """x → a; a → b, c; b + c → y; a is read twice, w used by both arms, b is a second output."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], "left"),
        helper.make_node("Clip", ["a", "", "top"], ["c"], "right"),
        helper.make_node("Add", ["b", "c"], ["y"], "join"),
    ]
    top = numpy_helper.from_array(np.float32(0.5), "top")
    infos = [info("a", 4, 4), info("c", 4, 4)]
    return model_of(nodes, [info("x", 4, 4)], [info("y", 4, 4), info("b", 4, 4)], [weight("w", 4, 4), top], infos)


def with_if() -> ModelProto:
    """An If whose bodies read the outer activation "a" and the outer weight "w"."""
    then = GraphProto(name="then")
    then.node.append(helper.make_node("Add", ["a", "w"], ["then_y"]))
    then.output.append(info("then_y", 4, 4))
    other = GraphProto(name="else")
    other.node.append(helper.make_node("Mul", ["a", "w"], ["else_y"]))
    other.output.append(info("else_y", 4, 4))
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "relu"),
        helper.make_node("If", ["flag"], ["b"], "choose", then_branch=then, else_branch=other),
        helper.make_node("Neg", ["b"], ["y"], "neg"),
    ]
    inputs = [info("x", 4, 4), info("flag", dtype=TensorProto.BOOL)]
    return model_of(nodes, inputs, [info("y", 4, 4)], [weight("w", 4, 4)], [info("a", 4, 4), info("b", 4, 4)])


def with_shape_read_late() -> ModelProto:
    """x goes through two operators; then Shape(x) itself is read to reshape the result."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Flatten", ["a"], ["f"], "flatten", axis=0),
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Reshape", ["f", "s"], ["y"], "reshape"),
    ]
    infos = [info("a", 4, 4), info("f", 1, 16), info("s", 2, dtype=TensorProto.INT64)]
    return model_of(nodes, [info("x", 4, 4)], [info("y", 4, 4)], [weight("w", 4, 4)], infos)


def run_whole(model: ModelProto, feeds: Arrays, directory: Path) -> Arrays:
    path = directory / "whole.onnx"
    onnx.save(model, path)
    return run_files(path, feeds)


def run_piece(piece: Piece, feeds: Arrays, directory: Path, external_above_bytes: int = 1 << 30) -> Arrays:
    assert piece.model is not None
    files = save_onnx(piece.model, directory / "piece.onnx", piece.directory, external_above_bytes)
    return run_files(files[0], {name: feeds[name] for name in piece.inputs})


def run_files(path: Path, feeds: Arrays) -> Arrays:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
