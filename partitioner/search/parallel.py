"""Which operators run where, so that the answer is there soonest if branches run on several nodes at once.

Question. The least makespan (makespan.py) over all placements of operators on sites with at most `most_stages` stages,
each convex, of which at most `stages_per_site` run on one site (with one: whatever sends between sites sends one way),
and over one admissible codec for each tensor. With `forward_only` data goes up the tiers or along one. Latency is what
is minimised, whatever `Problem.objective` says; limits are kept.

Answer. A plan's stages and who of them reads from whom make its pattern; every pattern is a program of its own
(pattern_program.py), asked only for what beats the best plan known, and not at all where its bound rules that out.
Plans known at first: the best serial one, everything on one site, each branch whole on one (branches.py), and what
moving one block of operators at a time makes of the best of these. First each pattern left gets an equal share of the
time, then those unproven get what is left, the lowest bound first. What stays unproven keeps its bound, so that a gap
is always told.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from partitioner.constraints import violation
from partitioner.cost import price_stages, without_segments
from partitioner.errors import InvalidProblem
from partitioner.plan import ROUTER, Certificate, Infeasible, Plan
from partitioner.problem import Limits, Problem, Site
from partitioner.search.branches import whole_branches
from partitioner.search.explain import reason, unsplit_plans, why_none
from partitioner.search.forms import Forms, forms_of
from partitioner.search.mincut import best_per_chain
from partitioner.search.pattern_program import PatternProgram
from partitioner.search.patterns import Pattern, patterns_of
from partitioner.search.reach import Reads, reads_of
from partitioner.stages import Placed, codecs_of, form_stages, stages_of
from partitioner.tables import Prices, price_list

CLOSE = 1e-9  # relative gap below which a plan counts as optimal
LOOSE = 1e-6  # the programs' own tolerance, relative: a price this close to a proven bound is the bound
MOST_STAGES = 4
LEAST_S = 0.02  # for a program, however little is left
EFFORT = 100_000  # for the serial plans
MOVES = 300_000  # operators in all plans priced of whole branches, and again while blocks move


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    placed: tuple[Placed, ...]
    codecs: Mapping[str, str]
    latency_s: float  # additive


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    candidates: tuple[_Candidate, ...]  # fastest first
    bound_s: float
    patterns: int
    asked: int


def soonest(
    problem: Problem,
    *,
    seconds: float = 10.0,
    known: Sequence[Plan] = (),
    most_stages: int = MOST_STAGES,
    stages_per_site: int = 1,
) -> Plan | Infeasible:
    """The plan of least makespan with bound and gap, or the limit that leaves none.

    At most `seconds` of the programs' own clock are spent, beside what it takes to pose them. Searched under the
    additive model; where segments were measured, the plans met are priced by them and the fastest is returned, and the
    certificate tells how far its additive price is from the bound. `known` plans are priced anew. InvalidProblem for
    what can't be asked.
    """
    problem = replace(problem, parallel=True)
    prices = price_list(without_segments(problem))
    free = replace(prices, problem=replace(prices.problem, limits=replace(problem.limits, latency_s=None)))
    found = _search(free, _first(free, known, most_stages), seconds, most_stages, stages_per_site)
    if not found.candidates:
        return _why(free, found, most_stages)
    return _told(problem, found)


def _search(
    prices: Prices, known: Sequence[_Candidate], seconds: float, most_stages: int, stages_per_site: int
) -> _Found:
    """Every pattern asked or ruled out, as far as the time goes."""
    candidates, forms = sorted(known, key=lambda one: one.latency_s), forms_of(prices)
    least_s = candidates[0].latency_s if candidates else np.inf
    reads = reads_of(prices.table, len(prices.problem.graph.operators))
    every = list(patterns_of(prices, most_stages, stages_per_site))
    bounds_s = [pattern.bound_s for pattern in every]
    left_s, asked = seconds, set()
    largest = max((len(pattern.sites) for pattern in every), default=0)
    for size in (*range(1, largest + 1), 0):  # few stages first, as they make good plans to beat; then all again
        mine = [i for i, pattern in enumerate(every) if size in (0, len(pattern.sites))]
        mine = [i for i in mine if bounds_s[i] < least_s * (1 - CLOSE)]
        for done, i in enumerate(sorted(mine, key=lambda i: (size and every[i].width, bounds_s[i]))):
            if left_s <= 0 or bounds_s[i] >= least_s * (1 - CLOSE):
                continue
            program_s = left_s / ((len(mine) - done) * (largest - size + 1)) if size else left_s
            answer, candidate = _ask(prices, forms, reads, every[i], least_s, max(program_s, LEAST_S))
            left_s -= answer[1]
            asked.add(i)
            bounds_s[i] = max(bounds_s[i], answer[0])
            if candidate is not None and candidate.latency_s < least_s:
                least_s = candidate.latency_s
                candidates.insert(0, candidate)
    bound_s = min(bounds_s, default=np.inf)
    return _Found(candidates=tuple(candidates), bound_s=min(bound_s, least_s), patterns=len(every), asked=len(asked))


def _ask(
    prices: Prices, forms: Forms, reads: Reads, pattern: Pattern, below_s: float, seconds: float
) -> tuple[tuple[float, float], _Candidate | None]:
    """The pattern's bound and the seconds it took, and its plan if one beats `below_s`."""
    answer = PatternProgram(prices, forms, reads, pattern, below_s * (1 - CLOSE / 2)).solve(seconds)
    candidate = None if answer.placed is None else _candidate(prices, answer.placed, answer.codecs)
    bound_s = answer.bound_s
    if answer.is_proven:  # to the program's tolerance
        price_s = below_s if candidate is None else min(candidate.latency_s, below_s)
        bound_s = price_s if price_s <= bound_s * (1 + LOOSE) else bound_s
    return (bound_s, answer.seconds), candidate


def _candidate(prices: Prices, placed: tuple[Placed, ...], codecs: Mapping[str, str] | None) -> _Candidate | None:
    """These stages with their price; None if they break a limit, or if there is no way."""
    try:
        plan = price_stages(prices, placed, codecs)
    except InvalidProblem:
        return None
    if violation(prices.problem, plan) is not None or (prices.problem.forward_only and _comes_down(prices, plan)):
        return None
    return _Candidate(placed=placed, codecs=codecs_of(plan), latency_s=plan.predicted.latency_s)


def _comes_down(prices: Prices, plan: Plan) -> bool:
    node = prices.problem.topology.node
    inner = (one for one in plan.crossings if ROUTER not in (one.sender, one.receiver))
    return any(node(one.source).tier > node(one.target).tier for one in inner)


def _first(prices: Prices, known: Sequence[Plan], most_stages: int) -> list[_Candidate]:
    """Plans to beat, and the best of them with its blocks moved."""
    problem = prices.problem
    serial = replace(problem, parallel=False, objective="latency", limits=Limits(), forward_only=True)
    asked: list[tuple[tuple[Placed, ...], Mapping[str, str] | None]] = [
        (stages_of(problem, plan), codecs_of(plan)) for plan in known
    ]
    everything = np.arange(len(problem.graph.operators))
    asked += [(((site, everything),), None) for site in problem.sites]
    for sites in whole_branches(problem, most=MOVES // len(everything)):
        placed = form_stages(problem, sites)
        if len(placed) <= min(len(set(sites)), most_stages):
            asked.append((placed, None))
    for plan in best_per_chain(serial, effort=EFFORT):
        placed = stages_of(problem, plan)
        asked += [(placed, codecs_of(plan)), (placed, None)]
    found = [one for placed, codecs in asked if (one := _candidate(prices, placed, codecs)) is not None]
    found.sort(key=lambda one: one.latency_s)
    if found:
        found += _moved(prices, found[0], most_stages)
    return found


def _moved(prices: Prices, start: _Candidate, most_stages: int) -> Iterator[_Candidate]:
    """Better and better plans, each with one block of the last one on another site."""
    problem, blocks, tried = prices.problem, _blocks(prices), 0
    sites: list[Site] = [problem.sites[0]] * len(problem.graph.operators)
    for site, members in start.placed:
        for operator in members.tolist():
            sites[operator] = site
    best, better = start, True
    while better:
        better = False
        for block in blocks:
            for site in problem.sites:
                if tried >= MOVES or sites[block[0]] == site:
                    continue
                tried += len(sites)
                moved = list(sites)
                for operator in block:
                    moved[operator] = site
                placed = form_stages(problem, moved)
                if len(placed) > min(len(set(moved)), most_stages):
                    continue
                candidate = _candidate(prices, placed, None)
                if candidate is not None and candidate.latency_s < best.latency_s * (1 - CLOSE):
                    best, sites, better = candidate, moved, True
                    yield candidate


def _blocks(prices: Prices) -> list[list[int]]:
    """Runs of operators of which each is the only reader of the one before and reads nothing else; those together."""
    table, count = prices.table, len(prices.problem.graph.operators)
    made = table.producer[table.read_tensor]
    pairs = sorted({(a, b) for a, b in zip(made.tolist(), table.reader.tolist(), strict=True) if a >= 0})
    readers, makers = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    block = list(range(count))
    for a, b in pairs:
        if readers[a] == 1 and makers[b] == 1:
            block[b] = block[a]
    index = {operator.name: i for i, operator in enumerate(prices.problem.graph.operators)}
    for group in prices.problem.together:
        joined = {block[index[name]] for name in group}
        block = [min(joined) if one in joined else one for one in block]
    return [[i for i in range(count) if block[i] == one] for one in sorted(set(block))]


def _why(prices: Prices, found: _Found, most_stages: int) -> Infeasible:
    """What leaves no plan; of limits, the one that the soonest plan known to keep all else breaks."""
    lax = replace(prices, problem=replace(prices.problem, limits=Limits()))
    known = min(_first(lax, (), most_stages), key=lambda one: one.latency_s, default=None)
    if known is None:
        return why_none(prices)
    broken = violation(prices.problem, price_stages(prices, known.placed, known.codecs))
    if broken is None:  # it was no candidate for this
        return why_none(prices)
    told = "no plan keeps the limits" if found.bound_s == np.inf else "no plan that keeps the limits was found in time"
    return replace(broken, detail=f"{told}; of the plan that is there soonest without them, {broken.detail}")


def _told(problem: Problem, found: _Found) -> Plan | Infeasible:
    """The fastest of the plans met as the problem's own figures have it, with what is proven of it."""
    prices = price_list(problem)
    plans = [price_stages(prices, one.placed, one.codecs) for one in found.candidates]
    at = min(range(len(plans)), key=lambda i: plans[i].predicted.latency_s)
    most_s, price_s = problem.limits.latency_s, found.candidates[at].latency_s
    if most_s is not None and plans[at].predicted.latency_s > most_s * (1 + CLOSE):
        told = f"no plan found answers within {most_s:.6g} s; the lower bound is {found.bound_s:.6g} s"
        return Infeasible(constraint="latency", detail=f"{told}, the best plan takes {price_s:.6g} s")
    gap = max(0.0, 1 - found.bound_s / price_s) if price_s else 0.0
    optimal = gap <= CLOSE
    certificate = Certificate(
        status="optimal" if optimal else "gap",
        objective="latency",
        cost_model=problem.cost_model,
        lower_bound=price_s if optimal else found.bound_s,
        gap=0.0 if optimal else gap,
        method=f"mixed integer programs of {found.asked} of {found.patterns} patterns of stages, the others bounded",
    )
    unsplit = unsplit_plans(problem, plans)
    return replace(
        plans[at],
        certificate=certificate,
        unsplit_s={node: None if plan is None else plan.predicted.latency_s for node, plan in unsplit.items()},
        reason=reason(problem, plans[at], plans),
    )
