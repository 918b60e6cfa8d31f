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
REFINED = 1e-3  # how far above a cut's price the second one looks


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Arcs by the numbers of their ends; an infinite capacity is an order that must hold.

    The sink is vertex `source + 1`. `vertex[v, j-2]` is the number of (v, j). Every cut costs `floor_s` besides its
    arcs, infinite if there is none.
    """

    tail: Ints
    head: Ints
    capacity: Floats
    floor_s: float
    source: int
    vertex: Ints


def solve_cut(problem: CutProblem, below_s: float = np.inf) -> Cut | None:
    """The cheapest positions, or None if none respects every order at less than `below_s`.

    PartitionerError if rounding went wrong. Capacities are whole numbers rounded down, so the bound is one; knowing
    `below_s` makes them finer, and where it is unknown a second cut below the first one's price refines the bound.
    """
    if not _placeable(problem).any(axis=1).all():
        return None
    rows, width = problem.seconds.shape[0], problem.seconds.shape[1] - 1
    if not width:
        at_one = np.ones(rows, dtype=np.int64)
        return Cut(position_of=at_one, bound_s=float(problem.seconds.sum()) + _shared_s(problem, at_one))
    net = network(problem)
    if net.floor_s >= below_s:
        return None
    cut = _solve(net, below_s)
    if cut is not None and below_s == np.inf:
        finer = _solve(net, cut[1] * (1 + REFINED))
        cut = cut if finer is None else finer
    return None if cut is None else cut[0]


def _solve(net: Network, below_s: float) -> tuple[Cut, float] | None:
    """The cut and its price in seconds; None if it breaks an order or costs `below_s` or more.

    No capacity need be larger than what is too much: a cut that holds such an arc costs too much.
    """
    finite = np.isfinite(net.capacity)
    above_s = below_s - net.floor_s if below_s < np.inf else 2 * float(net.capacity[finite].sum()) + 1e-9
    capacity = np.minimum(net.capacity, above_s)
    most = max(float(capacity[net.tail == net.source].sum()), float(capacity.max(initial=0.0)), 1e-12)
    scale = EXACT / most
    graph = igraph.Graph(n=net.source + 2, edges=np.stack([net.tail, net.head], axis=1), directed=True)
    flow, _, on_source, _ = igraph.GraphBase.mincut(
        graph, net.source, net.source + 1, np.floor(capacity * scale).tolist()
    )
    on_sink = np.ones(net.source + 2, dtype=np.int64)
    on_sink[np.array(on_source, dtype=np.int64)] = 0
    across = on_sink[net.tail] < on_sink[net.head]
    told, seconds = flow / scale, float(capacity[across].sum())
    if not abs(seconds - told) <= 1e-9 * seconds + (int(across.sum()) + 1) / scale:
        raise PartitionerError(f"the minimum cut of {told:.9g} s does not add up: its arcs cost {seconds:.9g} s")
    if seconds >= above_s:
        return None
    position_of: Ints = 1 + on_sink[net.vertex].sum(axis=1)
    return Cut(position_of=position_of, bound_s=net.floor_s + told), net.floor_s + seconds


def network(problem: CutProblem) -> Network:
    """The arcs of the problem's cut; those that no cut contains, or every cut, are left out."""
    rows, width = problem.seconds.shape[0], problem.seconds.shape[1] - 1
    shared, count = _reading_vertices(problem, rows * width)
    source = count + len(problem.sharing)
    vertex = _vertices(problem, source)
    cheapest = problem.seconds.min(axis=1)
    parts = [*_own_arcs(problem.seconds - cheapest[:, None], vertex, source), *_order_arcs(problem.table, vertex)]
    parts.extend(_step_arcs(problem, vertex, shared, source))
    for number, sharing in enumerate(problem.sharing):
        parts.extend(_sharing_arcs(sharing, vertex, count + number, source))
    tail, head, capacity = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    possible = (capacity > 0) & (tail != head) & (tail != source + 1) & (head != source)
    always = possible & (tail == source) & (head == source + 1)
    chosen = possible & ~always
    return Network(
        tail=tail[chosen],
        head=head[chosen],
        capacity=capacity[chosen],
        floor_s=float(cheapest.sum() + capacity[always].sum()),
        source=source,
        vertex=vertex,
    )


def _placeable(problem: CutProblem) -> Bools:
    position = np.arange(1, problem.seconds.shape[1] + 1)
    within: Bools = (problem.low[:, None] <= position) & (position <= problem.high[:, None])
    return within & np.isfinite(problem.seconds)


Part = tuple[Ints, Ints, Floats]


def _vertices(problem: CutProblem, source: int) -> Ints:
    """Number of vertex (v, j) at [v, j-2]: the source where v must stand below j, the sink where it must not."""
    rows, width = problem.seconds.shape[0], problem.seconds.shape[1] - 1
    vertex = np.arange(rows * width, dtype=np.int64).reshape(rows, width)
    boundary = np.arange(2, width + 2)
    vertex[boundary <= problem.low[:, None]] = source + 1
    vertex[boundary > problem.high[:, None]] = source
    return vertex


def _one(number: int) -> Ints:
    return np.array([number], dtype=np.int64)


def _part(tail: Ints, head: Ints, capacity: Floats | float) -> Part:
    tail, head = np.broadcast_arrays(tail, head)
    return tail.ravel(), head.ravel(), np.broadcast_to(np.float64(capacity), tail.shape).ravel()


def _own_arcs(seconds: Floats, vertex: Ints, source: int) -> Iterable[Part]:
    width = vertex.shape[1]
    yield _part(vertex[:, 0], _one(source + 1), seconds[:, 0])
    for place in range(1, width):
        yield _part(vertex[:, place], vertex[:, place - 1], seconds[:, place])
        yield _part(vertex[:, place - 1], vertex[:, place], np.inf)
    yield _part(_one(source), vertex[:, width - 1], seconds[:, width])


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


def _step_arcs(problem: CutProblem, vertex: Ints, shared: Ints, source: int) -> Iterable[Part]:
    table = problem.table
    alone = shared[table.read_tensor] < 0
    read_tensor, reader = table.read_tensor, table.reader
    several = np.flatnonzero(shared >= 0)
    for place in range(vertex.shape[1]):
        made_at = np.where(table.producer < 0, source, vertex[table.producer, place])
        step = problem.step[place + 2]
        yield _part(made_at[read_tensor[alone]], vertex[reader[alone], place], step[read_tensor[alone]])
        yield _part(made_at[several], shared[several] + place, step[several])
        yield _part(shared[read_tensor[~alone]] + place, vertex[reader[~alone], place], np.inf)


def _sharing_arcs(sharing: Sharing, vertex: Ints, own: int, source: int) -> Iterable[Part]:
    number = _one(own)
    if sharing.at_last:
        yield _part(_one(source), number, sharing.seconds)
        yield _part(number, vertex[sharing.operators, -1], np.inf)
    else:
        yield _part(number, _one(source + 1), sharing.seconds)
        yield _part(vertex[sharing.operators, 0], number, np.inf)


def _shared_s(problem: CutProblem, position_of: Ints) -> float:
    first, last = 1, problem.seconds.shape[1]
    return sum(
        one.seconds for one in problem.sharing if (position_of[one.operators] == (last if one.at_last else first)).any()
    )
