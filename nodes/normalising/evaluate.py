"""Runs a model that holds registered functions piece by piece, each tensor when it is first asked for."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from nodes.backend import Array, Session
from nodes.backends import onnxruntime as backend
from nodes.errors import NodesError
from nodes.functions import Inferred
from nodes.normalising.functions import call, outer_reads
from nodes.normalising.saving import is_external, save
from partitioner.errors import InvalidModel


class Evaluator:
    """A model as its pure part and its functions. Pieces compiled for one question serve the next like it."""

    def __init__(
        self,
        core: onnx.ModelProto | None,
        functions: Sequence[onnx.NodeProto],
        inputs: Mapping[str, Inferred],
        label: str,
        directory: Path | None = None,
    ) -> None:
        self.core = core
        self.functions = tuple(functions)
        self.directory = directory
        self.inputs = inputs  # dtype and shape of what stands for an input that is not given
        self.label = label
        self.function_of = {name: node for node in functions for name in node.output}
        self.made = frozenset(name for node in core.graph.node for name in node.output) if core else frozenset()
        self._sessions: dict[tuple[str, ...], Session] = {}

    def session(self, names: tuple[str, ...]) -> Session:
        """What computes these tensors of the core. InvalidModel where the engine refuses."""
        if names not in self._sessions:
            assert self.core is not None
            try:
                self._sessions[names] = self._compile(_ancestors(self.core, names))
            except NodesError as error:
                raise InvalidModel(f"{self.label}: {error}") from None
        return self._sessions[names]

    def _compile(self, piece: onnx.ModelProto) -> Session:
        if not is_external(piece):
            return backend.load().compile(piece.SerializeToString())
        with tempfile.TemporaryDirectory(prefix="isthmus-piece-") as folder:
            return backend.load().compile(save(piece, self.directory, Path(folder) / "piece.onnx"))


class Values:
    """The tensors of one evaluation, from the inputs given; zeros stand for the others."""

    def __init__(self, evaluator: Evaluator, given: Mapping[str, Array]) -> None:
        self.label = evaluator.label
        self._evaluator = evaluator
        self._values: dict[str, Array] = dict(given)

    def value(self, name: str) -> Array:
        """An input, a function's output, or one tensor of the core."""
        if name in self._values:
            return self._values[name]
        evaluator = self._evaluator
        if name in evaluator.function_of:
            node = evaluator.function_of[name]
            self._values.update(call(node, [self.value(read) for read in node.input], self.label))
        elif name in evaluator.made:
            self.run_core([name])
        else:
            dtype, shape = evaluator.inputs[name]
            self._values[name] = np.zeros([dim or 0 for dim in shape], dtype)
        return self._values[name]

    def run_core(self, names: Sequence[str]) -> dict[str, Array]:
        """Several tensors of the core in one run of what they need of it. InvalidModel if it fails."""
        session = self._evaluator.session(tuple(names))
        try:
            found = session.run({spec.name: self.value(spec.name) for spec in session.inputs})
        except NodesError as error:
            raise InvalidModel(f"{self.label}: running it on a sample failed: {error}") from None
        self._values.update(found)
        return found


def _ancestors(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that makes `names`, with those as its outputs and untyped."""
    needed, kept = set(names), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= outer_reads(node)
    piece = onnx.ModelProto()
    piece.ir_version = model.ir_version
    piece.opset_import.extend(model.opset_import)
    piece.graph.name = model.graph.name or "piece"
    piece.graph.node.extend(reversed(kept))
    piece.graph.input.extend(entry for entry in model.graph.input if entry.name in needed)
    piece.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    piece.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    return piece
