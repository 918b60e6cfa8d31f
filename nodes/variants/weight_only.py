"""Weights alone in 8 or 4 bits, as plain ONNX that every engine reads; the model computes in float32.

A weight becomes integers and a DequantizeLinear: 8 bits with a scale a channel (opset 13), 4 bits with a scale a block
of `block` values along the products' inner axis (opset 21). A table that Gather reads stays integers until its rows
are picked, each row with its own scale, so that no run widens all of it. With calibration inputs, convolutions' biases
are corrected. It saves bytes; time only on engines that fuse these.

Options of both forms: `keep_float`, operators whose weights are left alone, commas between; `tables`, whether tables
are narrowed too, which TensorRT does not read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter

from nodes.backend import Array
from nodes.options import Options
from nodes.variants.bias_correction import correct_biases
from nodes.variants.errors import NotPossible
from nodes.variants.pieces import array_of, copied, kept_float, weights_of
from nodes.variants.quiet import quiet

LEAST_VALUES = 64  # a smaller weight costs more in scales and operators than it saves
BLOCK = 32
OPSET_8, OPSET_4 = 13, 21
READERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class _Place:
    """A weight and the axis along which its channels lie."""

    name: str
    axis: int
    op_type: str


def weights8(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """8 bits, a scale a channel. NotPossible if no weight is worth it. Options: `keep_float`; `tables`."""
    return _narrowed(core, feeds, read, None)


def weights4(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """4 bits for weights of matrix products, 8 for the others. Options: those of weights8; `block`, values a scale."""
    block = read.count("block", BLOCK, least=2)
    return _narrowed(core, feeds, read, block)


def halved_tables(core: ModelProto) -> ModelProto:
    """Tables that Gather reads, in 8 bits with a scale a row; the model itself if there is none."""
    made = copied(core)
    found = _tables(made, ())
    nodes = [part for node in made.graph.node for part in _picked(made, node, found)]
    _replace(made, nodes, found)
    return made


def _narrowed(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options, block: int | None) -> ModelProto:
    kept = kept_float(core, read.text("keep_float", ""))
    rows = read.switch("tables", True)
    made = copied(core)
    opset = OPSET_8 if block is None else OPSET_4
    if next((one.version for one in made.opset_import if one.domain in ("", "ai.onnx")), 0) < opset:
        with quiet("weights8" if block is None else "weights4"):
            made = version_converter.convert_version(made, opset)
        made.ir_version = max(made.ir_version, 10 if block is not None else 8)
    places, tables = _places(made, kept), _tables(made, kept) if rows else []
    if not places and not tables:
        raise NotPossible(f"the model has nothing to quantise: no float32 weight of {LEAST_VALUES} values or more")
    nodes = [_widening(made, place, block) for place in places]
    nodes += [part for node in made.graph.node for part in _picked(made, node, tables)]
    _replace(made, nodes, [*(place.name for place in places), *tables])
    if feeds:
        correct_biases(core, made, feeds)
    return made


def _replace(model: ModelProto, nodes: Sequence[NodeProto], gone: Sequence[str]) -> None:
    """Put `nodes` in place of the graph's, and drop the weights that became integers."""
    nodes = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    left = [tensor for tensor in model.graph.initializer if tensor.name not in gone]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)


def _places(model: ModelProto, kept: Sequence[str]) -> list[_Place]:
    """Float weights that operators in READERS read and no others do otherwise."""
    heavy = _heavy(model)
    places: dict[str, set[_Place | None]] = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in heavy:
                fit = index == 1 and node.op_type in READERS and node.name not in kept and len(heavy[name].dims) >= 2
                places.setdefault(name, set()).add(
                    _Place(name, _axis(node, heavy[name]), node.op_type) if fit else None
                )
    return [place for of_one in places.values() if len(of_one) == 1 for place in of_one if place is not None]


def _tables(model: ModelProto, kept: Sequence[str]) -> list[str]:
    """Float tables of two dimensions of which Gather alone picks rows."""
    heavy, readers = _heavy(model), {}  # type: dict[str, TensorProto], dict[str, list[bool]]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            rows = node.op_type == "Gather" and index == 0 and _axis_of(node, 0) == 0 and node.name not in kept
            readers.setdefault(name, []).append(rows)
    return [name for name, tensor in heavy.items() if len(tensor.dims) == 2 and all(readers.get(name, [False]))]


def _heavy(model: ModelProto) -> dict[str, TensorProto]:
    return {
        name: tensor
        for name, tensor in weights_of(model).items()
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LEAST_VALUES
    }


def _axis(node: NodeProto, weight: TensorProto) -> int:
    """Of a weight's output channels."""
    if node.op_type == "Gemm":
        return 0 if _axis_of(node, 0, "transB") else 1
    return len(weight.dims) - 1 if node.op_type == "MatMul" else int(node.op_type == "ConvTranspose")


def _axis_of(node: NodeProto, default: int, name: str = "axis") -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _widening(model: ModelProto, place: _Place, block: int | None) -> NodeProto:
    """The DequantizeLinear that makes a weight; its integers and scales join the model."""
    values = array_of(weights_of(model)[place.name])
    inner = 1 - place.axis
    if block is not None and place.op_type in ("MatMul", "Gemm") and values.ndim == 2 and values.shape[inner] >= block:
        integers, scales = _blocks(values, inner, block)
        attributes = {"axis": inner, "block_size": block}
    else:
        integers, scales = _channels(values, place.axis)
        attributes = {"axis": place.axis}
    name = place.name
    model.graph.initializer.extend([_stored(integers, f"{name}.integers"), _stored(scales, f"{name}.scales")])
    return helper.make_node(
        "DequantizeLinear", [f"{name}.integers", f"{name}.scales"], [name], f"{name}.widen", **attributes
    )


def _picked(model: ModelProto, node: NodeProto, tables: Sequence[str]) -> list[NodeProto]:
    """A Gather of a table as Gathers of integers and of scales, a Cast and a Mul; another operator as it is."""
    if node.op_type != "Gather" or node.input[0] not in tables:
        return [node]
    table, made = node.input[0], node.output[0]
    if f"{table}.integers" not in weights_of(model):
        integers, scales = _channels(array_of(weights_of(model)[table]), 0)
        column = scales.reshape(-1, 1)
        model.graph.initializer.extend([_stored(integers, f"{table}.integers"), _stored(column, f"{table}.scales")])
    label = node.name or made
    return [
        helper.make_node("Gather", [f"{table}.integers", node.input[1]], [f"{made}.integers"], label, axis=0),
        helper.make_node("Gather", [f"{table}.scales", node.input[1]], [f"{made}.scales"], f"{label}.scales", axis=0),
        helper.make_node("Cast", [f"{made}.integers"], [f"{made}.wide"], f"{label}.widen", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{made}.wide", f"{made}.scales"], [made], f"{label}.scale"),
    ]


def _channels(values: Array, axis: int) -> tuple[Array, Array]:
    """int8 in ±127 steps and float32 scales, one an index of `axis`."""
    others = tuple(one for one in range(values.ndim) if one != axis)
    scales = np.maximum(np.abs(values).max(axis=others, keepdims=True), np.finfo(np.float32).tiny) / 127
    scales = scales.astype(np.float32)
    return np.clip(np.rint(values / scales), -127, 127).astype(np.int8), scales.ravel()


def _blocks(values: Array, axis: int, block: int) -> tuple[Array, Array]:
    """Integers in ±7 steps, and scales, one a block of values along `axis`; the last block may be short."""
    import ml_dtypes

    lack = -values.shape[axis] % block
    padded = np.pad(values, [(0, lack if one == axis else 0) for one in range(2)])
    split = padded.reshape(*padded.shape[:axis], -1, block, *padded.shape[axis + 1 :])
    scales = np.maximum(np.abs(split).max(axis=axis + 1, keepdims=True), np.finfo(np.float32).tiny) / 7
    scales = scales.astype(np.float32)
    rounded = np.clip(np.rint(split / scales), -7, 7).reshape(padded.shape)
    kept = rounded[: values.shape[0], : values.shape[1]]
    return kept.astype(np.int8).astype(ml_dtypes.int4), np.squeeze(scales, axis + 1)


def _stored(values: Array, name: str) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)
