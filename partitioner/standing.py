"""How far a plan is ahead of the next best one of which every stage was timed.

Timed segments are laid together in every way that gives a plan: it may be one that the search passed over, so the gap
may be below nought. It searches only among them, and says nothing of segments that nobody timed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from partitioner.constraints import violation
from partitioner.cost import price_stages
from partitioner.errors import InvalidProblem
from partitioner.figures import score
from partitioner.plan import Plan
from partitioner.problem import Problem, Site
from partitioner.stages import form_stages
from partitioner.tables import Prices, price_list

MOST = 2_000  # coverings that are priced

Piece = tuple[Site, tuple[int, ...]]  # a timed segment on a site, by operators' indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A plan and the best other one whose stages were all timed, judged by the problem's objective."""

    plan: Plan
    runner_up: Plan
    gap: float  # the runner-up's figure over the plan's, less 1; below 0 where the runner-up is the better one


def standing(problem: Problem, plan: Plan) -> Standing | None:
    """The plan beside its measured runner-up; None where no other plan was measured, or the objective has no figure."""
    own = score(plan.predicted, problem.objective)
    others = [one for one in measured_plans(problem) if _placed(one) != _placed(plan)]
    if not others or not own:
        return None
    best, runner_up = min(((score(one.predicted, problem.objective), i) for i, one in enumerate(others)), key=_first)
    return None if best is None else Standing(plan=plan, runner_up=others[runner_up], gap=best / own - 1)


def measured_plans(problem: Problem) -> tuple[Plan, ...]:
    """Every allowed plan, each site used once at most, whose stages were all timed, in no order; MOST are looked at."""
    prices = price_list(problem)
    found = (_plan(prices, pieces) for pieces in islice(_coverings(problem), MOST))
    return tuple(plan for plan in found if plan is not None)


def _coverings(problem: Problem) -> Iterator[Sequence[Piece]]:
    """Timed segments, each on a site of its own, that hold every operator once."""
    at = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
    holding: dict[int, list[Piece]] = {}  # by the first operator they hold
    for site in problem.sites:
        engine = problem.profile.engines.get(site.engine)
        for key, operators in engine.segments.items() if engine is not None else ():
            if engine is not None and key in engine.segment_s and all(name in at for name in operators):
                members = tuple(sorted(at[name] for name in operators))
                holding.setdefault(members[0], []).append((site, members))

    def covered(pieces: tuple[Piece, ...], held: frozenset[int], first: int) -> Iterator[tuple[Piece, ...]]:
        while first in held:
            first += 1
        if first == len(at):
            yield pieces
            return
        for piece in holding.get(first, ()):
            if piece[0] not in [site for site, _ in pieces] and held.isdisjoint(piece[1]):
                yield from covered((*pieces, piece), held.union(piece[1]), first + 1)

    return covered((), frozenset(), 0)


def _plan(prices: Prices, pieces: Sequence[Piece]) -> Plan | None:
    """The plan that runs these pieces; None if it is not allowed, or its stages come out as others than these."""
    problem = prices.problem
    site_of = {index: site for site, members in pieces for index in members}
    try:
        plan = price_stages(prices, form_stages(problem, [site_of[i] for i in range(len(site_of))]))
    except InvalidProblem:  # a way or a codec's figures are missing
        return None
    timed = all(stage.measured for stage in plan.stages)
    astray = problem.forward_only and not _ascends(problem, plan)
    return plan if timed and not astray and violation(problem, plan) is None else None


def _ascends(problem: Problem, plan: Plan) -> bool:
    """Whether the stages go up the tiers, one in each, as forward-only plans do."""
    tiers = [problem.topology.node(stage.node).tier for stage in plan.stages]
    return all(below < above for below, above in pairwise(tiers))


def _placed(plan: Plan) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(stage.node, stage.backend, stage.precision, stage.operators) for stage in plan.stages]


def _first(pair: tuple[float | None, int]) -> float:
    return float("inf") if pair[0] is None else pair[0]
