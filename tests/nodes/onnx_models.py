"""Small ONNX models for tests of engines and normalisation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from nodes.artifact import Step, write
from nodes.backend import Array, TensorSpec

FLOAT, INT64, UINT8, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL


def info(name: str, *shape: int | str, dtype: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name: str, values: object, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def random_weight(name: str, *shape: int, seed: int = 0) -> TensorProto:
    return weight(name, np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]))


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    *,
    domains: Sequence[str] = (),
) -> ModelProto:
    graph = helper.make_graph(nodes, "made", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, ir_version=9, opset_imports=opsets)


def node(
    op_type: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", domain: str = "", **attributes: Any
) -> NodeProto:
    return helper.make_node(op_type, inputs, outputs, name, domain=domain, **attributes)


def function_node(name: str, given: str, made: str, **params: Any) -> NodeProto:
    return node(name, [given], [made], domain="isthmus", **params)


def dense(batch: int | str = 1) -> ModelProto:
    """x [batch, 8] · w → hidden → relu → y [batch, 4]; hidden is an output too."""
    nodes = [
        node("MatMul", ["x", "w"], ["hidden"], "project"),
        node("Relu", ["hidden"], ["y"], "cut_off"),
    ]
    return model_of(
        nodes, [info("x", batch, 8)], [info("y", batch, 4), info("hidden", batch, 4)], [random_weight("w", 8, 4)]
    )


def two_inputs(count: int | str = "n") -> ModelProto:
    """Rows of a table chosen by int64 ids, scaled by a float: an embedding. Gives the ids back, doubled, as int64."""
    nodes = [
        node("Gather", ["table", "ids"], ["rows"], "look_up"),
        node("Mul", ["rows", "gain"], ["scaled"], "scale"),
        node("Add", ["ids", "ids"], ["twice"], "double"),
    ]
    inputs = [info("ids", count, dtype=INT64), info("gain")]
    return model_of(
        nodes, inputs, [info("scaled", count, 3), info("twice", count, dtype=INT64)], [random_weight("table", 9, 3)]
    )


def pictured() -> ModelProto:
    """A JPEG → decode → resize to 4 × 4 → normalise → flatten → project to 2 numbers."""
    nodes = [
        function_node("decode_jpeg", "photo", "picture"),
        function_node("resize", "picture", "small", size=[4, 4]),
        function_node("normalise", "small", "planes", mean=[127.0], scale=[128.0]),
        node("Flatten", ["planes"], ["flat"], "flatten"),
        node("MatMul", ["flat", "w"], ["y"], "project"),
    ]
    inputs = [info("photo", "n", dtype=UINT8)]
    return model_of(nodes, inputs, [info("y", 1, 2)], [random_weight("w", 48, 2)], domains=["isthmus"])


def saved(model: ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def artifact_of(
    folder: Path, model: ModelProto, steps: Sequence[Step], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Path:
    """An artifact whose only model is `model-0.onnx`."""
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model-0.onnx")
    write(folder, steps=steps, inputs=inputs, outputs=outputs)
    return folder


def ids_and_gain(count: int = 5) -> dict[str, Array]:
    return {"ids": np.arange(count, dtype=np.int64) % 9, "gain": np.array(2.5, np.float32)}
