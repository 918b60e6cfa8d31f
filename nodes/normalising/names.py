"""Gives operators, tensors and weights names that are unique in the whole model and say where they come from.

A tensor is called after the operator that makes it (`conv1`, further ones `split:1`), a weight after its first reader
and its part in it (`conv1.W`). The model's own inputs and outputs keep their names. Engines that optimise a piece of a
model again stumble over names that another optimiser made up, so none of those survive.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from nodes.normalising.source import graphs


@dataclass(frozen=True, slots=True)
class Origins:
    """The source's operators: their names, and which of them (name, or type and index) makes each tensor."""

    operators: frozenset[str]
    makers: Mapping[str, str]

    def of(self, node: onnx.NodeProto) -> str:
        """Where an operator comes from: its own name if it kept it, else who made its outputs; "" if unknown."""
        if node.name in self.operators:
            return str(node.name)
        return next((self.makers[made] for made in node.output if made in self.makers), "")


def origins(graph: onnx.GraphProto) -> Origins:
    """Remember the source's operators before folding fuses them; of two with one name the second is renamed."""
    taken: set[str] = set()
    for node in graph.node:
        if node.name:
            node.name = _distinct(node.name, taken)
    makers: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        for output in node.output:
            makers.setdefault(output, node.name or f"{node.op_type}#{index}")
    return Origins(frozenset(node.name for node in graph.node if node.name), makers)


@dataclass(frozen=True, slots=True)
class Renamed:
    """New operator name → the source's operator, where known; old tensor name → new one, bodies left out."""

    operators: Mapping[str, str]
    tensors: Mapping[str, str]


def rename(graph: onnx.GraphProto, sources: Origins) -> Renamed:
    """Rename everything but the model's inputs and outputs, in place."""
    names = _Names(sources)
    kept = {entry.name: entry.name for entry in [*graph.input, *graph.output]}
    names.tensors.update(kept)
    tensors = names.graph(graph, kept, "")
    return Renamed(names.origin, tensors)


class _Names:
    """Names given out so far. Operators and tensors are two spaces; bodies share those of the main graph."""

    def __init__(self, sources: Origins) -> None:
        self.operators: set[str] = set()
        self.tensors: set[str] = set()
        self.origin: dict[str, str] = {}
        self._sources = sources
        self._counts: Counter[str] = Counter()

    def graph(self, graph: onnx.GraphProto, scope: Mapping[str, str], prefix: str) -> dict[str, str]:
        """Rename one graph whose outer names are already mapped by `scope`, bodies included; the new scope.

        `prefix` is "" for the main graph, whose inputs and outputs are in `scope` already.
        """
        scope = dict(scope)
        weights = {tensor.name for tensor in graph.initializer}
        if prefix:
            for entry in graph.input:
                scope[entry.name] = self._unique(_within(prefix, entry.name), self.tensors)
        for node in graph.node:
            self._node(node, scope, weights, prefix)
        for name in sorted(weights - set(scope)):  # a body may give a weight of its own as its output
            scope[name] = self._unique(_within(prefix, name), self.tensors)
        for entry in [*graph.input, *graph.initializer, *graph.output, *graph.value_info]:
            entry.name = scope.get(entry.name, entry.name)
        return scope

    def _node(self, node: onnx.NodeProto, scope: dict[str, str], weights: set[str], prefix: str) -> None:
        name = self._operator(node, prefix)
        for index, read in enumerate(node.input):
            if read in weights and read not in scope:
                scope[read] = self._unique(f"{name}.{_part(node, index)}", self.tensors)
        for index, made in enumerate(node.output):
            if made and (made not in scope or prefix):
                scope[made] = self._unique(f"{name}:{index}" if index else name, self.tensors)
        node.name = name
        node.doc_string = ""
        for field in (node.input, node.output):
            for index, old in enumerate(field):
                field[index] = scope.get(old, old)
        for body in _bodies(node):
            for read in _reads(body):
                if read in weights and read not in scope:
                    scope[read] = self._unique(_within(f"{name}.", read), self.tensors)
            self.graph(body, scope, f"{name}/")

    def _operator(self, node: onnx.NodeProto, prefix: str) -> str:
        source = self._sources.of(node) or (node.name if prefix else "")
        if source and "#" not in source:
            wanted = source
        else:
            self._counts[node.op_type] += 1
            wanted = f"{node.op_type.lower()}_{self._counts[node.op_type]}"
        name = self._unique(_within(prefix, wanted), self.operators)
        if source and not prefix:
            self.origin[name] = source
        return name

    @staticmethod
    def _unique(wanted: str, taken: set[str]) -> str:
        # No commas or blanks: names are listed in metadata and printed in tables.
        return _distinct(re.sub(r"[^\w./:#-]+", "_", wanted), taken)


def _distinct(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


def _within(prefix: str, name: str) -> str:
    """A name inside a body bears that of its operator in front, once."""
    return name if name.startswith(prefix) else prefix + name


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _reads(graph: onnx.GraphProto) -> list[str]:
    return [name for inner in graphs(graph) for node in inner.node for name in node.input]


def _part(node: onnx.NodeProto, index: int) -> str:
    """What the operator's definition calls its input, such as W or bias."""
    try:
        inputs = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs
    except onnx.defs.SchemaError:
        return f"in{index}"
    return inputs[index].name if index < len(inputs) else f"in{index}"
