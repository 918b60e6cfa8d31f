"""Which stages may feed which: every shape that a plan with side-by-side stages can take, each with a bound.

A pattern is a row of sites, a stage on each, and the pairs of stages of which the one reads what the other makes. A
plan has exactly one pattern, so that patterns can be searched one by one. It solves nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product

import numpy as np

from partitioner.cost import call_s
from partitioner.problem import Problem, Site
from partitioner.search.chains import ends, keep_to_nodes
from partitioner.search.reach import reads_of
from partitioner.tables import Floats, Prices
from partitioner.topology import NodeId

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pattern:
    """Stages in the order in which nodes run them; positions count from 0.

    `seconds[i, p]` of operator i in stage p, infinite where it may not be. No plan of the pattern takes less than
    `bound_s`. `width`: at most so many stages are side by side, none of them before another.
    """

    sites: tuple[Site, ...]
    pairs: tuple[Pair, ...]
    seconds: Floats
    width: int
    bound_s: float


def patterns_of(prices: Prices, most_stages: int, stages_per_site: int) -> Iterator[Pattern]:
    """Every pattern of up to `most_stages` stages that the graph's ends and parts, links and tiers allow."""
    sites = sorted(prices.problem.sites, key=lambda site: _rank(prices.problem, site))
    roots, sinks = (len(some) for some in ends(prices.table, len(prices.problem.graph.operators)))
    parts = _parts(len(prices.problem.graph.operators), _operator_pairs(prices))
    paths = _Paths(prices)
    for size in range(1, most_stages + 1):
        for row in product(range(len(sites)), repeat=size):
            if max(row.count(one) for one in row) > stages_per_site:
                continue
            chosen = tuple(sites[one] for one in row)
            seconds = paths.seconds(chosen)
            if not np.isfinite(seconds).any(axis=1).all():
                continue
            for pairs in _shapes(prices.problem, chosen, row, free_order=stages_per_site > 1):
                before, after = {j for _, j in pairs}, {i for i, _ in pairs}
                if size - len(before) > roots or size - len(after) > sinks or _parts(size, pairs) > parts:
                    continue
                width = _width(size, pairs)
                bound_s = paths.bound_s(chosen, seconds, width)
                yield Pattern(sites=chosen, pairs=pairs, seconds=seconds, width=width, bound_s=bound_s)


def _rank(problem: Problem, site: Site) -> tuple[int, Site]:
    return (int(problem.topology.node(site.node).tier), site)  # as form_stages orders them


def _shapes(
    problem: Problem, sites: tuple[Site, ...], row: tuple[int, ...], *, free_order: bool
) -> Iterator[tuple[Pair, ...]]:
    """Sets of pairs for which this row is the one order to name; the nodes' own order counts if it is free."""
    linked = [(i, j) for i, j in combinations(range(len(sites)), 2) if _may_feed(problem, sites[i], sites[j])]
    own = [(i, j) for i, j in combinations(range(len(sites)), 2) if free_order and sites[i].node == sites[j].node]
    for taken in product((False, True), repeat=len(linked)):
        pairs = tuple(pair for pair, one in zip(linked, taken, strict=True) if one)
        if _is_smallest(row, {*pairs, *own}):
            yield pairs


def _may_feed(problem: Problem, source: Site, target: Site) -> bool:
    topology = problem.topology
    down = topology.node(source.node).tier > topology.node(target.node).tier
    return not (down and problem.forward_only) and topology.path(source.node, target.node) is not None


def _is_smallest(row: tuple[int, ...], pairs: set[Pair]) -> bool:
    """Whether no stage could stand before one of a later site: stages.form_stages takes the smallest that is ready."""
    for q in range(len(row)):
        for p in range(q):
            if row[q] < row[p] and not any((i, q) in pairs for i in range(p, q)):
                return False
    return True


def _parts(count: int, pairs: Sequence[Pair]) -> int:
    """How many parts hang together, whichever way the pairs point."""
    part = list(range(count))
    for i, j in pairs:
        a, b = part[i], part[j]
        if a != b:
            part = [a if one == b else one for one in part]
    return len(set(part))


def _operator_pairs(prices: Prices) -> list[Pair]:
    table = prices.table
    made = table.producer[table.read_tensor]
    index = {operator.name: i for i, operator in enumerate(prices.problem.graph.operators)}
    tied = [(index[a], index[b]) for group in prices.problem.together for a, b in pairwise(group)]
    return [*zip(made[made >= 0].tolist(), table.reader[made >= 0].tolist(), strict=True), *tied]


def _width(count: int, pairs: tuple[Pair, ...]) -> int:
    before = np.eye(count, dtype=bool)
    for i, j in sorted(pairs, key=lambda pair: pair[1]):
        before[:, j] |= before[:, i]
    for size in range(count, 1, -1):
        for some in combinations(range(count), size):
            if not any(before[i, j] for i, j in combinations(some, 2)):
                return size
    return 1


class _Paths:
    """Bounds that need no search: the longest path through the graph, and all work spread over the width."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._longest: dict[frozenset[Site], float] = {}
        self._seconds: dict[Site, Floats] = {}
        self._reads = _reads(prices)
        self._all_count = reads_of(prices.table, len(self._reads)).all_count

    def seconds(self, sites: tuple[Site, ...]) -> Floats:
        """Each operator's seconds in each stage, infinite where it may not be."""
        return np.stack([self._of(site) for site in sites], axis=1)

    def bound_s(self, sites: tuple[Site, ...], seconds: Floats, width: int) -> float:
        """No plan over these stages takes less."""
        key = frozenset(sites)
        if key not in self._longest:
            self._longest[key] = self._path_s(seconds.min(axis=1))
        if not self._all_count:  # what leads to no output may go on after the answer
            return self._longest[key]
        calls_s = sum(call_s(self._prices.problem, site) for site in sites)
        return max(self._longest[key], (float(seconds.min(axis=1).sum()) + calls_s) / width)

    def _path_s(self, least_s: Floats) -> float:
        done = least_s.tolist()
        for i, made in enumerate(self._reads):
            done[i] += max((done[one] for one in made), default=0.0)
        outputs = self._prices.table.producer[self._prices.table.outputs].tolist()
        return max((done[i] for i in outputs), default=0.0)

    def _of(self, site: Site) -> Floats:
        if site not in self._seconds:
            seconds = self._prices.operator_s[site].copy()[:, None]
            keep_to_nodes(self._prices.problem, (site,), seconds)
            _keep_reachable(self._prices, site.node, seconds[:, 0])
            self._seconds[site] = seconds[:, 0]
        return self._seconds[site]


def _reads(prices: Prices) -> list[list[int]]:
    reads: list[list[int]] = [[] for _ in prices.problem.graph.operators]
    for maker, reader in zip(
        prices.table.producer[prices.table.read_tensor].tolist(), prices.table.reader.tolist(), strict=True
    ):
        if maker >= 0:
            reads[reader].append(maker)
    return reads


def _keep_reachable(prices: Prices, node: NodeId, seconds: Floats) -> None:
    """Rule the node out for what reads an input that has no way there, and for outputs that have no way back."""
    problem, table = prices.problem, prices.table
    given = table.producer[table.read_tensor] < 0
    if problem.topology.path(problem.source, node) is None:
        seconds[table.reader[given]] = np.inf
    for tensor in table.outputs.tolist():
        if problem.topology.path(node, problem.outputs_to[table.names[tensor]]) is None:
            seconds[table.producer[tensor]] = np.inf
