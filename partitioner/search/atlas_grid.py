"""Every optimal plan over ranges of one link's goodput and RTT, and good ones under load: planning again is looking up.

Without load: exact everywhere between the smallest and the largest of each, not at grid points alone. Latency of a
fixed plan is a + b·x + m·d, where x is the inverse of the goodput, b the bytes over the link, d half the RTT and m the
messages over the link or back; so the optimum is the lower envelope of planes, concave in (x, d). If at every corner
of the envelope of the plans known a minimum cut finds nothing lower, then nothing lower is anywhere; else what it finds
joins them (atlas.py's recursion, with corners in a plane instead of on a line). Ways that messages take may change with
x and d; each region of the same ways (ways.py) is an envelope by itself.

Under load: the plans known are judged at look-up by queueing.py, exact in its model at any goodput, RTT and arrivals.
Which plans are known is not exact: all those above, and those that underload.py finds at the RTTs and loads named, at
the ends of the goodputs. The bound told is the optimum without load, which no load makes faster.

Under the additive model, for one link, of which the RTT counts both ways and the goodput one; every tensor under its
cheapest admissible codec where its plan was found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from partitioner.errors import InvalidProblem
from partitioner.plan import Infeasible, Plan, Stage
from partitioner.problem import Problem
from partitioner.queueing import stations
from partitioner.repricing import placement
from partitioner.search.atlas import CLOSE, INSET, Point, Survey, checked_range, link_between
from partitioner.search.envelope import Corner, Envelope, Plane, centre
from partitioner.search.underload import found_under_load
from partitioner.search.ways import Choice, Scale, Ways
from partitioner.topology import NodeId

SAME = 9  # decimals, of a range's width, within which two corners are one
GOODPUTS = 2  # at how many goodputs plans are sought under each load, the ends of the range included
ROUNDS = 2  # how often, at each of them
WITHIN = 0.01  # unless those known are this near to the bound, relatively


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEntry:
    """What stands at one goodput, RTT and load: `plan` is `AtlasGrid.plans[number]`, priced elsewhere.

    `latency_s` is its latency here, waits included; infinite if no plan known keeps up, and the plan then the one that
    lacks least. No plan, known or not, takes less than `lower_bound_s`; without load it is the latency itself.
    """

    number: int
    plan: Plan
    latency_s: float
    lower_bound_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStage:
    """A stage that some of the plans run just so, by their numbers: held once it serves them all."""

    stage: Stage
    plans: tuple[int, ...]

    @property
    def weights_bytes(self) -> int:
        """What holding it takes."""
        return self.stage.weights_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A plan's figures where messages take the same ways.

    `met` holds each resource's busy_s, light_s2 and heavy_s2 (`queueing.Station`); `link` those of the varying link at
    one byte/s, where seconds grow with x and squared seconds with x².
    """

    fixed_s: float
    link_bytes: float
    messages: float
    link: tuple[float, float, float]
    met: tuple[tuple[float, float, float], ...]

    def alone_s(self, x: float, one_way_s: float) -> float:
        """Latency without load."""
        return self.fixed_s + self.link_bytes * x + self.messages * one_way_s

    def wait_s(self, x: float, arrivals_per_s: float) -> float:
        """What load adds, as `queueing.wait_s` has it; infinite where a resource is saturated."""
        busy, light, heavy = self.link
        longest = 0.0
        for busy_s, light_s2, heavy_s2 in ((busy * x, light * x * x, heavy * x * x), *self.met):
            load = arrivals_per_s * busy_s
            if load >= 1:
                return inf
            longest = max(longest, light_s2 + heavy_s2 * load / (1 - load))
        return longest * arrivals_per_s

    def busiest_s(self, x: float) -> float:
        """Seconds per request of the busiest resource."""
        return max((self.link[0] * x, *(busy_s for busy_s, _, _ in self.met)))


@dataclass(frozen=True, kw_only=True)
class AtlasGrid:
    """Plans for goodputs of `low`…`high` bytes/s and the RTTs between those of `rtts_s`, of the link between `ends`.

    The first `exact` of the plans are each optimal somewhere without load; `cuts` were asked for, and `gap` is the
    largest relative gap of any answer: 0 if every one was proven. Plans are priced at the centre of the ranges.
    """

    ends: tuple[NodeId, NodeId]
    low: float
    high: float
    rtts_s: tuple[float, ...]
    arrivals_per_s: tuple[float, ...]
    plans: tuple[Plan, ...]
    exact: int
    cuts: int
    gap: float
    _ways: Ways
    _regions: Mapping[Choice, tuple[_Row, ...]]

    def at(self, bytes_per_s: float, rtt_s: float, arrivals_per_s: float = 0.0) -> GridEntry:
        """The best plan known there; InvalidProblem outside the ranges."""
        self._check(bytes_per_s, rtt_s, arrivals_per_s)
        x, one_way_s = 1 / bytes_per_s, rtt_s / 2
        rows = self._rows(x, one_way_s)
        alone_s = [row.alone_s(x, one_way_s) for row in rows]
        lower_s = min(alone_s)
        number, best_s = alone_s.index(lower_s), lower_s
        if arrivals_per_s:
            number, best_s = _best_loaded(rows, alone_s, x, arrivals_per_s)
        bound_s = lower_s * (1 - self.gap)
        return GridEntry(number=number, plan=self.plans[number], latency_s=best_s, lower_bound_s=bound_s)

    def stages(self) -> tuple[SharedStage, ...]:
        """Each distinct stage of all plans, by the first that runs it: hold them, and no switch loads anything."""
        used: dict[object, tuple[Stage, list[int]]] = {}
        for number, plan in enumerate(self.plans):
            for stage in plan.stages:
                key = (stage.node, stage.backend, stage.precision, stage.operators, stage.outputs)
                used.setdefault(key, (stage, []))[1].append(number)
        return tuple(SharedStage(stage=stage, plans=tuple(plans)) for stage, plans in used.values())

    def _rows(self, x: float, one_way_s: float) -> Sequence[_Row]:
        if len(self._regions) == 1:
            return next(iter(self._regions.values()))
        choice = self._ways.choice(x, one_way_s)
        if choice not in self._regions:  # on a border, where rounding may mix the choices of both sides
            choice = min(self._regions, key=lambda known: sum(a != b for a, b in zip(known, choice, strict=True)))
        return self._regions[choice]

    def _check(self, bytes_per_s: float, rtt_s: float, arrivals_per_s: float) -> None:
        low_s, high_s, most = self.rtts_s[0], self.rtts_s[-1], self.arrivals_per_s[-1]
        if not (self.low <= bytes_per_s <= self.high and low_s <= rtt_s <= high_s and 0 <= arrivals_per_s <= most):
            raise InvalidProblem(
                f"the atlas holds {self.low * 8e-6:g} to {self.high * 8e-6:g} Mbps, RTTs of {low_s * 1e3:g} to "
                f"{high_s * 1e3:g} ms and up to {most:g} requests/s, not {bytes_per_s * 8e-6:g} Mbps, "
                f"{rtt_s * 1e3:g} ms and {arrivals_per_s:g} requests/s; make one with wider ranges"
            )


def grid(
    problem: Problem,
    ends: tuple[NodeId, NodeId],
    low: float,
    high: float,
    *,
    rtts_s: Sequence[float],
    arrivals_per_s: Sequence[float] = (0.0,),
) -> AtlasGrid | Infeasible:
    """Plans for goodputs of `low` to `high` bytes/s and RTTs between those named, of the link between two nodes.

    Under each load named, plans are sought at each RTT named. InvalidProblem for a link that is not there, for a range
    that is none, and for what an atlas can't hold (other objectives, limits, plans that come back down).
    """
    checked_range(low, high)
    rtts, loads = _ascending("RTTs in seconds", rtts_s), _ascending("arrivals per second", arrivals_per_s)
    drawing = _Drawing(problem, ends, (1 / high, 1 / low), (rtts[0] / 2, rtts[-1] / 2))
    refused = drawing.exact()
    if refused is not None:
        return refused
    exact = len(drawing.plans)
    drawing.under_load(rtts, [one for one in loads if one])
    regions = drawing.figures()
    return AtlasGrid(
        ends=ends,
        low=low,
        high=high,
        rtts_s=rtts,
        arrivals_per_s=loads,
        plans=tuple(drawing.survey.priced(plan, *drawing.middle) for plan in drawing.plans.values()),
        exact=exact,
        cuts=drawing.survey.cuts,
        gap=drawing.survey.gap,
        _ways=drawing.ways,
        _regions=regions,
    )


def _best_loaded(rows: Sequence[_Row], alone_s: Sequence[float], x: float, arrivals_per_s: float) -> tuple[int, float]:
    """The plan's number and its latency; the one whose busiest resource is least busy if all are saturated."""
    number, best_s = -1, inf
    for i, row in enumerate(rows):
        if alone_s[i] < best_s:
            loaded_s = alone_s[i] + row.wait_s(x, arrivals_per_s)
            if loaded_s < best_s:
                number, best_s = i, loaded_s
    if number < 0:
        number = min(range(len(rows)), key=lambda i: rows[i].busiest_s(x))
    return number, best_s


def _ascending(what: str, values: Sequence[float]) -> tuple[float, ...]:
    if not values or not all(one >= 0 and isfinite(one) for one in values):
        raise InvalidProblem(f"an atlas wants one or more {what}, from 0, not {list(values)}")
    return tuple(sorted(set(values)))


class _Drawing:
    """Collects the plans, then prices each of them in each region."""

    def __init__(
        self, problem: Problem, ends: tuple[NodeId, NodeId], xs: tuple[float, float], one_ways_s: tuple[float, float]
    ) -> None:
        self.survey = Survey(problem, ends)
        self.ways = Ways(problem.topology, link_between(problem.topology, ends))
        self.plans: dict[object, Plan] = {}
        self._ends, self._xs = ends, xs
        self._answers: dict[tuple[float, float], Point | Infeasible] = {}
        self._scale = Scale(xs, one_ways_s)
        self._regions = self.ways.regions(xs, one_ways_s)
        self.middle = self._scale.point((0.5, 0.5))

    def exact(self) -> Infeasible | None:
        """Every plan that is optimal somewhere without load, or why there is none."""
        for polygon in self._regions.values():
            refused = self._envelope(polygon)
            if refused is not None:
                return refused
        return None

    def _envelope(self, polygon: Sequence[Corner]) -> Infeasible | None:
        middle = centre(polygon)
        inset = INSET if len(self._regions) > 1 else 0.0
        first = self._ask(polygon[0], middle, inset)
        if isinstance(first, Infeasible):
            return first
        known = Envelope(polygon, first)
        asked: set[Corner] = set()
        while fresh := [one for one in known.corners() if (round(one[0], SAME), round(one[1], SAME)) not in asked]:
            corner = fresh[0]
            asked.add((round(corner[0], SAME), round(corner[1], SAME)))
            found = self._ask(corner, middle, inset)
            if isinstance(found, Infeasible):
                continue
            within = _towards(corner, middle, inset)
            if found.at(within) < known.at(within) * (1 - CLOSE):
                known.add(found)
        return None

    def _ask(self, corner: Corner, middle: Corner, inset: float) -> Plane | Infeasible:
        x, one_way_s = self._scale.point(_towards(corner, middle, inset))
        if (x, one_way_s) not in self._answers:
            self._answers[x, one_way_s] = self.survey.ask(x, one_way_s)
        found = self._answers[x, one_way_s]
        if isinstance(found, Infeasible):
            return found
        self.plans.setdefault(placement(found.plan), found.plan)
        return self._scale.plane(found.fixed_s - found.messages * one_way_s, found.slope, found.messages)

    def under_load(self, rtts_s: Sequence[float], loads: Sequence[float]) -> None:
        """Plans that are better than those known at some of the loads."""
        low_x, high_x = self._xs
        xs = sorted({low_x * (high_x / low_x) ** (n / (GOODPUTS - 1)) for n in range(GOODPUTS)})
        for x in xs:
            for rtt_s in rtts_s:
                prices = self.survey.prices(x, rtt_s / 2)
                known = [self.survey.priced(plan, x, rtt_s / 2) for plan in self.plans.values()]
                alone_s = min(plan.predicted.latency_s for plan in known)
                for load in loads:
                    found = found_under_load(prices, known, load, bound_s=alone_s, rounds=ROUNDS, within=WITHIN)
                    self.survey.cuts += found.cuts
                    known = list(found.plans)
                for plan in known:
                    self.plans.setdefault(placement(plan), plan)

    def figures(self) -> dict[Choice, tuple[_Row, ...]]:
        """What `AtlasGrid.at` reads."""
        return {choice: tuple(self._rows(centre(polygon))) for choice, polygon in self._regions.items()}

    def _rows(self, corner: Corner) -> Iterator[_Row]:
        x, one_way_s = self._scale.point(corner)
        posed = self.survey.prices(x, one_way_s).problem
        for plan in self.plans.values():
            priced = self.survey.priced(plan, x, one_way_s)
            line = self.survey.line_of(priced, x, posed)
            met = {one.resource: (one.busy_s, one.light_s2, one.heavy_s2) for one in stations(posed, priced)}
            busy, light, heavy = met.pop(self._ends, (0.0, 0.0, 0.0))
            yield _Row(
                fixed_s=line.fixed_s - line.messages * one_way_s,
                link_bytes=line.slope,
                messages=float(line.messages),
                link=(busy / x, light / x**2, heavy / x**2),
                met=tuple(met.values()),
            )


def _towards(corner: Corner, middle: Corner, part: float) -> Corner:
    return corner[0] + part * (middle[0] - corner[0]), corner[1] + part * (middle[1] - corner[1])
