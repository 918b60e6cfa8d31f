"""Puts an operator before each input that is held at a node of its own (partitioner/sources.py)."""

from collections.abc import Collection
from dataclasses import replace

import onnx
from onnx import helper

from nodes.normalising.functions import type_of
from partitioner.graph import FUNCTION_DOMAIN
from partitioner.load import Model, load
from partitioner.sources import HELD, item_of, operator_of


def with_sources(model: Model, names: Collection[str]) -> Model:
    """The model with items' numbers in place of the inputs `names`. It stays the same model by its SHA-256."""
    if not names:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    if FUNCTION_DOMAIN not in {entry.domain for entry in proto.opset_import}:
        proto.opset_import.append(helper.make_opsetid(FUNCTION_DOMAIN, 1))
    kept = [entry for entry in graph.input if entry.name not in names]
    nodes = []
    for entry in [entry for entry in graph.input if entry.name in names]:
        dtype, shape = type_of(entry)
        varies = model.graph.activations[entry.name].dynamic
        dims = [-1 if varies or dim is None else dim for dim in shape]
        made, given = operator_of(entry.name), item_of(entry.name)
        about = {"tensor": entry.name, "dtype": dtype} | ({"shape": dims} if dims else {})
        nodes.append(helper.make_node(HELD, [given], [entry.name], made, domain=FUNCTION_DOMAIN, **about))
        kept.append(helper.make_tensor_value_info(given, onnx.TensorProto.INT64, [1]))
        graph.value_info.append(entry)
    nodes += graph.node
    del graph.input[:], graph.node[:]
    graph.input.extend(kept)
    graph.node.extend(nodes)
    return replace(load(proto, model.directory), sha256=model.sha256)
