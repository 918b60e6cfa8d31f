"""A model as its pure ONNX part, which forms change, and its registered functions, which stay as they are."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.feeds import check_feeds
from nodes.model_parts import dynamic_names
from nodes.normalising.evaluate import Evaluator, Values
from nodes.normalising.functions import ordered, split, type_of
from nodes.variants.errors import NotPossible
from partitioner.errors import InvalidModel
from partitioner.graph import FUNCTION_DOMAIN

LARGEST_BYTES = (2 << 30) - (64 << 20)  # protobuf's bound, and room for what a form adds


class Pieces:
    """The model of a file, its weights read. InvalidModel for no ONNX file, NotPossible for one that can't be changed.

    `core` is the pure part; `inputs` are the whole model's.
    """

    def __init__(self, path: Path) -> None:
        self.label = path.stem
        self.proto = _read(path)
        weights = sum(len(tensor.raw_data) for tensor in self.proto.graph.initializer)
        if weights > LARGEST_BYTES:
            raise NotPossible(f"{path.name} holds {weights >> 20} MiB of weights, too much for one file; cut it first")
        known = {tensor.name for tensor in self.proto.graph.initializer}
        given = [entry for entry in self.proto.graph.input if entry.name not in known]
        self.inputs = tuple(_spec(entry, dynamic_names(self.proto)) for entry in given)
        self.outputs = tuple(entry.name for entry in self.proto.graph.output)
        parts = split(self.proto, {entry.name: type_of(entry) for entry in given}, path.name)
        if parts.core is None:
            raise NotPossible(f"{path.name} holds registered functions only: there is nothing to change its form of")
        self.core = parts.core
        self._functions = parts.functions

    def check(self, feeds: Sequence[Mapping[str, Array]]) -> None:
        """BadInput, naming what the model takes, unless each of the feeds fits; no feeds don't."""
        if not feeds:
            raise BadInput("the calibration set is empty; give one input at least")
        for number, given in enumerate(feeds):
            try:
                check_feeds(self.inputs, given)
            except BadInput as error:
                raise BadInput(f"calibration input {number}: {error}") from None

    def core_feeds(self, feeds: Sequence[Mapping[str, Array]]) -> tuple[Mapping[str, Array], ...]:
        """What the pure part reads, for each of the whole model's feeds."""
        known = {tensor.name for tensor in self.core.graph.initializer}
        wanted = [entry.name for entry in self.core.graph.input if entry.name not in known]
        evaluator = self._evaluator(self.core)
        runs = [Values(evaluator, given) for given in feeds]
        return tuple({name: values.value(name) for name in wanted} for values in runs)

    def run(self, core: ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """The whole model's outputs with `core` in its pure part's place, by ONNX Runtime."""
        evaluator = self._evaluator(core)
        made = tuple(name for name in self.outputs if name in evaluator.made)
        found = []
        for given in feeds:
            values = Values(evaluator, given)
            if made:
                values.run_core(made)
            found.append({name: values.value(name) for name in self.outputs})
        return found

    def joined(self, core: ModelProto) -> ModelProto:
        """The whole model with `core` in its pure part's place, in topological order, which not every form keeps."""
        whole = copied(core)
        graph, given = whole.graph, self.proto.graph
        known = [*(entry.name for entry in given.input), *(tensor.name for tensor in graph.initializer)]
        nodes = ordered([*self._functions, *core.graph.node], known)
        del graph.node[:]
        graph.node.extend(nodes)
        if self._functions:
            _state(graph, given, {name for node in self._functions for name in node.output})
            if all(entry.domain != FUNCTION_DOMAIN for entry in whole.opset_import):
                whole.opset_import.append(helper.make_opsetid(FUNCTION_DOMAIN, 1))
        return whole

    def _evaluator(self, core: ModelProto) -> Evaluator:
        return Evaluator(core, self._functions, {}, self.label)


def tapped(core: ModelProto, names: Sequence[str], feeds: Sequence[Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
    """The values of some of a pure model's tensors, its inputs among them, for each of the feeds."""
    evaluator = Evaluator(core, (), {}, core.graph.name or "model")
    made = tuple(dict.fromkeys(name for name in names if name in evaluator.made))
    for given in feeds:
        values = Values(evaluator, given)
        if made:
            values.run_core(made)
        yield {name: values.value(name) for name in names}


def copied(core: ModelProto) -> ModelProto:
    """A copy, for quantisers that change what they are given: some leave its weights in a file that is gone then."""
    copy = ModelProto()
    copy.CopyFrom(core)
    return copy


def weights_of(core: ModelProto) -> dict[str, onnx.TensorProto]:
    """A graph's initialisers by name."""
    return {tensor.name: tensor for tensor in core.graph.initializer}


def array_of(tensor: onnx.TensorProto) -> NDArray[Any]:
    """An initialiser's values."""
    values: NDArray[Any] = numpy_helper.to_array(tensor)
    return values


def _state(graph: onnx.GraphProto, given: onnx.GraphProto, made: set[str]) -> None:
    """Give a graph the inputs and outputs of another, and the types of those tensors in `made` that it tells."""
    del graph.input[:], graph.output[:]
    graph.input.extend(given.input)
    graph.output.extend(given.output)
    stated = {entry.name for entry in graph.value_info}
    graph.value_info.extend(entry for entry in given.value_info if entry.name in made - stated)


def _read(path: Path) -> ModelProto:
    if not path.is_file():
        raise InvalidModel(f"{path}: no such file")
    try:
        return onnx.load_model(path)
    except DecodeError:
        raise InvalidModel(f"{path} is not an ONNX file") from None


def _spec(entry: onnx.ValueInfoProto, dynamic: frozenset[str]) -> TensorSpec:
    dtype, shape = type_of(entry)
    return TensorSpec(entry.name, dtype, tuple(None for _ in shape) if entry.name in dynamic else shape)


def kept_float(core: ModelProto, listed: str) -> list[str]:
    """Operators that an option lists, commas between; NotPossible for one that the model hasn't."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    known = {node.name for node in core.graph.node}
    if unknown := [name for name in names if name not in known]:
        raise NotPossible(f"keep_float: the model has no operator {unknown[0]!r}")
    return names
