"""What a plan must respect besides being cheap: privacy, pins, colocation, memory, limits. It prices nothing."""

from collections.abc import Mapping

from partitioner.plan import Infeasible, Plan, Predicted
from partitioner.problem import Limits, Problem
from partitioner.topology import NodeId

CLOSE = 1e-9  # relative; sums of doubles in another order


def violation(problem: Problem, plan: Plan) -> Infeasible | None:
    """The first limit that the plan breaks, or None.

    Private tensors ride in no message between different nodes; pinned operators run on their nodes; the
    weights of a node's stages, each stage holding its own copy, fit its `memory_bytes`; operators that belong together
    share a stage; and the predicted figures keep the problem's limits.
    """
    return (
        _leak(problem, plan)
        or _unpinned(problem, plan)
        or _apart(problem, plan)
        or _overfull(problem, plan)
        or _beyond(problem.limits, plan.predicted)
    )


def _leak(problem: Problem, plan: Plan) -> Infeasible | None:
    for crossing in plan.crossings:
        for tensor in crossing.tensors:
            if crossing.source != crossing.target and not problem.may_be_on(tensor, crossing.target):
                detail = f"private tensor {tensor!r} would go from {crossing.source} to {crossing.target}"
                return Infeasible(constraint="privacy", detail=detail)
    for stage in plan.stages:  # made elsewhere and read there crosses nothing, but is still not at the source
        made = {name for index in _indices(problem, stage.operators) for name in _touched(problem, index)}
        kept = [name for name in problem.kept if name in made and not problem.may_be_on(name, stage.node)]
        if kept:
            return Infeasible(constraint="privacy", detail=f"private tensor {kept[0]!r} would be on {stage.node}")
    return None


def _unpinned(problem: Problem, plan: Plan) -> Infeasible | None:
    for stage in plan.stages:
        for name in stage.operators if problem.pinned else ():
            node = problem.pinned.get(name, stage.node)
            if node != stage.node or (stage.replicas and name in problem.pinned):
                detail = f"operator {name!r} is pinned to {node}, not {stage.node}"
                return Infeasible(constraint="operators", detail=detail)
    return None


def _apart(problem: Problem, plan: Plan) -> Infeasible | None:
    if not problem.together:
        return None
    stage_of = {name: stage.name for stage in plan.stages for name in stage.operators}
    for group in problem.together:
        if len({stage_of[name] for name in group}) > 1:
            detail = f"operators {', '.join(map(repr, group))} must share a stage"
            return Infeasible(constraint="together", detail=detail)
    return None


def _beyond(limits: Limits, predicted: Predicted) -> Infeasible | None:
    """The first figure beyond its limit; one that is unknown, as watts or prices are absent, keeps none."""
    per_answer_s = 1 / predicted.throughput_per_s
    asked = (
        ("latency", predicted.latency_s, limits.latency_s, "s"),
        ("throughput", per_answer_s, None if limits.throughput_per_s is None else 1 / limits.throughput_per_s, "s"),
        ("energy", predicted.energy_j, limits.energy_j, "J"),
        ("cost", predicted.cost_usd, limits.cost_usd, "USD"),
        ("error", predicted.error, limits.error, ""),
    )
    for name, figure, most, unit in asked:
        if most is not None and (figure is None or figure > most * (1 + CLOSE)):
            told = "unknown" if figure is None else f"{figure:.6g} {unit}".rstrip()
            return Infeasible(constraint=name, detail=f"{name} is {told}; at most {most:.6g} {unit}".rstrip())
    return None


def _overfull(problem: Problem, plan: Plan) -> Infeasible | None:
    held: dict[NodeId, int] = {}
    for stage in plan.stages:
        for node in (stage.node, *stage.replicas):
            held[node] = held.get(node, 0) + stage.weights_bytes
    return overfull(problem, held)


def overfull(problem: Problem, held: Mapping[NodeId, int]) -> Infeasible | None:
    """The first node whose memory is below the weight bytes it is to hold, or None."""
    for node, nbytes in held.items():
        limit = problem.topology.node(node).memory_bytes
        if limit is not None and nbytes > limit:
            detail = f"{node} has {limit} bytes of memory for weights and would need {nbytes}"
            return Infeasible(constraint="memory", detail=detail)
    return None


def _indices(problem: Problem, operators: tuple[str, ...]) -> list[int]:
    if not problem.kept:
        return []
    wanted = set(operators)
    return [i for i, operator in enumerate(problem.graph.operators) if operator.name in wanted]


def _touched(problem: Problem, index: int) -> tuple[str, ...]:
    operator = problem.graph.operators[index]
    return operator.inputs + operator.outputs
