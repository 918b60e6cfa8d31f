"""Why this plan: what the next best ones would take. Each alternative is an exact answer to a changed question.

Changed in one thing: a cut moved before what makes its tensors, or behind what reads them; everything on one node; the
best over another chain of nodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from partitioner.constraints import violation
from partitioner.figures import score
from partitioner.plan import ROUTER, Crossing, Plan
from partitioner.problem import NO_LIMITS, Problem
from partitioner.search.answer import answer
from partitioner.search.mincut import best_per_chain

CLOSE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A plan that was not taken. `change` says what is different, `score` is by the objective, small is good."""

    change: str
    plan: Plan
    score: float


def alternatives(problem: Problem, chosen: Plan, *, most: int = 8, seconds: float = 5.0) -> tuple[Alternative, ...]:
    """The best plans that are not the chosen one, best first, each once. `seconds` of solving for each at most."""
    found: dict[object, Alternative] = {}
    for change, plan in _plans(problem, chosen, seconds):
        value = score(plan.predicted, problem.objective)
        key = tuple((stage.node, stage.backend, stage.operators) for stage in plan.stages)
        if value is None or key == _key(chosen) or key in found:
            continue
        if violation(problem, plan) is None:
            found[key] = Alternative(change=change, plan=plan, score=value)
    return tuple(sorted(found.values(), key=lambda one: one.score)[:most])


def _key(plan: Plan) -> object:
    return tuple((stage.node, stage.backend, stage.operators) for stage in plan.stages)


def _plans(problem: Problem, chosen: Plan, seconds: float) -> Iterator[tuple[str, Plan]]:
    for crossing in chosen.crossings:
        inner = ROUTER not in (crossing.sender, crossing.receiver)
        if inner and crossing.tensors and crossing.source != crossing.target:
            yield from _moved(problem, chosen, crossing, seconds)
    plain = replace(problem, objective="latency", forward_only=True, parallel=False, limits=NO_LIMITS)
    soonest = "" if problem.objective == "latency" else ", the soonest there"
    for plan in best_per_chain(plain):
        where = " | ".join(stage.node for stage in plan.stages)
        engines = sorted({stage.backend for stage in plan.stages})
        yield (f"over {where}" if plan.is_split else f"all on {where}") + f" ({', '.join(engines)}{soonest})", plan


def _moved(problem: Problem, chosen: Plan, crossing: Crossing, seconds: float) -> Iterator[tuple[str, Plan]]:
    """The best plans that cut before what makes, and behind what reads, the tensors of this crossing."""
    activations, operators = problem.graph.activations, problem.graph.operators
    receiver = next(stage for stage in chosen.stages if stage.name == crossing.receiver)
    held = set(receiver.operators)
    makers = [operators[p].name for name in crossing.tensors if (p := activations[name].producer) is not None]
    readers = [operators[r].name for name in crossing.tensors for r in activations[name].consumers]
    for change, names, node in (
        (f"cut before {makers[0]}" if makers else "", makers[:1], crossing.target),
        (f"cut behind {readers[0]}", [name for name in readers if name in held][:1], crossing.source),
    ):
        pins = dict(problem.pinned) | dict.fromkeys(names, node)
        if not names or any(problem.pinned.get(name, node) != node for name in names):
            continue
        found = answer(replace(problem, pinned=pins), seconds=seconds)
        if isinstance(found, Plan):
            yield change, found
