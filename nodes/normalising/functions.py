"""Takes registered functions out of a graph: what remains is pure ONNX, with more inputs and outputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from nodes.backend import Array
from nodes.errors import NodesError
from nodes.functions import Inferred, Param, function
from nodes.held import STRING
from nodes.normalising import inference
from partitioner.errors import InvalidModel
from partitioner.graph import FUNCTION_DOMAIN

Types = dict[str, Inferred]


@dataclass(frozen=True, slots=True)
class Split:
    """The functions of a model in topological order, and its pure part (None if there is none)."""

    functions: tuple[onnx.NodeProto, ...]
    core: onnx.ModelProto | None


def params_of(node: onnx.NodeProto) -> dict[str, Param]:
    """The attributes of a function's node as its parameters."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: _decoded(value) for name, value in values.items()}


def _decoded(value: Any) -> Param:
    """Text as such: ONNX gives it as bytes."""
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [word.decode() for word in value]
    return value.decode() if isinstance(value, bytes) else value


def infer(node: onnx.NodeProto, types: Mapping[str, Inferred], label: str) -> tuple[Inferred, ...]:
    """Dtype and shape of each output of a function; InvalidModel if it is unknown or cannot take its inputs."""
    if unknown := [name for name in node.input if name not in types]:
        raise InvalidModel(f"{label}: shape of {unknown[0]!r}, which {node.op_type} reads, is unknown")
    try:
        found = function(node.op_type).infer(params_of(node), *(types[name][1] for name in node.input))
    except (NodesError, TypeError, IndexError) as error:
        raise InvalidModel(f"{label}: operator {node.name or node.op_type!r}: {error}") from None
    return found


def call(node: onnx.NodeProto, arrays: Sequence[Array], label: str) -> dict[str, Array]:
    """A function's outputs by name; InvalidModel if it refuses the sample."""
    try:
        return dict(zip(node.output, function(node.op_type).run(params_of(node), *arrays), strict=True))
    except NodesError as error:
        names = ", ".join(repr(name) for name in node.input)
        raise InvalidModel(f"{label}: {node.op_type} of {names}: {error}; give a sample of the input") from None


def split(proto: onnx.ModelProto, types: Types, label: str) -> Split:
    """Functions and pure part. `types` knows the model's inputs and learns the functions' outputs."""
    graph = proto.graph
    functions = tuple(node for node in graph.node if node.domain == FUNCTION_DOMAIN)
    pure = [node for node in graph.node if node.domain != FUNCTION_DOMAIN]
    if not functions:
        return Split((), proto)
    made = {name for node in functions for name in node.output}
    core = onnx.ModelProto()
    core.CopyFrom(proto)
    del core.graph.node[:], core.graph.input[:], core.graph.output[:], core.graph.value_info[:]
    core.graph.node.extend(pure)
    reads = _reads(core.graph)
    core.graph.input.extend(entry for entry in graph.input if entry.name in reads)
    core.graph.output.extend(entry for entry in graph.output if _is_made(core.graph, entry.name))
    stated = {entry.name: entry for entry in graph.value_info}
    core.graph.value_info.extend(entry for name, entry in stated.items() if name not in made)
    listed = {entry.name for entry in core.graph.output}
    for name in dict.fromkeys(name for node in functions for name in node.input):
        if name not in listed and _is_made(core.graph, name):
            core.graph.output.append(stated.get(name, helper.make_empty_tensor_value_info(name)))
    _type_functions(core, functions, types, label)
    for name in dict.fromkeys(name for node in functions for name in node.output):
        if name in reads & made:
            core.graph.input.append(value_info(name, types[name]))
    return Split(functions, core if pure else None)


def varying_inputs(graph: onnx.GraphProto, declared: Types) -> set[str]:
    """Inputs with a free dimension that functions alone read: an engine needs them fixed, a function doesn't."""
    free = {name for name, (_, shape) in declared.items() if None in shape}
    called = {name for node in graph.node if node.domain == FUNCTION_DOMAIN for name in node.input}
    pure = {name for node in graph.node if node.domain != FUNCTION_DOMAIN for name in outer_reads(node)}
    return (free & called) - pure


def ordered(nodes: Sequence[onnx.NodeProto], known: Iterable[str]) -> list[onnx.NodeProto]:
    """Copies of the nodes in a topological order that keeps theirs where it can; `known` are given from outside."""
    made_by = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    given, order, placed = set(known), [], set()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            waits = [made_by[name] for name in sorted(outer_reads(nodes[stack[-1]])) if name not in given]
            if later := [index for index in waits if index not in placed]:
                stack.extend(later)
                continue
            if (index := stack.pop()) not in placed:
                placed.add(index)
                order.append(_copy(nodes[index]))
    return order


def outer_reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads from the graph it stands in, the reads of its bodies included."""
    reads = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            body = attribute.g
            own = {entry.name for entry in body.input} | {tensor.name for tensor in body.initializer}
            own |= {name for inner in body.node for name in inner.output}
            reads |= (_reads(body) | {entry.name for entry in body.output}) - own
    return reads - {""}


def value_info(name: str, inferred: Inferred) -> onnx.ValueInfoProto:
    """A tensor's type for ONNX; unknown dimensions get names of their own."""
    dtype, shape = inferred
    dims = [f"{name}_{index}" if dim is None else dim for index, dim in enumerate(shape)]
    kind = onnx.TensorProto.STRING if dtype == STRING else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, dims)


def _type_functions(core: onnx.ModelProto, functions: Sequence[onnx.NodeProto], types: Types, label: str) -> None:
    for node in functions:
        if any(name not in types for name in node.input):
            _learn(core, types)
        types.update(zip(node.output, infer(node, types, label), strict=True))
        node.name = node.name or f"{node.op_type}_{node.output[0]}"


def _learn(core: onnx.ModelProto, types: Types) -> None:
    """Infer what the core makes from the boundary tensors known so far."""
    trial = onnx.ModelProto()
    trial.CopyFrom(core)
    have = {entry.name for entry in trial.graph.input}
    made = {name for node in core.graph.node for name in node.output}
    trial.graph.input.extend(value_info(name, known) for name, known in types.items() if name not in have | made)
    inferred = inference.infer(trial)
    for entry in [*inferred.value_info, *inferred.output]:
        if entry.type.tensor_type.HasField("shape"):
            types.setdefault(entry.name, type_of(entry))


def type_of(entry: onnx.ValueInfoProto) -> Inferred:
    """Dtype and shape of a value_info; None for each dimension without a value, or with -1 for one."""
    tensor = entry.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in tensor.shape.dim)
    if tensor.elem_type == onnx.TensorProto.STRING:
        return STRING, shape
    return helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape


def _reads(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in outer_reads(node)}


def _is_made(graph: onnx.GraphProto, name: str) -> bool:
    return any(name in node.output for node in graph.node) or any(name == tensor.name for tensor in graph.initializer)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
