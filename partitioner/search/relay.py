"""Throughput of a Problem: the cuts, crews and codecs with which most requests are answered in a second.

Question. Over every chain of sites (one per tier, ascending, all of them busy), each stage on up to `most_replicas`
equal nodes: minimise the seconds of the busiest resource, as figures.py adds them up.

Answer. What has run once a stage is done is an ideal, so a plan of three stages is a pair of ideals I within J. What
crosses a boundary depends on its ideal alone; stages' seconds and returned bytes are differences of sums over ideals.
So each resource's load, shared or not, is a sum of a part for I and one for J, and all pairs below a threshold are
found by a loop over both (relay_kernels.py), J's window being what the second stage may take. The threshold grows
from a bound until a plan is below it. Where nodes are serialised, coding in the middle depends on both and the codecs
are a choice between resources: pairs are then taken by what they take at least, and codecs chosen for each
(codec_choice.py), until the next pair can't be better. The certificate says how far that went.

Plans that come back down the tiers and stages side by side are not searched. Limits, and weights that stages share,
are judged on the plans found, best first.

Source of the search over ideals: Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph Operators"
(NeurIPS 2020).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from partitioner.constraints import violation
from partitioner.cost import price_stages, without_segments
from partitioner.errors import InvalidProblem
from partitioner.figures import throughput_per_s
from partitioner.plan import Certificate, Infeasible, Plan, told
from partitioner.problem import Problem
from partitioner.search.chains import chains_of
from partitioner.search.codec_choice import choose
from partitioner.search.explain import unsplit_plans, why_apart, why_none
from partitioner.search.lattice import MOST_IDEALS
from partitioner.search.relay_ideals import Ground, Ideals, every_ideal, ground_of, some_ideals
from partitioner.search.relay_kernels import Sides, carried, costs, least_pairs, settled
from partitioner.search.relay_loads import rates_of
from partitioner.search.relay_sides import Way, balance_s, barred_places, bounds_of, crossing_s, done_table, sides_of
from partitioner.search.replicas import crews_of, equal_sites
from partitioner.stages import Placed, codecs_of, stages_of
from partitioner.tables import Floats, Prices, price_list

CLOSE = 1e-9  # relative; sums of doubles in another order
EFFORT = 400_000_000  # pairs of ideals looked at, of all ways together, before a gap is admitted; two seconds
FEW_PAIRS = 1_000_000  # fewer are looked at without a threshold
FIRST_STEP, GROWTH = 0.01, 3.0  # thresholds above the bound: 1 %, 3 %, 9 %…
TRIES = 1000  # plans priced, where limits refuse them or codecs can't please every resource
MOST_PLACES = 3
LIMITS = ("latency", "throughput", "energy", "cost", "error")  # constraints that are figures
KEPT = (64, 1024, 16384)  # pairs kept, and again where all of them were refused or not good enough


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    plan: Plan
    load_s: float  # in the model searched: no measured segments

    @property
    def nodes(self) -> int:
        """How many nodes it takes."""
        return sum(1 + len(stage.replicas) for stage in self.plan.stages)


@dataclass(slots=True)
class _Run:
    ground: Ground
    prices: Prices  # with measured segments
    measured: bool
    effort: int
    tries: int = TRIES
    refused: dict[str, Infeasible] = field(default_factory=dict)  # what candidates broke


def fastest(problem: Problem, *, most_ideals: int = MOST_IDEALS, effort: int = EFFORT) -> Plan | Infeasible:
    """The forward-only plan of the largest throughput, with its certificate in seconds between two answers.

    Searched under the additive model; where segments were measured, each chain's best is priced by them and the best
    of these returned, as in mincut.py. InvalidProblem for a question that can't be asked, or that this search can't
    answer.
    """
    if problem.parallel or not problem.forward_only:
        raise InvalidProblem(
            f"{problem.graph.name}: relay.py searches plans that go up the tiers, a stage after the other; "
            f"ask mixed.py for others"
        )
    if problem.most_replicas < 1:
        raise InvalidProblem(f"{problem.graph.name}: most_replicas is {problem.most_replicas}; 1 is the least")
    measured = any(engine.segment_s for engine in problem.profile.engines.values())
    prices = price_list(problem)
    ground = ground_of(price_list(without_segments(problem)) if measured else prices)
    ways = sorted(_ways(ground), key=lambda way: way.bound_s)
    run = _Run(ground=ground, prices=prices, measured=measured, effort=effort)
    found, lower_s, ideals = _search_all(run, ways, most_ideals)
    if not found:
        return _why_none(run)
    most = max(one.plan.predicted.throughput_per_s for one in found) * (1 - CLOSE / 2)
    best = min((one for one in found if one.plan.predicted.throughput_per_s >= most), key=lambda one: one.nodes)
    plan = _with_faster_codecs(run, best.plan)
    certificate = _certificate(run, best.load_s, min(lower_s, best.load_s), ideals)
    alone = _unsplit(run)
    unsplit = {
        node: None if one is None else one.predicted.latency_s for node, one in unsplit_plans(problem, alone).items()
    }
    return replace(plan, certificate=certificate, unsplit_s=unsplit, reason=_reason(plan, alone))


def _ways(ground: Ground) -> Iterator[Way]:
    """Every chain and crew of the problem; of those that differ in names alone, the first."""
    problem = ground.prices.problem
    equals, seen = equal_sites(problem), set()
    for chain in chains_of(ground.prices):
        for row in crews_of(problem, equals, chain.sites):
            crews = tuple(row)
            barred = barred_places(ground, chain, crews)
            if barred.all(axis=0).any():
                continue
            rates = rates_of(problem, chain.sites, crews, ground.targets)
            nodes = [problem.topology.node(site.node) for site in chain.sites]
            kinds = [(s.engine, n.slowdown, n.memory_bytes) for s, n in zip(chain.sites, nodes, strict=True)]
            key = (*kinds, barred.tobytes(), *(part.tobytes() for part in rates))
            if problem.limits.none and key in seen:
                continue
            seen.add(key)
            bound_s = balance_s(ground, chain, crews, barred)
            yield Way(chain=chain, crews=crews, rates=rates, barred=barred, bound_s=bound_s)


def _search_all(run: _Run, ways: Sequence[Way], most_ideals: int) -> tuple[list[_Candidate], float, int | None]:
    """Candidates, what no plan of any way is below, and how many ideals were searched (None: a few orders' only)."""
    found: list[_Candidate] = []
    along = some_ideals(run.ground)
    for way in ways:
        quick, _ = _search(run, way, along, _below(run, found, way))
        found.extend(quick)
    every = every_ideal(run.ground, most_ideals)
    if every is None:
        return found, min((max(way.bound_s, crossing_s(run.ground, way)) for way in ways), default=np.inf), None
    lower_s = np.inf
    for way in ways:
        better, bound_s = _search(run, way, every, _below(run, found, way))
        found.extend(better)
        lower_s = min(lower_s, bound_s)
    return found, lower_s, len(every.edges.bits)


def _below(run: _Run, found: Sequence[_Candidate], way: Way) -> float:
    """What a plan must be below to be of interest: the best; or the best and equals, if it takes fewer nodes.

    Where segments were measured, each way has its own best.
    """
    if run.measured or not found:
        return np.inf
    best = min(found, key=lambda one: one.load_s)
    fewer = sum(map(len, way.crews)) < best.nodes
    return best.load_s * (1 + CLOSE / 4 if fewer else 1 - CLOSE / 4)


def _search(run: _Run, way: Way, ideals: Ideals, below_s: float) -> tuple[list[_Candidate], float]:
    """The best plan of the way below the threshold, if there is one; and what none of its plans is below."""
    if way.bound_s >= below_s:
        return [], way.bound_s
    bounds, step = bounds_of(run.ground, way, ideals), FIRST_STEP
    proven_s = max(way.bound_s, bounds.least_s)
    best: list[_Candidate] = []
    while proven_s < below_s:
        limit_s, sides = below_s, sides_of(way, ideals, bounds, below_s)
        if proven_s and len(sides.first) * len(sides.second) > FEW_PAIRS and proven_s * (1 + step) < below_s:
            limit_s = proven_s * (1 + step)
            sides = sides_of(way, ideals, bounds, limit_s)
        found, reached_s, is_over = _below_limit(run, way, ideals, sides, limit_s)
        if found is not None and (not best or found.load_s < best[0].load_s):
            best = [found]
            below_s = min(below_s, found.load_s * (1 - CLOSE / 4))
        proven_s, step = max(proven_s, reached_s), step * GROWTH
        if is_over:
            break
    return best, proven_s


def _below_limit(
    run: _Run, way: Way, ideals: Ideals, sides: Sides, limit_s: float
) -> tuple[_Candidate | None, float, bool]:
    """The best plan seen, what no other of this way is below, and whether looking further is in vain."""
    done_s, three = done_table(way, ideals), len(way.crews) == MOST_PLACES
    best: _Candidate | None = None
    loose_s, tried = np.inf, 0  # loose: the least that could be reached where codecs weren't settled
    for most in KEPT:
        bounds = np.array([limit_s, float(most), float(max(run.effort, 0))])
        loads, firsts, seconds, looked = least_pairs(
            sides, ideals.edges, run.ground.tensors, way.rates, done_s, three, bounds
        )
        run.effort -= looked
        if run.effort < 0:
            return best, 0.0, True
        for at in range(tried, len(loads)):
            if best is not None and loads[at] >= best.load_s * (1 - CLOSE / 4):
                return best, min(best.load_s, loose_s), True
            if run.tries <= 0:
                return best, min(float(loads[at]), loose_s), True
            candidate, proven = _priced(run, way, ideals, (done_s, int(firsts[at]), int(seconds[at])), best)
            loose_s = loose_s if proven else min(loose_s, float(loads[at]))
            best = candidate or best
        tried = len(loads)
        if tried < most:  # these were all
            return best, min(limit_s if best is None else min(best.load_s, limit_s), loose_s), loose_s < limit_s
    return best, min(float(loads[-1]), loose_s), True


def _priced(
    run: _Run, way: Way, ideals: Ideals, pair: tuple[Floats, int, int], known: _Candidate | None
) -> tuple[_Candidate | None, bool]:
    """The pair's plan under its best codecs, if it breaks nothing and is better than the one known.

    And whether no other choice of codecs would make it better.
    """
    done_s, first, second = pair
    ground, tensors = run.ground, run.ground.tensors
    rows = carried(ideals.edges, tensors, first, second)
    stage_s = np.array([0.0, done_s[1, first], done_s[2, second] - done_s[2, first], done_s[3, -1] - done_s[3, second]])
    cost = costs(tensors, way.rates, rows)
    choice = choose(settled(way.rates, rows, tensors.returns_to, stage_s), cost)
    if known is not None and choice.load_s >= known.load_s:
        return None, choice.is_best
    run.tries -= 1
    names, codec_names = ground.prices.table.names, ground.prices.codecs.names
    codecs = {
        names[tensor]: codec_names[int(ground.codec_of[row, tensor])]
        for tensor, row, seconds in zip(rows[:, 0].tolist(), choice.codecs, cost, strict=True)
        if seconds[np.isfinite(seconds)].any()  # what takes nothing of any resource goes as is fastest
    }
    placed = _placed(ground, way, ideals, first, second)
    plan = _manned(run, price_stages(run.prices, placed, codecs), way)
    if not run.measured and abs(1 / plan.predicted.throughput_per_s - choice.load_s) > CLOSE * choice.load_s + 1e-15:
        raise ArithmeticError(f"{plan.model}: {1 / plan.predicted.throughput_per_s!r} s found as {choice.load_s!r} s")
    broken = violation(run.prices.problem, plan)
    if broken is not None:
        run.refused.setdefault(broken.constraint, broken)
        return None, broken.constraint not in LIMITS  # which other codecs might keep
    return _Candidate(plan=plan, load_s=choice.load_s), choice.is_best


def _placed(ground: Ground, way: Way, ideals: Ideals, first: int, second: int) -> tuple[Placed, ...]:
    words = ideals.edges.bits[[first, second]]
    element = ground.element_of
    shift = (element & 63).astype(np.uint64)
    inside = (words[:, element >> 6] >> shift) & np.uint64(1) > 0
    position = np.where(inside[0], 0, np.where(inside[1], 1, 2))
    return tuple((site, np.flatnonzero(position == at)) for at, site in enumerate(way.chain.sites))


def _manned(run: _Run, plan: Plan, way: Way) -> Plan:
    """The plan with each stage on its crew."""
    stages = tuple(replace(stage, replicas=crew[1:]) for stage, crew in zip(plan.stages, way.crews, strict=True))
    return _repriced(run, replace(plan, stages=stages))


def _repriced(run: _Run, plan: Plan) -> Plan:
    rate = throughput_per_s(run.prices.problem, plan.stages, plan.crossings)
    return replace(plan, predicted=replace(plan.predicted, throughput_per_s=rate))


def _with_faster_codecs(run: _Run, plan: Plan) -> Plan:
    """The plan with the codecs that one request alone does best with, wherever throughput doesn't fall."""
    codecs = codecs_of(plan)
    placed = stages_of(run.prices.problem, plan)

    def under(some: Mapping[str, str]) -> Plan | None:
        priced = price_stages(run.prices, placed, some)
        manned = zip(priced.stages, plan.stages, strict=True)
        other = _repriced(run, replace(priced, stages=tuple(replace(a, replicas=b.replicas) for a, b in manned)))
        kept = other.predicted.throughput_per_s >= plan.predicted.throughput_per_s * (1 - 1e-12)
        return other if kept and violation(run.prices.problem, other) is None else None

    free = under({})
    if free is not None or len(codecs) > 32:
        return plan if free is None else free
    for name in sorted(codecs):
        rest = {other: codec for other, codec in codecs.items() if other != name}
        found = under(rest)
        if found is not None:
            plan, codecs = found, rest
    return plan


def _certificate(run: _Run, load_s: float, lower_s: float, ideals: int | None) -> Certificate:
    gap = max(0.0, 1 - lower_s / load_s) if load_s else 0.0
    optimal = gap <= CLOSE
    what = "ideals along a few orders of the operators" if ideals is None else f"all {ideals} ideals"
    return Certificate(
        status="optimal" if optimal else "gap",
        objective="throughput",
        cost_model=run.prices.problem.cost_model,
        lower_bound=load_s if optimal else lower_s,
        gap=0.0 if optimal else gap,
        method=f"pairs of {what}, for every chain of sites and its replicas",
    )


def _unsplit(run: _Run) -> list[Plan]:
    """Everything on one node, each node and engine that may, the best first."""
    everything = np.arange(len(run.prices.problem.graph.operators), dtype=np.int64)
    alone = (chain for chain in chains_of(run.prices) if len(chain.sites) == 1)
    plans = [price_stages(run.prices, [(chain.sites[0], everything)]) for chain in alone]
    allowed = [plan for plan in plans if violation(run.prices.problem, plan) is None]
    return sorted(allowed, key=lambda plan: -plan.predicted.throughput_per_s)


def _reason(plan: Plan, alone: Sequence[Plan]) -> str:
    """One sentence: how often it answers, and how often one node alone would."""
    where = " | ".join("+".join((stage.node, *stage.replicas)) for stage in plan.stages)
    mine = f"{where} gives {_rate(plan)}"
    if not plan.is_split and not plan.stages[0].replicas:
        return f"not split: all on {mine}; no split found gives more"
    kind = "split" if plan.is_split else "replicated"
    if not alone:
        return f"{kind}: {mine}; no single node may run everything"
    return f"{kind}: {mine}; all on {alone[0].stages[0].node} would give {_rate(alone[0])}"


def _rate(plan: Plan) -> str:
    return told(1 / plan.predicted.throughput_per_s, "throughput")


def _why_none(run: _Run) -> Infeasible:
    """The limit that every candidate broke, groups that can't stay together, or what explain.py finds."""
    for limit in LIMITS:
        if limit in run.refused:
            refused = run.refused[limit]
            return replace(refused, detail=f"{refused.detail}; no plan tried keeps it")
    return why_apart(run.prices) or why_none(run.prices)
