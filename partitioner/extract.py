"""A stage of a plan as what a worker runs: registered functions and ONNX models in turn.

The other file of planning that knows ONNX. It copies operators, the weights they read and the shapes known;
it optimises nothing, and it opens external data only to write it out again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from partitioner.errors import InvalidModel, InvalidProblem
from partitioner.graph import FUNCTION_DOMAIN
from partitioner.load import Model, bodies, initialisers, nbytes_of, outer_reads

EXTERNAL_ABOVE_BYTES = 1_500_000_000  # of weights: protobuf holds 2 GB in all
INLINE_UP_TO_BYTES = 1024  # shapes and axes stay in the model, where engines look for them
PAGE_BYTES = 4096
CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """One step of a stage: a registered function with its parameters, or an ONNX model.

    `model` is None for a function. `directory` is where the model's external data lies until it is saved.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model: ModelProto | None = None
    directory: Path | None = None
    function: str = ""
    params: Mapping[str, object] = field(default_factory=dict)

    def manifest_step(self, file: str = "") -> dict[str, object]:
        """The step as an artifact's manifest lists it; `file` names the saved model."""
        ends = {"inputs": list(self.inputs), "outputs": list(self.outputs)}
        if self.model is None:
            return {"function": self.function, "params": dict(self.params), **ends}
        return {"onnx": file, **ends}


def extract(model: Model, operators: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Piece, ...]:
    """The pieces that make `outputs` from `inputs` with these operators, in the order they run.

    Functions run as soon as what they read is there, and engines' operators in between go together, so that there
    are as few models as the functions allow. InvalidProblem for an operator that the model lacks, an input
    missing, or an output that the operators do not make.
    """
    nodes = _chosen(model, operators)
    available = set(inputs)
    groups: list[list[NodeProto]] = []
    while nodes:
        functions = [node for node in nodes if _is_function(node) and available.issuperset(_activations(model, node))]
        group = functions[:1] or _ready(model, nodes, available)
        if not group:
            name = next(one for one in _activations(model, nodes[0]) if one not in available)
            raise InvalidProblem(f"operator {nodes[0].name!r} reads {name!r}, which is not among the stage's inputs")
        groups.append(group)
        taken = {node.name for node in group}
        nodes = [node for node in nodes if node.name not in taken]
        available.update(name for node in group for name in node.output)
    for name in outputs:
        if name not in available:
            raise InvalidProblem(f"the stage's operators do not make its output {name!r}")
    return tuple(_pieces(model, groups, outputs))


def tensor_manifest(model: Model, names: Iterable[str]) -> list[dict[str, object]]:
    """Name, dtype and shape of these activations as an artifact's manifest lists them; null for a free dimension."""
    found = [model.whole.activations[name] for name in names]
    return [
        {"name": one.name, "dtype": one.dtype, "shape": [None if one.dynamic else dim for dim in one.shape]}
        for one in found
    ]


def save_onnx(
    proto: ModelProto, path: Path, directory: Path | None, external_above_bytes: int = EXTERNAL_ABOVE_BYTES
) -> tuple[Path, ...]:
    """Write the model, and return the files written: the model, and one data file beside it if it has weights
    above the limit. `directory` holds the external data that `proto` refers to.

    External data is copied a chunk at a time, holes staying holes, and `proto` is left as it was. InvalidModel
    where the data is missing or short.
    """
    copied = ModelProto()
    copied.CopyFrom(proto)
    total = sum(nbytes_of(tensor) for tensor in _tensors(copied.graph))
    if total <= external_above_bytes:
        for tensor in _tensors(copied.graph):
            if tensor.data_location == TensorProto.EXTERNAL:
                _set_raw(tensor, b"".join(_chunks(tensor, directory)))
        path.write_bytes(copied.SerializeToString())
        return (path,)
    beside = path.with_suffix(".data")
    with beside.open("wb") as data:
        for tensor in _tensors(copied.graph):
            if nbytes_of(tensor) <= INLINE_UP_TO_BYTES:
                if tensor.data_location == TensorProto.EXTERNAL:
                    _set_raw(tensor, b"".join(_chunks(tensor, directory)))
                continue
            start = -(-data.tell() // PAGE_BYTES) * PAGE_BYTES
            data.seek(start)
            for chunk in _chunks(tensor, directory):
                if chunk == bytes(len(chunk)):
                    data.seek(len(chunk), 1)
                else:
                    data.write(chunk)
            _refer(tensor, beside.name, start, data.tell() - start)
        data.truncate(data.tell())
    path.write_bytes(copied.SerializeToString())
    return path, beside


def _chosen(model: Model, operators: Sequence[str]) -> list[NodeProto]:
    wanted = set(operators)
    nodes = [node for node in model.proto.graph.node if node.name in wanted]
    if len(nodes) != len(wanted):
        missing = sorted(wanted - {node.name for node in nodes})
        raise InvalidProblem(f"{model.graph.name}: no operator {missing[0]!r} to extract")
    return nodes


def _is_function(node: NodeProto) -> bool:
    return bool(node.domain == FUNCTION_DOMAIN)


def _activations(model: Model, node: NodeProto) -> list[str]:
    return [name for name in outer_reads(node) if name in model.whole.activations]


def _ready(model: Model, nodes: Sequence[NodeProto], available: set[str]) -> list[NodeProto]:
    """Engines' operators, in graph order, that need no function still to come."""
    made = set(available)
    group = []
    for node in nodes:
        if not _is_function(node) and made.issuperset(_activations(model, node)):
            group.append(node)
            made.update(node.output)
    return group


def _pieces(model: Model, groups: Sequence[Sequence[NodeProto]], outputs: Sequence[str]) -> Iterator[Piece]:
    weights = initialisers(model.proto.graph)
    infos = _infos(model.proto.graph)
    for number, group in enumerate(groups):
        made = {name for node in group for name in node.output if name}
        later = {name for some in groups[number + 1 :] for node in some for name in _activations(model, node)}
        read = dict.fromkeys(name for node in group for name in _activations(model, node) if name not in made)
        given = [name for node in group for name in node.output if name in later or name in outputs]
        if _is_function(group[0]):
            params = {attribute.name: _value(attribute) for attribute in group[0].attribute}
            yield Piece(
                inputs=tuple(_activations(model, group[0])),
                outputs=tuple(group[0].output),  # all that it makes, whoever reads it
                function=group[0].op_type,
                params=params,
            )
            continue
        needed = dict.fromkeys(name for node in group for name in outer_reads(node) if name in weights)
        graph = GraphProto(name=f"{model.graph.name}-{number}")
        graph.node.extend(group)
        graph.initializer.extend(weights[name] for name in needed)
        graph.input.extend(_info(model, infos, name) for name in read)
        graph.output.extend(_info(model, infos, name) for name in given)
        graph.value_info.extend(infos[name] for name in sorted(made.difference(given)) if name in infos)
        yield Piece(
            inputs=tuple(read), outputs=tuple(given), model=_wrapped(model.proto, graph), directory=model.directory
        )


def _wrapped(source: ModelProto, graph: GraphProto) -> ModelProto:
    """The graph as a model of the source's versions; our own domain, which engines do not know, is left out."""
    proto = ModelProto(ir_version=source.ir_version, producer_name="isthmus", graph=graph)
    proto.opset_import.extend(one for one in source.opset_import if one.domain != FUNCTION_DOMAIN)
    proto.functions.extend(source.functions)
    return proto


def _infos(graph: GraphProto) -> dict[str, ValueInfoProto]:
    return {one.name: one for one in (*graph.value_info, *graph.output, *graph.input)}


def _info(model: Model, infos: Mapping[str, ValueInfoProto], name: str) -> ValueInfoProto:
    info = ValueInfoProto()
    info.CopyFrom(infos[name])
    if model.whole.activations[name].dynamic:
        for dim in info.type.tensor_type.shape.dim:
            dim.Clear()
    return info


def _value(attribute: onnx.AttributeProto) -> object:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [one.decode() if isinstance(one, bytes) else one for one in value]
    return value


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor of the graph, those in nodes' attributes and bodies included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.TENSORS:
                yield from attribute.tensors
        for body in bodies(node):
            yield from _tensors(body)


def _chunks(tensor: TensorProto, directory: Path | None) -> Iterator[bytes]:
    """The tensor's bytes, from wherever they are."""
    if tensor.data_location != TensorProto.EXTERNAL:
        raw = tensor.raw_data if tensor.HasField("raw_data") else numpy_helper.to_array(tensor).tobytes()
        yield from (raw[at : at + CHUNK_BYTES] for at in range(0, len(raw), CHUNK_BYTES))
        return
    where = {entry.key: entry.value for entry in tensor.external_data}
    file = (directory or Path()) / where["location"]
    if not file.resolve().is_relative_to((directory or Path()).resolve()):
        raise InvalidModel(f"weight {tensor.name!r}: external data {where['location']!r} leaves the model's folder")
    if not file.is_file():
        raise InvalidModel(f"weight {tensor.name!r}: external data file {file} is missing; put it beside the model")
    left = nbytes_of(tensor)
    with file.open("rb") as data:
        data.seek(int(where.get("offset", "0")))
        while left:
            chunk = data.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise InvalidModel(f"weight {tensor.name!r}: external data file {file} is {left} bytes short")
            left -= len(chunk)
            yield chunk


def _set_raw(tensor: TensorProto, raw: bytes) -> None:
    name, dims, dtype = tensor.name, list(tensor.dims), tensor.data_type
    tensor.Clear()
    tensor.name, tensor.data_type, tensor.raw_data = name, dtype, raw
    tensor.dims.extend(dims)


def _refer(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    _set_raw(tensor, b"")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
