"""Judges a plan without trusting who made it: it shares nothing with the solvers but cost.py's evaluator.

It reads the plan as it stands, follows every tensor through it, adds up weights, and prices it again. What it can't
judge is whether the certificate's bound is true; that the bound and the gap fit the price, it does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from partitioner.cost import price_stages
from partitioner.errors import InvalidProblem
from partitioner.figures import score, throughput_per_s
from partitioner.plan import Plan, Stage
from partitioner.problem import Problem, Site
from partitioner.stages import codecs_of, stages_of
from partitioner.tables import price_list

CLOSE = 1e-9  # relative; sums of doubles in another order


def faults(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """Everything that is wrong with a plan for this problem, a line each; nothing if it holds."""
    found = [*_placement(problem, plan)]
    if found:
        return tuple(found)  # the rest asks where each operator is
    found += [*_order(problem, plan), *_pins(problem, plan), *_privacy(problem, plan), *_memory(problem, plan)]
    return (
        *found,
        *_together(problem, plan),
        *_replicas(problem, plan),
        *_price(problem, plan),
        *_limits(problem, plan),
        *_certificate(plan),
    )


def _placement(problem: Problem, plan: Plan) -> Iterator[str]:
    """Every operator once, on a site of the problem."""
    placed = Counter(name for stage in plan.stages for name in stage.operators)
    for operator in problem.graph.operators:
        if placed[operator.name] != 1:
            yield f"operator {operator.name} is in {placed[operator.name]} stages"
    known = {operator.name for operator in problem.graph.operators}
    for name in placed:
        if name not in known:
            yield f"operator {name} is not one of {problem.graph.name}"
    for stage in plan.stages:
        if _site(problem, stage) is None:
            yield f"stage {stage.name}: {stage.backend} {stage.precision} on {stage.node} is no site of the problem"


def _site(problem: Problem, stage: Stage) -> Site | None:
    wanted = (stage.node, stage.backend, stage.precision)
    sites = (site for site in problem.sites if (site.node, site.engine.backend, site.engine.precision) == wanted)
    return next(sites, None)


def _stage_of(plan: Plan) -> dict[str, int]:
    return {name: number for number, stage in enumerate(plan.stages) for name in stage.operators}


def _order(problem: Problem, plan: Plan) -> Iterator[str]:
    """A request meets each stage once, in order: what a stage reads was made no later, so stages are convex."""
    at, operators = _stage_of(plan), problem.graph.operators
    for name, activation in problem.graph.activations.items():
        for reader in activation.consumers if activation.producer is not None else ():
            maker = operators[activation.producer or 0].name
            if at[maker] > at[operators[reader].name]:
                yield f"{operators[reader].name} reads {name} a stage before {maker} makes it"


def _pins(problem: Problem, plan: Plan) -> Iterator[str]:
    at = _stage_of(plan)
    for name, node in problem.pinned.items():
        if plan.stages[at[name]].node != node:
            yield f"operator {name} is pinned to {node} and runs on {plan.stages[at[name]].node}"


def _privacy(problem: Problem, plan: Plan) -> Iterator[str]:
    """A private tensor is made, read and given out at the source, and is in no message that leaves it."""
    at, operators = _stage_of(plan), problem.graph.operators
    for name in sorted(problem.private):
        activation = problem.graph.activations[name]
        for index in (*activation.consumers, *(() if activation.producer is None else (activation.producer,))):
            node = plan.stages[at[operators[index].name]].node
            if node != problem.home_of(name):
                yield f"private tensor {name} is on {node}, with operator {operators[index].name}"
        for crossing in plan.crossings:
            if name in crossing.tensors and crossing.source != crossing.target:
                yield f"private tensor {name} goes from {crossing.source} to {crossing.target}"
    for name, tier in sorted(problem.within.items()):
        activation = problem.graph.activations[name]
        touching = (*activation.consumers, *(() if activation.producer is None else (activation.producer,)))
        nodes = [plan.stages[at[operators[index].name]].node for index in touching]
        nodes += [crossing.target for crossing in plan.crossings if name in crossing.tensors]
        for node in sorted({node for node in nodes if problem.topology.node(node).tier > tier}):
            yield f"tensor {name} may be no higher than {tier.name.lower()} and is on {node}"


def _replicas(problem: Problem, plan: Plan) -> Iterator[str]:
    """Nodes that share a stage run the same engine, are alike, hold nothing private, and are no more than allowed."""
    private = {
        operator.name
        for operator in problem.graph.operators
        if problem.private.intersection((*operator.inputs, *operator.outputs))
    }
    for stage in plan.stages:
        own = _site(problem, stage)
        crew = (stage.node, *stage.replicas)
        if len(set(crew)) < len(crew) or len(crew) > problem.most_replicas > 0:
            yield f"stage {stage.name} is on {', '.join(crew)}; {problem.most_replicas} different nodes are allowed"
        for name in stage.replicas:
            node, first = problem.topology.node(name), problem.topology.node(stage.node)
            same = (node.tier, node.slowdown, node.memory_bytes) == (first.tier, first.slowdown, first.memory_bytes)
            if own is None or not same or Site(node=name, engine=own.engine) not in problem.sites:
                yield f"stage {stage.name} cannot run on {name} as it does on {stage.node}"
            if private.intersection(stage.operators):
                yield f"stage {stage.name} has what is private and runs on {name} too"


def _together(problem: Problem, plan: Plan) -> Iterator[str]:
    at = _stage_of(plan)
    for group in problem.together:
        if len({at[name] for name in group}) > 1:
            yield f"operators {', '.join(group)} belong together and are in several stages"


def _limits(problem: Problem, plan: Plan) -> Iterator[str]:
    """What the problem allows for each request, against what the plan says it takes."""
    limits, told = problem.limits, plan.predicted
    for name in ("latency_s", "energy_j", "cost_usd", "error"):
        most, figure = getattr(limits, name), getattr(told, name)
        if most is not None and (figure is None or figure > most * (1 + CLOSE)):
            yield f"{name} is {figure}, {most:g} is allowed"
    least = limits.throughput_per_s
    if least is not None and told.throughput_per_s < least * (1 - CLOSE):
        yield f"throughput_per_s is {told.throughput_per_s:g}, {least:g} is asked for"


def _memory(problem: Problem, plan: Plan) -> Iterator[str]:
    """Each stage has its own copy of the weights that its operators use."""
    by_name = {operator.name: operator for operator in problem.graph.operators}
    held: dict[str, int] = defaultdict(int)
    for stage in plan.stages:
        weights = {weight for name in stage.operators for weight in by_name[name].weights}
        for node in (stage.node, *stage.replicas):
            held[node] += sum(problem.graph.weights_bytes[weight] for weight in weights)
    for node, nbytes in held.items():
        limit = problem.topology.node(node).memory_bytes
        if limit is not None and nbytes > limit:
            yield f"{node} holds {limit} bytes of weights and would need {nbytes}"


def _price(problem: Problem, plan: Plan) -> Iterator[str]:
    """The evaluator's stages and figures are the plan's."""
    try:
        anew = price_stages(price_list(problem), stages_of(problem, plan), codecs_of(plan))
    except InvalidProblem as error:
        yield f"it cannot be priced: {error}"
        return
    if any(stage.replicas for stage in plan.stages):  # which share the stage's work, and change nothing else
        rate = throughput_per_s(problem, plan.stages, anew.crossings)
        anew = replace(anew, predicted=replace(anew.predicted, throughput_per_s=rate))
    for figure in ("latency_s", "throughput_per_s", "energy_j", "cost_usd", "error"):
        told, found = getattr(plan.predicted, figure), getattr(anew.predicted, figure)
        if (told is None) != (found is None) or (told is not None and abs(told - found) > CLOSE * abs(found)):
            yield f"{figure} is {found!r}, the plan says {told!r}"
    for crossing in plan.crossings:
        for name, codec in zip(crossing.tensors, crossing.codecs, strict=True):
            measured = problem.profile.tensors.get(name, {}).get(codec)
            if codec != "raw" and (measured is None or measured.error > problem.max_error):
                adds = "unknown" if measured is None else f"{measured.error:g}"
                yield f"the error of {name} as {codec} is {adds}, {problem.max_error:g} is allowed"


def _certificate(plan: Plan) -> Iterator[str]:
    """A bound that is one, a gap that is its distance to the price, and "optimal" only without a gap."""
    told = plan.certificate
    if told is None:
        return
    if told.gap < 0 or (told.status == "optimal") != (told.gap <= CLOSE):
        yield f"its certificate says {told.status} with a gap of {told.gap:g}"
    price = score(plan.predicted, told.objective)
    if told.cost_model == "additive" and price is not None:
        gap = 1 - told.lower_bound / price if price else 0.0
        if gap < -CLOSE or abs(max(gap, 0.0) - told.gap) > CLOSE:
            yield f"its certificate's gap is {told.gap:g}; price and bound are {gap:g} apart"
