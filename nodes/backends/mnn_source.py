"""An ONNX model as MNN's converter may have it: what MNN lacks is refused by name, and every output is its own tensor.

Imports `onnx`: only where a model is converted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.backend import TensorSpec
from nodes.errors import CompileError, UnsupportedOperator

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

NAME = "mnn"
# MNN computes in 32 bits: what fits into them passes, 64-bit integers with a look at their values.
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")

_SATURATING = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh"})
_WIDENED = frozenset({"Conv", "ConvTranspose", "AveragePool", "MaxPool"})


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output; a free dimension bears a name, `inside` is the tensor's name in the MNN file."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    inside: str

    @property
    def spec(self) -> TensorSpec:
        """What a session says of it."""
        return TensorSpec(self.name, self.dtype, tuple(d if isinstance(d, int) else None for d in self.shape or ()))


@dataclass(frozen=True, slots=True)
class Source:
    """What the converter is given, and the model as it was; external weights lie below `directory`.

    The first `answers` of the `outputs` are the model's, the verification looks at the others too. `bounded` are
    outputs of functions that saturate, such as Sigmoid, whose inputs are among the others.
    """

    proto: "ModelProto"
    reference: "ModelProto"
    directory: Path | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    answers: int
    bounded: frozenset[str]


def read(model: bytes | Path, operators: frozenset[str]) -> Source:
    """The model, ready for the converter. UnsupportedOperator, or CompileError for a dtype that MNN lacks."""
    try:
        import onnx
    except ImportError:
        raise CompileError(
            f"{NAME} converts ONNX with the package onnx, which is not installed; pip install onnx"
        ) from None
    try:
        if isinstance(model, Path):
            proto = onnx.load_model(model, load_external_data=False)
        else:
            proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own, of several classes
        raise CompileError(f"{NAME}: no ONNX model: {' '.join(str(error).split())}") from None
    if not proto.graph.output:
        raise CompileError(f"{NAME}: no ONNX model: it has no outputs")
    _check_operators(proto.graph, operators)
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(_port(entry) for entry in proto.graph.input if entry.name not in weights)
    answers = len(proto.graph.output)
    bounded = _show_what_saturates(proto.graph)
    outputs = tuple(_port(entry) for entry in proto.graph.output)
    reference = onnx.ModelProto()
    reference.CopyFrom(proto)
    _complete_lstms(proto.graph)
    directory = model.parent if isinstance(model, Path) else None
    return Source(proto, reference, directory, inputs, expose(proto.graph, outputs), answers, bounded)


def write(proto: "ModelProto", directory: Path | None, path: Path) -> None:
    """Write a model, its external weights linked beside it."""
    from nodes.normalising.saving import save

    save(proto, directory, path)


def expose(graph: "GraphProto", outputs: tuple[Port, ...]) -> tuple[Port, ...]:
    """Give an output that operators read too a Cast of its own, under a name of its own.

    Otherwise the converter fuses its readers into what makes it (a Relu, say), and the output has their values. Nor
    would it leave one-dimensional convolutions their shape: inside they have a fourth dimension.
    """
    from onnx import helper

    flat = {name for node in graph.node if node.op_type in _WIDENED for name in node.output}
    inner = {name for node in _nodes(graph) for name in node.input}
    taken = inner | {name for node in _nodes(graph) for name in node.output}
    exposed = []
    for entry, port in zip(graph.output, outputs, strict=True):
        if port.name not in inner and not (port.name in flat and len(port.shape or ()) == 3):
            exposed.append(port)
            continue
        name = port.name + "_out"
        while name in taken:
            name += "_"
        taken.add(name)
        graph.node.append(helper.make_node("Cast", [port.name], [name], name, to=entry.type.tensor_type.elem_type))
        entry.name = name
        exposed.append(Port(port.name, port.dtype, port.shape, inside=name))
    return tuple(exposed)


def _check_operators(graph: "GraphProto", operators: frozenset[str]) -> None:
    for node in _nodes(graph):
        if node.domain in ("", "ai.onnx") and node.op_type in operators:
            continue
        op_type = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        label = f"{op_type} {node.name!r}" if node.name else op_type
        raise UnsupportedOperator(
            f"{NAME} does not support operator {label}", operator=node.name, op_type=node.op_type, backend=NAME
        )


def _show_what_saturates(graph: "GraphProto") -> frozenset[str]:
    """Make the input of each output's Sigmoid, Softmax … an output too: far from zero they hide any error in it.

    The names of those whose inputs are shown.
    """
    from onnx import helper

    shown = {entry.name: entry.type.tensor_type.elem_type for entry in graph.output}
    given = {entry.name for entry in (*graph.input, *graph.initializer)}
    bounded = set()
    for node in graph.node:
        if node.op_type not in _SATURATING or node.output[0] not in shown or node.input[0] in given:
            continue
        bounded.add(node.output[0])
        if node.input[0] not in shown:
            shown[node.input[0]] = shown[node.output[0]]
            graph.output.append(helper.make_tensor_value_info(node.input[0], shown[node.output[0]], None))
    return frozenset(bounded)


def _complete_lstms(graph: "GraphProto") -> None:
    """Name the outputs that an LSTM leaves out: the converter crashes for want of them."""
    for number, node in enumerate(node for node in _nodes(graph) if node.op_type == "LSTM"):
        given = [*node.output, "", "", ""][:3]
        del node.output[:]
        node.output.extend(name or f"isthmus lstm {number} {place}" for place, name in enumerate(given))


def _nodes(graph: "GraphProto") -> "Iterator[NodeProto]":
    """Every node, those in the bodies of control flow included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def _port(entry: Any) -> Port:
    from onnx import helper

    kind = entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or not kind.elem_type:
        raise CompileError(f"{NAME}: {entry.name!r} is no tensor of a stated dtype")
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    if dtype not in DTYPES:
        raise CompileError(f"{NAME} has no {dtype}, which {entry.name!r} is; it has {', '.join(DTYPES)}")
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{entry.name} {axis}"
            for axis, dim in enumerate(kind.shape.dim)
        )
    return Port(entry.name, dtype, shape, inside=entry.name)
