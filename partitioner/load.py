"""Normalised ONNX in, a Graph out. One of the two files of planning that know ONNX.

It reads names, shapes and sizes; weights stay where they are (external data is never opened). It does not
normalise: shapes must be known, or a sample's shape given, before a model comes here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappop, heappush
from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from partitioner.errors import InvalidModel
from partitioner.graph import DTYPE_BYTES, Activation, Graph, Operator

DYNAMIC_KEY = "isthmus.dynamic"  # metadata: names, separated by commas, whose shapes are a sample's
DTYPE_OF = {
    TensorProto.BOOL: "bool", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8", TensorProto.INT16: "int16",
    TensorProto.UINT16: "uint16", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16",
    TensorProto.INT32: "int32", TensorProto.UINT32: "uint32", TensorProto.FLOAT: "float32",
    TensorProto.INT64: "int64", TensorProto.UINT64: "uint64", TensorProto.DOUBLE: "float64",
    TensorProto.STRING: "string",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A graph and the ONNX model it was read from, nodes in the graph's order and named as its operators.

    `directory` holds the external data, if any; `sha256` is of the model file's bytes (weights in external data
    are named in it, not contained). Of one that keeps state (stateful.py) `graph` is what is planned: without `state`
    (output → input of the next request) and `kept` inputs, which are in the `full` graph.
    """

    graph: Graph
    proto: ModelProto
    directory: Path | None
    sha256: str
    full: Graph | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()

    @property
    def whole(self) -> Graph:
        """The graph with all that the model takes and makes."""
        return self.graph if self.full is None else self.full


def load(source: Path | ModelProto, directory: Path | None = None) -> Model:
    """The model as planning sees it. `directory` says where a ModelProto's external data lies.

    InvalidModel, in one line, for what is not ONNX, a name defined twice, a name read but never made, a cycle, or
    an activation without a fixed shape. Constant nodes become initialisers.
    """
    proto, directory, digest = _read(source, directory)
    name = proto.graph.name or (source.stem if isinstance(source, Path) else "model")
    _check_names(name, proto.graph)
    _constants_to_initialisers(proto.graph)
    _name_nodes(proto.graph)
    _sort(name, proto.graph)
    return Model(graph=_graph(name, proto), proto=proto, directory=directory, sha256=digest)


def outer_reads(node: NodeProto) -> tuple[str, ...]:
    """Names that the node reads from the graph around it, its If/Loop/Scan bodies' reads included, each once."""
    found = dict.fromkeys(name for name in node.input if name)
    for body in bodies(node):
        found |= dict.fromkeys(_free_names(body))
    return tuple(found)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a control-flow node holds."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def initialisers(graph: GraphProto) -> dict[str, TensorProto]:
    """Dense initialisers by name. Sparse ones keep their values' proto, named as the initialiser."""
    dense = {one.name: one for one in graph.initializer}
    return dense | {one.values.name: one.values for one in graph.sparse_initializer}


def _free_names(body: GraphProto) -> Iterator[str]:
    made = {*initialisers(body), *(one.name for one in body.input)}
    for node in body.node:
        yield from (name for name in outer_reads(node) if name not in made)
        made.update(node.output)
    yield from (one.name for one in body.output if one.name not in made)


def _read(source: Path | ModelProto, directory: Path | None) -> tuple[ModelProto, Path | None, str]:
    if not isinstance(source, Path):
        proto = ModelProto()
        proto.CopyFrom(source)
        return proto, directory, sha256(source.SerializeToString(deterministic=True)).hexdigest()
    if not source.is_file():
        raise InvalidModel(f"{source}: no such file; give the path of an ONNX model")
    content = source.read_bytes()
    proto = ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise InvalidModel(f"{source}: not an ONNX model ({error}); export it to ONNX first") from error
    if not proto.ir_version or not proto.graph.node:
        raise InvalidModel(f"{source}: not an ONNX model, or one without operators; export it to ONNX first")
    return proto, directory or source.parent, sha256(content).hexdigest()


def _check_names(name: str, graph: GraphProto) -> None:
    """Refuse a value defined twice; a graph input that repeats an initialiser is its default, and allowed."""
    weights = initialisers(graph)
    defined = {one.name for one in graph.input} | set(weights)
    for node in graph.node:
        for made in (output for output in node.output if output):
            if made in defined:
                raise InvalidModel(f"{name}: {made!r} is defined twice (again by {_told(node)}); names must be unique")
            defined.add(made)
    for node in graph.node:
        for read in outer_reads(node):
            if read not in defined:
                raise InvalidModel(f"{name}: {_told(node)} reads {read!r}, which nothing in the model makes")
    for one in graph.output:
        if one.name not in defined:
            raise InvalidModel(f"{name}: output {one.name!r} is made by nothing in the model")


def _name_nodes(graph: GraphProto) -> None:
    """Give every node a name of its own: its first output's where it has none or shares one."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        wanted = node.name or next((made for made in node.output if made), "") or f"{node.op_type}_{index}"
        name, number = wanted, 1
        while name in taken:
            name, number = f"{wanted}~{number}", number + 1
        node.name = name
        taken.add(name)


def _sort(name: str, graph: GraphProto) -> None:
    """Put nodes into topological order, keeping theirs where it already is one."""
    made_by = {made: i for i, node in enumerate(graph.node) for made in node.output if made}
    needs = [{made_by[read] for read in outer_reads(node) if read in made_by} for node in graph.node]
    if all(before < i for i, some in enumerate(needs) for before in some):
        return
    after: list[list[int]] = [[] for _ in needs]
    for i, some in enumerate(needs):
        for before in some:
            after[before].append(i)
    waits = [len(some) for some in needs]
    ready = [i for i, count in enumerate(waits) if not count]
    order = []
    while ready:
        order.append(heappop(ready))
        for then in after[order[-1]]:
            waits[then] -= 1
            if not waits[then]:
                heappush(ready, then)
    if len(order) < len(needs):
        stuck = next(i for i, count in enumerate(waits) if count)
        raise InvalidModel(f"{name}: {_told(graph.node[stuck])} depends on its own output; a model must have no cycle")
    nodes = [graph.node[i].SerializeToString() for i in order]
    del graph.node[:]
    graph.node.extend(NodeProto.FromString(node) for node in nodes)


def _constants_to_initialisers(graph: GraphProto) -> None:
    """Turn Constant nodes into initialisers, which can be copied to any stage; those that are outputs stay."""
    outputs = {one.name for one in graph.output}
    for node in [one for one in graph.node if one.op_type == "Constant" and not outputs & set(one.output)]:
        tensor = _constant(node)
        if tensor is not None:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)


def _constant(node: NodeProto) -> TensorProto | None:
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value if isinstance(value, TensorProto) else None
    dtype = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return numpy_helper.from_array(np.array(value, dtype[attribute.name])) if attribute.name in dtype else None


def _graph(name: str, proto: ModelProto) -> Graph:
    graph = proto.graph
    weights = initialisers(graph)
    inputs = tuple(one.name for one in graph.input if one.name not in weights)
    outputs = tuple(one.name for one in graph.output)
    for output in outputs:
        if output in weights:
            raise InvalidModel(f"{name}: output {output!r} is a constant; remove it from the model's outputs")
    reads = [outer_reads(node) for node in graph.node]
    consumers: dict[str, list[int]] = {}
    for index, names in enumerate(reads):
        for read in names:
            consumers.setdefault(read, []).append(index)
    used = set(consumers) | set(outputs)
    sizes = {one: nbytes_of(tensor) for one, tensor in weights.items() if one in consumers}
    operators = []
    for node, names in zip(graph.node, reads, strict=True):
        own = {f"{node.name}/{one}": nbytes_of(tensor) for one, tensor in _inner_initialisers(node)}
        sizes |= own
        operators.append(
            Operator(
                name=node.name,
                op_type=node.op_type,
                domain=node.domain,
                inputs=tuple(one for one in names if one not in weights),
                outputs=tuple(one for one in node.output if one in used),
                weights=(*(one for one in names if one in weights), *own),
            )
        )
    producers: dict[str, int | None] = dict.fromkeys(inputs)
    producers |= {one: index for index, operator in enumerate(operators) for one in operator.outputs}
    return Graph(
        name=name,
        operators=tuple(operators),
        activations=_activations(name, proto, producers, consumers),
        inputs=inputs,
        outputs=outputs,
        weights_bytes=sizes,
    )


def _activations(
    name: str, proto: ModelProto, producers: Mapping[str, int | None], consumers: Mapping[str, list[int]]
) -> dict[str, Activation]:
    graph = proto.graph
    infos = {one.name: one for one in (*graph.value_info, *graph.output, *graph.input)}
    dynamic = {one for prop in proto.metadata_props if prop.key == DYNAMIC_KEY for one in prop.value.split(",")}
    found = {}
    for one, producer in producers.items():
        shape, dtype = _shape_and_dtype(name, one, infos.get(one))
        found[one] = Activation(
            name=one,
            shape=shape,
            dtype=dtype,
            producer=producer,
            consumers=tuple(consumers.get(one, ())),
            dynamic=one in dynamic,
        )
    return found


def _shape_and_dtype(name: str, activation: str, info: ValueInfoProto | None) -> tuple[tuple[int, ...], str]:
    if info is None or not info.type.HasField("tensor_type"):
        why = "no shape is known" if info is None or not info.type.WhichOneof("value") else "it is not a tensor"
        raise InvalidModel(f"{name}: activation {activation!r}: {why}; normalise the model with a sample of its inputs")
    tensor = info.type.tensor_type
    if tensor.elem_type not in DTYPE_OF:
        dtype = TensorProto.DataType.Name(tensor.elem_type)
        raise InvalidModel(f"{name}: activation {activation!r} is of dtype {dtype}, which no message here can carry")
    shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if not tensor.HasField("shape") or any(dim is None for dim in shape):
        told = [dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim]
        raise InvalidModel(
            f"{name}: activation {activation!r} has no fixed shape ({', '.join(map(str, told)) or 'none known'}); "
            "give a sample shape for the model's inputs"
        )
    return tuple(dim for dim in shape if dim is not None), DTYPE_OF[tensor.elem_type]


def nbytes_of(tensor: TensorProto) -> int:
    """Bytes of an initialiser's values, from its shape and dtype alone; 4-bit types take half a byte each."""
    count = int(prod(tensor.dims))
    dtype = TensorProto.DataType.Name(tensor.data_type)
    if dtype == "STRING":
        return sum(len(one) for one in tensor.string_data)
    if tensor.data_type in DTYPE_OF:
        return count * DTYPE_BYTES[DTYPE_OF[tensor.data_type]]
    bits = {"COMPLEX64": 64, "COMPLEX128": 128, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4}.get(dtype, 8)
    return -(-count * bits // 8)


def _inner_initialisers(node: NodeProto) -> Iterator[tuple[str, TensorProto]]:
    for body in bodies(node):
        yield from initialisers(body).items()
        for inner in body.node:
            yield from _inner_initialisers(inner)


def _told(node: NodeProto) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else f"an unnamed {node.op_type}"
