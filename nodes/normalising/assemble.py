"""Puts a normalised model together: functions, folded core and heavy weights, with every activation's type stated."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from nodes.functions import Inferred
from nodes.normalising.functions import ordered, outer_reads, value_info
from nodes.normalising.source import Source, graphs
from partitioner.errors import InvalidModel
from partitioner.graph import FUNCTION_DOMAIN

PRODUCER = "isthmus"


def assemble(
    source: Source, core: onnx.ModelProto | None, called: Sequence[onnx.NodeProto], types: Mapping[str, Inferred]
) -> onnx.ModelProto:
    """The whole model, operators in topological order. InvalidModel for an activation whose shape stayed unknown."""
    given = source.proto.graph
    folded = core.graph if core is not None else onnx.GraphProto()
    inputs = [entry for entry in given.input if entry.name not in source.heavy]
    weights = {tensor.name: tensor for tensor in [*source.heavy.values(), *folded.initializer]}
    nodes = [*called, *folded.node]
    types, nodes = _make_every_output(given, nodes, weights, types)
    nodes = ordered(nodes, [*weights, *(entry.name for entry in inputs)])
    reads = {name for node in nodes for name in outer_reads(node)}

    result = onnx.ModelProto()
    result.ir_version = core.ir_version if core is not None else source.proto.ir_version
    result.producer_name = PRODUCER
    result.metadata_props.extend(source.proto.metadata_props)
    graph = result.graph
    graph.name = given.name or "model"
    graph.node.extend(nodes)
    graph.input.extend(value_info(entry.name, types[entry.name]) for entry in inputs)
    graph.output.extend(value_info(entry.name, _known(types, entry.name, source.label)) for entry in given.output)
    graph.initializer.extend(tensor for name, tensor in weights.items() if name in reads)
    outputs = {entry.name for entry in given.output}
    activations = [name for node in nodes for name in node.output if name and name not in outputs]
    graph.value_info.extend(value_info(name, _known(types, name, source.label)) for name in activations)
    result.opset_import.extend(_opsets(graph, core if core is not None else source.proto))
    return result


def _make_every_output(
    given: onnx.GraphProto,
    nodes: list[onnx.NodeProto],
    weights: dict[str, onnx.TensorProto],
    types: Mapping[str, Inferred],
) -> tuple[Mapping[str, Inferred], list[onnx.NodeProto]]:
    """Give an output that folding left a constant an operator that makes it: a stage must own every output."""
    types, nodes = dict(types), list(nodes)
    for entry in given.output:
        if entry.name in weights:
            constant = onnx.TensorProto()
            constant.CopyFrom(weights.pop(entry.name))
            constant.name = f"{entry.name}.value"
            for node in nodes:
                for index, name in enumerate(node.input):
                    if name == entry.name:
                        node.input[index] = constant.name
            weights[constant.name] = constant
            nodes.append(helper.make_node("Identity", [constant.name], [entry.name]))
            dtype = helper.tensor_dtype_to_np_dtype(constant.data_type).name
            types[entry.name] = (dtype, tuple(constant.dims))
    return types, nodes


def _known(types: Mapping[str, Inferred], name: str, label: str) -> Inferred:
    if name not in types or None in types[name][1]:
        raise InvalidModel(f"{label}: the shape of {name!r} cannot be found; give samples of the inputs")
    return types[name]


def _opsets(graph: onnx.GraphProto, source: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """Only the domains used: an engine may refuse a model for one that it doesn't know."""
    used = {_domain(node.domain) for inner in graphs(graph) for node in inner.node}
    versions = {_domain(entry.domain): entry.version for entry in source.opset_import}
    versions.setdefault(FUNCTION_DOMAIN, 1)
    # The default domain always stands: the checker wants it.
    return [helper.make_opsetid(domain, versions[domain]) for domain in sorted(used | {""})]


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
