"""One s-t minimum cut: operators of a chain at positions 1…k, each at its cheapest place all told.

Vertex (v, j), for j = 2…k, ends on the sink's side exactly when operator v stands at position j or later.
An operator's own seconds are arcs along its row of vertices; infinite arcs keep rows ordered and let no
operator stand before one it reads from. A tensor's step over boundary j is an arc from its producer's vertex
to its reader's, or, with several readers, to one vertex more, from which infinite arcs lead to each reader, so
that it is charged once. It knows nothing of branching.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import igraph
import numpy as np

from partitioner.errors import PartitionerError
from partitioner.tables import Bools, Floats, GraphTable, Ints

EXACT = 2.0**51  # whole numbers up to here add and subtract without loss in a double


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sharing:
    """Seconds paid once if any of `operators` stands at the first position (or at the last, if `at_last`)."""

    operators: Ints
    seconds: float
    at_last: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutProblem:
    """`seconds[v, p-1]` of operator v at position p (infinite: not there), within `low[v]`…`high[v]`.

    `step[j, t]` is charged when tensor t is made before position j and read at j or later.
    """

    table: GraphTable
    seconds: Floats
    low: Ints
    high: Ints
    step: Floats
    sharing: tuple[Sharing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """Each operator's position, and a lower bound on the cut's seconds that rounding cannot break."""

    position_of: Ints
    bound_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Arcs:
    """Arcs by the numbers of their ends; an infinite capacity is an order that must hold."""

    tail: Ints
    head: Ints
    capacity: Floats


def solve_cut(problem: CutProblem) -> Cut | None:
    """The cheapest positions, or None if none respects every order. PartitionerError if rounding went wrong."""
    rows, width = problem.seconds.shape[0], problem.seconds.shape[1] - 1
    if not width:
        at_one = np.ones(rows, dtype=np.int64)
        return Cut(position_of=at_one, bound_s=float(problem.seconds.sum()) + _shared_s(problem, at_one))
    if not _placeable(problem).any(axis=1).all():
        return None
    arcs, floor_s, size = network(problem)
    if floor_s == np.inf:
        return None
    source, sink = size, size + 1
    whole, scale = _whole(arcs, source)
    graph = igraph.Graph(n=size + 2, edges=np.stack([arcs.tail, arcs.head], axis=1), directed=True)
    cut = graph.mincut(source, sink, capacity=whole.tolist())
    on_sink = np.ones(size + 2, dtype=np.int64)
    on_sink[cut.partition[0]] = 0
    later = on_sink[_vertices(problem)]
    position_of: Ints = 1 + later.sum(axis=1)
    if not _holds(problem, position_of):
        return None
    bound_s = floor_s + cut.value / scale
    _verify(arcs, on_sink, float(cut.value), scale)
    return Cut(position_of=position_of, bound_s=bound_s)


def network(problem: CutProblem) -> tuple[Arcs, float, int]:
    """Arcs, seconds that every cut pays besides (infinite: none is possible), and the vertices besides the ends.

    The source is vertex `size`, the sink `size + 1`. Arcs that no finite or infinite cut can contain are left out.
    """
    rows, width = problem.seconds.shape[0], problem.seconds.shape[1] - 1
    vertex = _vertices(problem)
    shared, size = _reading_vertices(problem, rows * width)
    cheapest = problem.seconds.min(axis=1)
    floor_s = float(cheapest.sum())
    parts = [*_own_arcs(problem.seconds - cheapest[:, None], vertex), *_order_arcs(problem.table, vertex)]
    parts.extend(_step_arcs(problem, vertex, shared))
    for number, sharing in enumerate(problem.sharing):
        parts.extend(_sharing_arcs(sharing, vertex, size + number))
    size += len(problem.sharing)
    tail, head, capacity = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    ends = {SOURCE: size, SINK: size + 1}
    for mark, number in ends.items():
        tail[tail == mark], head[head == mark] = number, number
    always = (tail == size) & (head == size + 1)
    floor_s += float(capacity[always].sum())
    useful = (capacity > 0) & (tail != head) & (tail != size + 1) & (head != size) & ~always
    return Arcs(tail[useful], head[useful], capacity[useful]), floor_s, size


def _placeable(problem: CutProblem) -> Bools:
    position = np.arange(1, problem.seconds.shape[1] + 1)
    within: Bools = (problem.low[:, None] <= position) & (position <= problem.high[:, None])
    return within & np.isfinite(problem.seconds)


SOURCE, SINK = -2, -1  # before the number of vertices is known; as indices they find the right entries too
Part = tuple[Ints, Ints, Floats]


def _vertices(problem: CutProblem) -> Ints:
    """Number of vertex (v, j) at [v, j-2]: the source where v must stand below j, the sink where it must not."""
    rows, width = problem.seconds.shape[0], problem.seconds.shape[1] - 1
    vertex = np.arange(rows * width, dtype=np.int64).reshape(rows, width)
    boundary = np.arange(2, width + 2)
    vertex = np.where(boundary <= problem.low[:, None], SINK, vertex)
    return np.where(boundary > problem.high[:, None], SOURCE, vertex)


def _one(number: int) -> Ints:
    return np.array([number], dtype=np.int64)


def _part(tail: Ints, head: Ints, capacity: Floats | float) -> Part:
    tail, head = np.broadcast_arrays(tail, head)
    return tail.ravel(), head.ravel(), np.broadcast_to(np.float64(capacity), tail.shape).ravel()


def _own_arcs(seconds: Floats, vertex: Ints) -> Iterable[Part]:
    width = vertex.shape[1]
    yield _part(vertex[:, 0], _one(SINK), seconds[:, 0])
    for place in range(1, width):
        yield _part(vertex[:, place], vertex[:, place - 1], seconds[:, place])
        yield _part(vertex[:, place - 1], vertex[:, place], np.inf)
    yield _part(_one(SOURCE), vertex[:, width - 1], seconds[:, width])


def _order_arcs(table: GraphTable, vertex: Ints) -> Iterable[Part]:
    producer = table.producer[table.read_tensor]
    made = producer >= 0
    yield _part(vertex[table.reader[made]], vertex[producer[made]], np.inf)


def _reading_vertices(problem: CutProblem, size: int) -> tuple[Ints, int]:
    """Number of each tensor's own first vertex, -1 for tensors with one reader, and the vertices so far."""
    width = problem.seconds.shape[1] - 1
    readers = np.bincount(problem.table.read_tensor, minlength=len(problem.table.names))
    several = np.flatnonzero((readers > 1) & (problem.step[2:].max(axis=0) > 0))
    shared = np.full(len(problem.table.names), -1, dtype=np.int64)
    shared[several] = size + width * np.arange(len(several))
    return shared, size + width * len(several)


def _step_arcs(problem: CutProblem, vertex: Ints, shared: Ints) -> Iterable[Part]:
    table = problem.table
    alone = shared[table.read_tensor] < 0
    read_tensor, reader = table.read_tensor, table.reader
    several = np.flatnonzero(shared >= 0)
    for place in range(vertex.shape[1]):
        made_at = np.where(table.producer < 0, SOURCE, vertex[table.producer, place])
        step = problem.step[place + 2]
        yield _part(made_at[read_tensor[alone]], vertex[reader[alone], place], step[read_tensor[alone]])
        yield _part(made_at[several], shared[several] + place, step[several])
        yield _part(shared[read_tensor[~alone]] + place, vertex[reader[~alone], place], np.inf)


def _sharing_arcs(sharing: Sharing, vertex: Ints, own: int) -> Iterable[Part]:
    number = _one(own)
    if sharing.at_last:
        yield _part(_one(SOURCE), number, sharing.seconds)
        yield _part(number, vertex[sharing.operators, -1], np.inf)
    else:
        yield _part(number, _one(SINK), sharing.seconds)
        yield _part(vertex[sharing.operators, 0], number, np.inf)


def _whole(arcs: Arcs, source: int) -> tuple[Floats, float]:
    """Capacities as whole numbers, rounded down, and their scale; what leaves the source adds up without loss."""
    finite = np.isfinite(arcs.capacity)
    unreachable = 2 * float(arcs.capacity[finite].sum()) + 1e-9  # above any cut of finite arcs
    capacity = np.where(finite, arcs.capacity, unreachable)
    most = max(float(capacity[arcs.tail == source].sum()), float(capacity.max(initial=0.0)), 1e-12)
    scale = EXACT / most
    return np.floor(capacity * scale), scale


def _holds(problem: CutProblem, position_of: Ints) -> bool:
    """Whether the positions respect low, high, every order and every place ruled out."""
    table = problem.table
    rows = np.arange(len(position_of))
    made = table.producer[table.read_tensor]
    ordered = position_of[table.reader] >= np.where(made < 0, 0, position_of[made])
    return bool(ordered.all() and _placeable(problem)[rows, position_of - 1].all())


def _verify(arcs: Arcs, on_sink: Ints, value: float, scale: float) -> None:
    """The cut found must cost, arc by arc in seconds, what the solver said in whole numbers."""
    across = (on_sink[arcs.tail] == 0) & (on_sink[arcs.head] == 1)
    seconds, told = float(arcs.capacity[across].sum()), value / scale
    if not abs(seconds - told) <= 1e-9 * max(seconds, told) + (int(across.sum()) + 1) / scale:
        raise PartitionerError(f"the minimum cut of {told:.9g} s does not add up: its arcs cost {seconds:.9g} s")


def _shared_s(problem: CutProblem, position_of: Ints) -> float:
    first, last = 1, problem.seconds.shape[1]
    return sum(
        one.seconds for one in problem.sharing if (position_of[one.operators] == (last if one.at_last else first)).any()
    )
