"""Every optimal plan over a range of one link's goodput, so that planning again is looking up.

For a fixed placement and fixed codecs latency is a + b·x, where x is the inverse of the goodput and b the bytes that
cross the link; the optimum over all plans is the lower envelope of such lines, concave in x. Its corners are found
by Eisner's and Severance's recursion: between two optimal lines, ask for the optimum where they cross; if it lies on
both, that is a corner, else it splits the question in two. 2k + 1 minimum cuts for k plans. (Eisner, Severance:
Mathematical techniques for efficient record segmentation in large shared databases, 1976.)

Exact under the additive model, for one link, every tensor under its cheapest admissible codec, no load (atlas_grid.py
has RTT and load as well). A message's path may change with the goodput; between two such changes latency is linear, so
each stretch is an envelope by itself.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import inf

import networkx as nx

from partitioner.cost import without_segments
from partitioner.errors import InvalidProblem
from partitioner.plan import Infeasible, Plan, Stage
from partitioner.problem import Problem
from partitioner.repricing import repriced
from partitioner.search.mincut import solve
from partitioner.tables import Prices, price_list
from partitioner.topology import ROUTING_BYTES, Link, NodeId, Topology

CLOSE = 1e-9  # relative; lines that differ by less are one
INSET = 1e-7  # relative; how far within a stretch its ends are asked about


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasEntry:
    """A plan that is optimal from this goodput up to the next entry's; `fixed_s + link_bytes / goodput` is its latency.

    `plan` is priced at the lowest goodput of its stretch, with the certificate of a question asked within it.
    """

    from_bytes_per_s: float
    plan: Plan
    fixed_s: float
    link_bytes: float

    def latency_s(self, bytes_per_s: float) -> float:
        """Seconds of one request at this goodput, under the additive model."""
        return self.fixed_s + self.link_bytes / bytes_per_s


@dataclass(frozen=True)
class Atlas:
    """Entries by ascending goodput of the link between `ends`, for `low`…`high` bytes/s; `cuts`: plans asked for.

    `gap` is the largest relative gap of any answer that the map was drawn from; 0 if every one was proven optimal.
    """

    ends: tuple[NodeId, NodeId]
    low: float
    high: float
    entries: tuple[AtlasEntry, ...]
    cuts: int
    gap: float

    @cached_property
    def _starts(self) -> list[float]:
        return [entry.from_bytes_per_s for entry in self.entries]

    def at(self, bytes_per_s: float) -> AtlasEntry:
        """The optimal entry at a goodput; InvalidProblem outside the range."""
        if not self.low <= bytes_per_s <= self.high:
            raise InvalidProblem(
                f"the atlas holds goodputs of {self.low * 8e-6:g} to {self.high * 8e-6:g} Mbps, not "
                f"{bytes_per_s * 8e-6:g}; make one with a wider range"
            )
        return self.entries[max(bisect_right(self._starts, bytes_per_s) - 1, 0)]

    def shared_stages(self, entry: AtlasEntry) -> dict[float, tuple[Stage, ...]]:
        """Stages of an entry that its neighbours, by their `from_bytes_per_s`, run just so: they may stay loaded."""
        at = self.entries.index(entry)
        near = (*self.entries[max(at - 1, 0) : at], *self.entries[at + 1 : at + 2])
        return {
            other.from_bytes_per_s: tuple(
                stage for stage in entry.plan.stages if any(_same(stage, one) for one in other.plan.stages)
            )
            for other in near
        }


def _same(one: Stage, other: Stage) -> bool:
    keys = [(stage.node, stage.backend, stage.precision, stage.operators, stage.outputs) for stage in (one, other)]
    return keys[0] == keys[1]


def atlas(problem: Problem, ends: tuple[NodeId, NodeId], low: float, high: float) -> Atlas | Infeasible:
    """The optimal plans for goodputs of `low` to `high` bytes/s on the link between two nodes.

    InvalidProblem for a link that is not there or a range that is none.
    """
    checked_range(low, high)
    survey = Survey(problem, ends)
    corners = sorted({1 / high, 1 / low, *(x for x in survey.turns() if 1 / high < x < 1 / low)})
    found: list[Point] = []
    for first, last in pairwise(corners) if len(corners) > 1 else [(corners[0],) * 2]:
        stretch = survey.stretch(first, last)
        if isinstance(stretch, Infeasible):
            return stretch
        found.extend(stretch)
    entries = tuple(_entries(survey, found))
    return Atlas(ends=ends, low=low, high=high, entries=entries, cuts=survey.cuts, gap=survey.gap)


def checked_range(low: float, high: float) -> None:
    """InvalidProblem unless these are goodputs in bytes/s, ascending."""
    if not 0 < low <= high < inf:
        raise InvalidProblem(f"an atlas wants a range of goodputs above 0, not {low:g} to {high:g} bytes/s")


def _askable(problem: Problem) -> Problem:
    if problem.objective != "latency" or not problem.limits.none:
        raise InvalidProblem("an atlas holds latency without limits; ask for another objective or limit without it")
    if problem.parallel or not problem.forward_only:
        raise InvalidProblem("an atlas holds plans that run stage after stage up the tiers; ask for others without it")
    return problem


def link_between(topology: Topology, ends: tuple[NodeId, NodeId]) -> Link:
    """The link between two nodes; InvalidProblem if there is none."""
    link = next((one for one in topology.links if (one.source, one.target) == ends), None)
    if link is None:
        there = ", ".join(f"{one.source} → {one.target}" for one in topology.links) or "none"
        raise InvalidProblem(f"no link {ends[0]} → {ends[1]} in the topology; there is {there}")
    return link


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A plan that was found optimal at x, with its line; `to_x` is where the next one takes over.

    `messages` counts how often a request uses the link or its way back, so pays their propagation; `fixed_s` has it in.
    """

    x: float
    plan: Plan
    fixed_s: float
    slope: float
    messages: int = 0
    to_x: float = inf

    def at(self, x: float) -> float:
        """Seconds of one request where the link's goodput is 1/x."""
        return self.fixed_s + self.slope * x

    def is_line_of(self, other: "Point") -> bool:
        """Whether both plans take as long as each other at any x, up to rounding."""
        same_slope = abs(self.slope - other.slope) <= CLOSE * max(self.slope, other.slope, 1.0)
        return same_slope and abs(self.fixed_s - other.fixed_s) <= CLOSE * max(self.fixed_s, other.fixed_s)


class Survey:
    """Asks for optimal plans at one value of x after another; counts how often, and how far any was from proven.

    Under the additive model. InvalidProblem for a link that is not there, and for what a line can't express.
    """

    def __init__(self, problem: Problem, ends: tuple[NodeId, NodeId]) -> None:
        self._problem, self._link = _askable(without_segments(problem)), link_between(problem.topology, ends)
        self._prices: tuple[tuple[float, float | None], Prices] | None = None
        self.cuts = 0
        self.gap = 0.0

    def posed(self, x: float, one_way_s: float | None = None) -> Problem:
        """The problem where the link's goodput is 1/x and, if given, `one_way_s` the propagation there and back."""
        link = replace(self._link, bytes_per_s=1 / x)
        if one_way_s is None:
            return replace(self._problem, topology=self._problem.topology.with_links([link]))
        opposite = (link.target, link.source)
        back = [one for one in self._problem.topology.links if (one.source, one.target) == opposite]
        late = [replace(one, propagation_s=one_way_s) for one in (link, *back)]
        return replace(self._problem, topology=self._problem.topology.with_links(late))

    def turns(self) -> Iterator[float]:
        """Where a path between two nodes takes up the link, or leaves it."""
        graph: nx.DiGraph[NodeId] = nx.DiGraph()
        graph.add_nodes_from(node.name for node in self._problem.topology.nodes)
        for link in self._problem.topology.links:
            if link != self._link:
                graph.add_edge(link.source, link.target, weight=link.transfer_s(ROUTING_BYTES))
        far: Mapping[NodeId, Mapping[NodeId, float]] = dict(nx.all_pairs_dijkstra_path_length(graph))
        for source in graph:
            for target in graph:
                way_s = far[source].get(self._link.source, inf) + far[self._link.target].get(target, inf)
                spare_s = far[source].get(target, inf) - way_s - self._link.propagation_s
                if 0 < spare_s < inf:
                    yield spare_s / ROUTING_BYTES

    def stretch(self, first: float, last: float) -> "list[Point] | Infeasible":
        """The envelope's lines between two turns, by ascending x."""
        inset = INSET * (last - first)
        left = self.ask(first + inset)
        right = self.ask(last - inset) if last > first else left
        if isinstance(left, Infeasible):
            return left
        if isinstance(right, Infeasible):
            return right
        points = [*self._between(left, right), right]
        return [*points[:-1], replace(points[-1], to_x=last)]

    def _between(self, left: Point, right: Point) -> list[Point]:
        """The lines from `left` up to, and without, `right`'s, each with where it ends."""
        if left.is_line_of(right):
            return []
        x = (right.fixed_s - left.fixed_s) / (left.slope - right.slope) if left.slope > right.slope else inf
        if not left.x < x < right.x:  # as good as each other to rounding
            return [replace(left, to_x=min(max(x, left.x), right.x))]
        middle = self.ask(x)
        if isinstance(middle, Infeasible) or middle.at(x) >= left.at(x) * (1 - CLOSE):
            return [replace(left, to_x=x)]
        return [*self._between(left, middle), *self._between(middle, right)]

    def ask(self, x: float, one_way_s: float | None = None) -> "Point | Infeasible":
        """The optimal plan there, with its line in x."""
        self.cuts += 1
        posed = self.posed(x, one_way_s)
        plan = solve(posed)
        if isinstance(plan, Infeasible):
            self.gap = 1.0  # of no use where it is a corner that was asked about: nothing is proven there
            return plan
        self.gap = max(self.gap, 0.0 if plan.certificate is None else plan.certificate.gap)
        return self.line_of(plan, x, posed)

    def line_of(self, plan: Plan, x: float, posed: Problem) -> Point:
        """A plan of the problem posed at x, with its line."""
        slope, messages = 0, 0
        ends = (self._link.source, self._link.target)
        for crossing in plan.crossings:
            path = posed.topology.path(crossing.source, crossing.target)
            used = [] if path is None else [(link.source, link.target) for link in path.links]
            slope += crossing.nbytes if ends in used else 0
            messages += (ends in used) + (ends[::-1] in used)
        fixed_s = plan.predicted.latency_s - slope * x
        return Point(x=x, plan=plan, fixed_s=fixed_s, slope=float(slope), messages=messages)

    def priced(self, plan: Plan, x: float, one_way_s: float | None = None) -> Plan:
        """The same plan where the link's goodput is 1/x."""
        return repriced(self.prices(x, one_way_s), plan)

    def prices(self, x: float, one_way_s: float | None = None) -> Prices:
        """The posed problem's prices; the last ones are kept, as many plans are asked about at one place."""
        if self._prices is None or self._prices[0] != (x, one_way_s):
            self._prices = (x, one_way_s), price_list(self.posed(x, one_way_s))
        return self._prices[1]


def _entries(survey: Survey, points: Sequence[Point]) -> Iterator[AtlasEntry]:
    """By ascending goodput; neighbours with the same line are one."""
    merged: list[Point] = []
    for point in points:
        if merged and merged[-1].is_line_of(point):
            merged[-1] = replace(merged[-1], to_x=point.to_x)
        else:
            merged.append(point)
    for point in reversed(merged):
        yield AtlasEntry(
            from_bytes_per_s=1 / point.to_x,
            plan=survey.priced(point.plan, point.to_x * (1 - INSET)),
            fixed_s=point.fixed_s,
            link_bytes=point.slope,
        )
