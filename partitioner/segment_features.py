"""A segment as numbers that its time on one engine depends on: its operators, its call, and where it is cut.

Engines fuse operators and lay tensors out in their own way, so a cut costs on both sides: what enters and leaves is
copied and, around convolutions, converted; an operator cut off from the convolution that took it in needs a kernel of
its own. Everything is read from the graph and the operators' seconds; nothing is fitted here (fitted.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from partitioner.errors import InvalidProblem
from partitioner.graph import DTYPE_BYTES, Activation, Graph, Operator
from partitioner.profile import EngineProfile
from partitioner.tables import Bools, Floats, GraphTable, Ints, tabulate

# Operators that lend their kernel to those that follow them, and among them those with a layout of their own.
ANCHORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
LAID_OUT = frozenset({"Conv", "ConvTranspose", "QLinearConv"})
# What each column of a row says, by group: seconds of each operator; seconds, FLOPs and number of operators of each op
# type; 1; bytes at the cuts (six sorts) and tensors at the cuts (five).
GROUPS = ("operator", "kind", "flops", "number", "call", "bytes", "ends")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """What rows of one graph on one engine are made of; `basis` makes it."""

    table: GraphTable
    operator_s: Floats
    call_s: float
    flops: Floats  # of each operator
    kind: Ints  # of each operator, among the graph's op types
    anchor: Bools
    laid_out: Bools
    is_output: Bools  # of each tensor
    reads: Ints  # of each tensor, by all operators
    group: Ints  # of each column, among GROUPS

    def additive_s(self, members: Ints) -> float:
        """The call's seconds plus the operators'."""
        return self.call_s + float(self.operator_s[members].sum())

    def row(self, members: Ints) -> Floats:
        """The columns of the segment with these operators, by index. A convex segment is meant, but not demanded."""
        count = len(self.operator_s)
        inside = np.zeros(count, dtype=np.bool_)
        inside[members] = True
        own_s = np.where(inside, self.operator_s, 0.0)
        by_kind = [np.bincount(self.kind, each) for each in (own_s, np.where(inside, self.flops, 0.0), inside)]
        return np.concatenate([own_s, *by_kind, (1.0,), *self._cuts(inside)])

    def _cuts(self, inside: Bools) -> tuple[Floats, Floats]:
        """Bytes and tensors that enter and leave; of them those that convert, and those where a fusion is lost."""
        table = self.table
        entering, leaving = self.ends(inside)
        made = np.where(table.producer < 0, 0, table.producer)
        by_other = self._reads(inside & ~self.anchor) > 0
        cut_off = entering & (table.producer >= 0) & by_other
        cut_short = leaving & self.anchor[made]
        converts = float((inside & self.laid_out).any())
        raw = table.raw_bytes
        into, out = float(raw[entering].sum()), float(raw[leaving].sum())
        nbytes = (into, out, into * converts, out * converts, raw[cut_off].sum(), raw[cut_short].sum())
        tensors = (entering.sum(), leaving.sum(), cut_off.sum(), cut_short.sum(), converts)
        return np.array(nbytes, dtype=np.float64), np.array(tensors, dtype=np.float64)

    def ends(self, inside: Bools) -> tuple[Bools, Bools]:
        """Which tensors enter the segment, and which leave it."""
        made = inside[self.table.producer] & (self.table.producer >= 0)
        read = self._reads(inside)
        return ~made & (read > 0), made & (self.is_output | (read < self.reads))

    def _reads(self, inside: Bools) -> Floats:
        by = inside[self.table.reader].astype(np.float64)
        return np.bincount(self.table.read_tensor, by, minlength=len(self.table.names)).astype(np.float64)


def basis(graph: Graph, engine: EngineProfile) -> Basis:
    """What rows are made of, from the operators' first seconds. InvalidProblem if one has none on this engine."""
    seconds = engine.first_s or engine.operator_s
    missing = [operator.name for operator in graph.operators if operator.name not in seconds]
    if missing or not graph.operators:
        told = f"operator {missing[0]!r} has no time" if missing else "no operators"
        raise InvalidProblem(f"{graph.name}: {told} on this engine, so no segment's time can be told from them")
    table = tabulate(graph)
    types = [operator.op_type for operator in graph.operators]
    number = {op_type: i for i, op_type in enumerate(dict.fromkeys(types))}
    is_output = np.zeros(len(table.names), dtype=np.bool_)
    is_output[table.outputs] = True
    sizes = (len(types), len(number), len(number), len(number), 1, 6, 5)
    return Basis(
        table=table,
        operator_s=np.array([seconds[operator.name] for operator in graph.operators]),
        call_s=engine.call_s,
        flops=np.array([flops_of(graph, operator) for operator in graph.operators]),
        kind=np.array([number[op_type] for op_type in types], dtype=np.int64),
        anchor=np.array([op_type in ANCHORS for op_type in types]),
        laid_out=np.array([op_type in LAID_OUT for op_type in types]),
        is_output=is_output,
        reads=np.bincount(table.read_tensor, minlength=len(table.names)),
        group=np.repeat(np.arange(len(GROUPS)), sizes),
    )


def flops_of(graph: Graph, operator: Operator) -> float:
    """Floating-point operations of a convolution or matrix product, by the shapes of what it makes and its weights.

    Two for each weight at each place where it is used; 0 for all other operators.
    """
    if operator.op_type not in ANCHORS:
        return 0.0
    made = graph.activations[operator.outputs[0]]
    read = graph.activations[operator.inputs[0]] if operator.inputs else made
    weights = sum(graph.weights_bytes[name] for name in operator.weights) / DTYPE_BYTES[made.dtype]
    if operator.op_type == "ConvTranspose":
        return 2 * prod(read.shape) * weights / max(_dim(read, 1), 1)
    if operator.op_type in LAID_OUT:
        return 2 * prod(made.shape) * weights / max(_dim(made, 1), 1)
    if not weights:
        return 2.0 * prod(made.shape) * _dim(read, -1)
    return 2 * prod(made.shape) * weights / max(_dim(made, -1), 1)


def _dim(activation: Activation, axis: int) -> int:
    return activation.shape[axis] if len(activation.shape) > max(axis, 0) else 1


def ends_of(graph: Graph, members: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the tensors that these operators read from outside and give to it, in the graph's order."""
    inside, outputs = set(members), set(graph.outputs)
    entering, leaving = [], []
    for one in graph.activations.values():
        read = [reader in inside for reader in one.consumers]
        if one.producer in inside:
            if one.name in outputs or not all(read):
                leaving.append(one.name)
        elif any(read):
            entering.append(one.name)
    return tuple(entering), tuple(leaving)
