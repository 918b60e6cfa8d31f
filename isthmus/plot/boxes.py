"""A stage's operators as the boxes a picture has room for: straight runs and, if need be, whole spans become one.

Branches stay, and so do the operators at the cuts. "in" and "out" are boxes without operators: the ends of what
comes from and goes to other stages. It places nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from partitioner.graph import Graph
from partitioner.plan import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Operators drawn as one, by index; none for the ends of a stage. `at_cut`: it sends to or reads from elsewhere."""

    operators: tuple[int, ...]
    at_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Boxes in an order that reads before it makes, and which sends to which: pairs of indices, ascending."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, int], ...]
    has_in: bool
    has_out: bool

    @property
    def reads(self) -> dict[int, list[int]]:
        """For each box, those it reads."""
        reads: dict[int, list[int]] = {i: [] for i in range(len(self.boxes))}
        for sender, reader in self.edges:
            reads[reader].append(sender)
        return reads


def boxes_of(graph: Graph, stage: Stage, *, runs: bool) -> Boxes:
    """One box per operator or, with `runs`, per straight run of them. KeyError if the stage isn't of this graph."""
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    members = sorted(index[name] for name in stage.operators)
    readers, reads = _wiring(graph, members)
    given, made = set(stage.inputs), set(stage.outputs)
    at_cut = {
        i
        for i in members
        if given.intersection(graph.operators[i].inputs) or made.intersection(graph.operators[i].outputs)
    }
    groups: list[list[int]] = []
    last_of: dict[int, list[int]] = {}
    for i in members:
        before = reads[i][0] if len(reads[i]) == 1 else None
        if runs and before is not None and len(readers[before]) == 1 and not at_cut & {i, before}:
            last_of[i] = last_of.pop(before)
            last_of[i].append(i)
        else:
            last_of[i] = [i]
            groups.append(last_of[i])
    return _joined(graph, stage, [Box(operators=tuple(one), at_cut=one[0] in at_cut) for one in groups])


def spans_of(graph: Graph, stage: Stage, drawn: Boxes, columns: Sequence[int], width: int) -> Boxes:
    """Coarser yet: all boxes of `width` neighbouring columns as one, but for those at the cuts."""
    inner = [i for i, box in enumerate(drawn.boxes) if box.operators]
    cuts = sorted(columns[i] for i in inner if drawn.boxes[i].at_cut)

    def span(i: int) -> tuple[int, int]:  # a span ends before a cut's column, lest an edge lead back into it
        return bisect_left(cuts, columns[i]) + bisect_right(cuts, columns[i]), columns[i] // width

    found: list[tuple[int, Box]] = [(columns[i], drawn.boxes[i]) for i in inner if drawn.boxes[i].at_cut]
    for _, some in groupby(sorted((i for i in inner if not drawn.boxes[i].at_cut), key=span), key=span):
        held = list(some)
        operators = sorted(one for i in held for one in drawn.boxes[i].operators)
        found.append((min(columns[i] for i in held), Box(operators=tuple(operators))))
    return _joined(graph, stage, [box for _, box in sorted(found, key=lambda one: (one[0], one[1].operators))])


def _wiring(graph: Graph, members: Sequence[int]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Who reads each operator's tensors within the stage, and whose tensors each reads; ascending, each once."""
    inside = set(members)
    readers: dict[int, list[int]] = {i: [] for i in members}
    reads: dict[int, list[int]] = {i: [] for i in members}
    for i in members:
        producers = {graph.activations[name].producer for name in graph.operators[i].inputs}
        for producer in sorted(one for one in producers if one is not None and one in inside):
            readers[producer].append(i)
            reads[i].append(producer)
    return readers, reads


def _joined(graph: Graph, stage: Stage, boxes: Sequence[Box]) -> Boxes:
    """The boxes with the stage's ends, and the edges between; an edge that would lead backwards is left out."""
    has_in, has_out = bool(stage.inputs), bool(stage.outputs)
    ends = Box(operators=())
    every = (*([ends] if has_in else []), *boxes, *([ends] if has_out else []))
    home = {one: i for i, box in enumerate(every) for one in box.operators}
    given, made, last = set(stage.inputs), set(stage.outputs), len(every) - 1
    edges: set[tuple[int, int]] = set()
    for operator, i in home.items():
        for name in graph.operators[operator].inputs:
            producer = graph.activations[name].producer
            if producer is not None and producer in home:
                edges.add((home[producer], i))
            elif has_in and name in given:
                edges.add((0, i))
        if has_out and made.intersection(graph.operators[operator].outputs):
            edges.add((i, last))
    return Boxes(
        boxes=every, edges=tuple(sorted(pair for pair in edges if pair[0] < pair[1])), has_in=has_in, has_out=has_out
    )
