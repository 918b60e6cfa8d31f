"""Plans of which none is better in every respect: the Pareto front of several objectives, point by point.

Two objectives: the ε-constraint method (Haimes, Lasdon, Wismer 1971), each point found as the best by the first among
plans that are better by the second than the last point, and then best by the second among those equals. More: the
best by the first on a grid of limits for the others. Every point is certified; that no other lies between two points
holds only where the front says it is complete.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from partitioner.errors import InvalidProblem
from partitioner.figures import score
from partitioner.plan import Infeasible, Plan
from partitioner.problem import OBJECTIVES, Limits, Problem
from partitioner.search.answer import answer

CLOSE = 1e-9
STEP = 1e-6  # relative: by how much the next point has to be better
LIMIT_OF = {"latency": "latency_s", "energy": "energy_j", "cost": "cost_usd", "error": "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Plans by ascending first objective. `complete`: no other plan is undominated, to a part in a million."""

    objectives: tuple[str, ...]
    plans: tuple[Plan, ...]
    complete: bool


def front(
    problem: Problem, objectives: Sequence[str], *, points: int = 12, seconds: float = 10.0
) -> Front | Infeasible:
    """The front of these objectives, of about `points` plans at most.

    `seconds` of the solver's time for each plan. InvalidProblem for fewer than two objectives or an unknown one.
    """
    known = (*OBJECTIVES, "error")
    for name in objectives:
        if name not in known:
            raise InvalidProblem(f"no objective {name!r}; there are {', '.join(known)}")
    if len(set(objectives)) < 2:
        raise InvalidProblem(f"a front wants two different objectives or more, not {', '.join(objectives) or 'none'}")
    if len(objectives) > 2:
        return _grid(problem, objectives, points, seconds)
    return _line(problem, objectives, points, seconds)


def _line(problem: Problem, objectives: Sequence[str], points: int, seconds: float) -> Front | Infeasible:
    """From the best by the first objective towards the best by the second."""
    plans: list[Plan] = []
    limits, sure = problem.limits, True
    while len(plans) < points:
        found, proven = _lowest(problem, objectives, limits, seconds)
        sure = sure and proven
        if isinstance(found, Infeasible):
            return Front(objectives=tuple(objectives), plans=tuple(plans), complete=sure) if plans else found
        plans.append(found)
        least = _value(found, objectives[1])
        if least <= 0:
            return Front(objectives=tuple(objectives), plans=tuple(plans), complete=sure)
        limits = _within(problem.limits, objectives[1], least * (1 - STEP))
    return Front(objectives=tuple(objectives), plans=tuple(plans), complete=False)


def _lowest(
    problem: Problem, objectives: Sequence[str], limits: Limits, seconds: float
) -> tuple[Plan | Infeasible, bool]:
    """The best by the first objective, and among such the best by each other in turn; whether all that is proven."""
    first = answer(replace(problem, objective=objectives[0], limits=limits), seconds=seconds)
    if isinstance(first, Infeasible):
        return first, first.proven
    best, proven = first, _is_optimal(first)
    for later in objectives[1:]:
        kept = _within(limits, objectives[0], _value(first, objectives[0]) * (1 + CLOSE))
        found = answer(replace(problem, objective=later, limits=kept), seconds=seconds)
        proven = proven and isinstance(found, Plan) and _is_optimal(found)
        if isinstance(found, Plan) and _value(found, later) < _value(best, later) * (1 - CLOSE):
            best = replace(found, certificate=first.certificate)
    return best, proven


def _is_optimal(plan: Plan) -> bool:
    return plan.certificate is not None and plan.certificate.status == "optimal"


def _grid(problem: Problem, objectives: Sequence[str], points: int, seconds: float) -> Front | Infeasible:
    """The best by the first objective on a grid of limits for the others, those beaten by another left out."""
    side = max(2, round(points ** (1 / (len(objectives) - 1))))
    corners = []
    for name in objectives:
        found = answer(replace(problem, objective=name), seconds=seconds)
        if isinstance(found, Infeasible):
            return found
        corners.append(found)
    levels = []
    for name in objectives[1:]:
        values = [_value(plan, name) for plan in corners]
        levels.append(np.linspace(min(values), max(values), side).tolist())
    plans = list(corners)
    for limit in product(*levels):
        limits = problem.limits
        for name, most in zip(objectives[1:], limit, strict=True):
            limits = _within(limits, name, most * (1 + CLOSE))
        found = answer(replace(problem, objective=objectives[0], limits=limits), seconds=seconds)
        plans += [found] if isinstance(found, Plan) else []
    return Front(objectives=tuple(objectives), plans=tuple(_undominated(plans, objectives)), complete=False)


def _undominated(plans: Sequence[Plan], objectives: Sequence[str]) -> Iterator[Plan]:
    """By ascending first objective, equal points once."""
    rows = sorted((tuple(_value(plan, name) for name in objectives), number) for number, plan in enumerate(plans))
    kept: list[tuple[float, ...]] = []
    for row, number in rows:
        if not any(all(a <= b * (1 + CLOSE) for a, b in zip(other, row, strict=True)) for other in kept):
            kept.append(row)
            yield plans[number]


def _value(plan: Plan, objective: str) -> float:
    value = score(plan.predicted, objective)
    if value is None:
        raise InvalidProblem(f"{objective} has no figure; give watts or prices of every node and link")
    return value


def _within(limits: Limits, objective: str, most: float) -> Limits:
    """The limits with this one as well, where it is tighter."""
    if objective == "throughput":
        held = limits.throughput_per_s
        return replace(limits, throughput_per_s=max(1 / most, held or 0.0))
    held = getattr(limits, LIMIT_OF[objective])
    return replace(limits, **{LIMIT_OF[objective]: most if held is None else min(most, held)})
