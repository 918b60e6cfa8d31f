"""ONNX's shape inference, and what it leaves open of a Loop: what each trip hands on in the shape that it got it in."""

from collections.abc import Iterator

import onnx


def infer(model: onnx.ModelProto) -> onnx.GraphProto:
    """The model's graph with the types that can be inferred; the model stays as it is."""
    graph: onnx.GraphProto = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for node in graph.node:
        carried = list(_carried(model, graph, node)) if node.op_type == "Loop" else []
        if carried:
            told = onnx.ModelProto()
            told.CopyFrom(model)
            _state(told.graph, carried)
            graph = onnx.shape_inference.infer_shapes(told, data_prop=True).graph
            model = told
    return graph


def _carried(model: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.ValueInfoProto]:
    """A Loop's final values, if a trip keeps every shape that it starts with.

    By induction: where the body makes of those shapes the same ones, so do all trips, and no trip, too.
    """
    known = _known(graph)
    starts = [known[name] for name in node.input[2:] if name in known]
    if len(starts) < len(node.input) - 2:
        return
    trial = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    trial.graph.CopyFrom(next(attribute.g for attribute in node.attribute if attribute.name == "body"))
    for entry, start in zip(trial.graph.input[2:], starts, strict=True):
        entry.type.CopyFrom(start)
    for entry in trial.graph.output:
        entry.type.tensor_type.ClearField("shape")
    own = {entry.name for entry in [*trial.graph.input, *trial.graph.initializer]}
    weights = {tensor.name for tensor in graph.initializer}
    trial.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name not in own)
    trial.graph.input.extend(_info(name, kind) for name, kind in known.items() if name not in own | weights)
    made = onnx.shape_inference.infer_shapes(trial, data_prop=True).graph.output[1 : 1 + len(starts)]
    if [_shape(entry.type) for entry in made] == [_shape(start) for start in starts]:
        yield from (_info(name, start) for name, start in zip(node.output, starts, strict=False) if name)


def _state(graph: onnx.GraphProto, entries: list[onnx.ValueInfoProto]) -> None:
    outputs = {entry.name: entry for entry in graph.output}
    for entry in entries:
        if entry.name in outputs:
            outputs[entry.name].type.CopyFrom(entry.type)
        else:
            graph.value_info.append(entry)


def _known(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Types of tensors whose every dimension is known."""
    entries = [*graph.input, *graph.value_info, *graph.output]
    found = {entry.name: entry.type for entry in entries if _shape(entry.type) is not None}
    make = onnx.helper.make_tensor_type_proto
    return found | {tensor.name: make(tensor.data_type, list(tensor.dims)) for tensor in graph.initializer}


def _shape(kind: onnx.TypeProto) -> tuple[int, ...] | None:
    """The dtype and all dimensions; None where one is unknown."""
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tensor.elem_type, *(dim.dim_value for dim in tensor.shape.dim)


def _info(name: str, kind: onnx.TypeProto) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name, type=kind)
