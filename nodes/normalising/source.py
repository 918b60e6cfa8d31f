"""Reads a model as it was given: says in one line what is wrong with it, and sets its heavy weights aside.

Heavy weights (1 MiB and more) become inputs of the graph while it is normalised, so that nothing copies them; those in
external files are not even read. Nothing here changes what the model computes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from onnx import external_data_helper, helper, inliner

from partitioner.errors import InvalidModel

HEAVY_BYTES = 1 << 20
WEIGHTS_APART = 4  # the first IR version whose weights need not be inputs too

_TWICE = re.compile(r"SSA\) form, however '([^']*)' has been used as")


@dataclass(frozen=True, slots=True)
class Source:
    """A checked model without its heavy weights, which are inputs of its graph here."""

    label: str
    proto: onnx.ModelProto
    directory: Path | None
    heavy: dict[str, onnx.TensorProto]


def read(source: Path | onnx.ModelProto, directory: Path | None = None) -> Source:
    """The model of a file, or a copy of a small one in memory whose external data lies in `directory`.

    InvalidModel: no such file, not ONNX, a name defined twice, another fault of the graph, external data missing.
    """
    if isinstance(source, Path):
        label, proto, directory = source.name, _load(source), source.parent
    else:
        label, proto = source.graph.name or "model", onnx.ModelProto()
        proto.CopyFrom(source)
    if not proto.ir_version or not proto.graph.output:
        raise InvalidModel(f"{label} is not an ONNX file: it holds no graph with outputs")
    proto.ir_version = max(proto.ir_version, WEIGHTS_APART)
    heavy = _set_aside(proto.graph, label, directory)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise InvalidModel(f"{label} is not a valid graph: {_reason(str(error))}") from None
    return Source(label, proto, directory, heavy)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every body inside it (If, Loop, Scan), outermost first."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def nbytes_of(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's values, wherever they lie; 0 for strings."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return 0
    return int(prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def external_of(tensor: onnx.TensorProto) -> dict[str, str]:
    """`location`, `offset`, `length` of a tensor in an external file."""
    return {entry.key: entry.value for entry in tensor.external_data}


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InvalidModel(f"{path}: no such file")
    try:
        return onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's own DecodeError, which ships no types
        raise InvalidModel(f"{path} is not an ONNX file ({type(error).__name__})") from None


def _set_aside(graph: onnx.GraphProto, label: str, directory: Path | None) -> dict[str, onnx.TensorProto]:
    """Turn heavy weights of the main graph into inputs; give every other weight its values inline."""
    heavy: dict[str, onnx.TensorProto] = {}
    for inner in graphs(graph):
        for tensor in inner.initializer:
            external = tensor.data_location == onnx.TensorProto.EXTERNAL
            if external:
                _check_external(tensor, label, directory)
            if inner is graph and nbytes_of(tensor) >= HEAVY_BYTES and tensor.name not in heavy:
                heavy[tensor.name] = tensor
            elif external:
                external_data_helper.load_external_data_for_tensor(tensor, str(directory))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
    # A weight listed as an input too could be overridden; that ends here.
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    light = [tensor for tensor in graph.initializer if tensor is not heavy.get(tensor.name)]
    opaque = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in heavy.values()]
    replace_all(graph.input, [*inputs, *opaque])
    replace_all(graph.initializer, light)
    return heavy


def replace_all(field: "list[onnx.ValueInfoProto]", values: "list[onnx.ValueInfoProto]") -> None:
    """Put `values` in place of a repeated field's contents, some of which may be among them."""
    kept = []
    for value in values:
        copy = type(value)()
        copy.CopyFrom(value)
        kept.append(copy)
    del field[:]
    field.extend(kept)


def _check_external(tensor: onnx.TensorProto, label: str, directory: Path | None) -> None:
    entry = external_of(tensor)
    location = Path(entry.get("location", ""))
    if directory is None:
        raise InvalidModel(f"{label}: weight {tensor.name!r} lies in {location}; give the model as a file beside it")
    if location.is_absolute() or ".." in location.parts:
        raise InvalidModel(f"{label}: weight {tensor.name!r} lies outside the model's folder, in {location}")
    path = directory / location
    if not path.is_file():
        raise InvalidModel(f"{label}: weight {tensor.name!r} lies in {path}, which is missing")
    end = int(entry.get("offset", 0)) + int(entry.get("length", nbytes_of(tensor)))
    if end > (have := path.stat().st_size):
        raise InvalidModel(f"{label}: weight {tensor.name!r} ends at byte {end} of {path}, which has {have}")


def _reason(message: str) -> str:
    if twice := _TWICE.search(message):
        return f"the name {twice.group(1)!r} is defined twice"
    return " ".join(message.split("==> Context", maxsplit=1)[0].split())[:300]
