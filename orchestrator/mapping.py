"""Draws a deployment's map of known plans: the best ones over each link's goodput, and those without each node.

Runs solvers, so it belongs to the shell. Plans are found under the additive model, as an atlas is, and priced with
measured segments, as every plan is. Where an atlas can't answer (limits, another objective) there is no map, and the
control core asks for a plan whenever a link has changed.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from orchestrator.blueprint import Blueprint
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import KnownPlan, LinkRange, PlanMap, fingerprint
from partitioner.constraints import violation
from partitioner.errors import InvalidProblem, PartitionerError
from partitioner.latency_form import latency_form
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Problem
from partitioner.repricing import repriced
from partitioner.search.answer import answer
from partitioner.search.atlas import atlas
from partitioner.tables import Prices, price_list
from partitioner.topology import NodeId

SLOWEST, FASTEST = 1 / 128, 16.0  # of what a link's goodput is: the range that is mapped
BUDGET_S = 1.0  # what is not mapped by then is asked for when it matters
HARD_S = 0.25  # tight memory makes a question this hard, and an atlas asks dozens
LARGE = 5_000  # operators; above, a map would take minutes


def plan_map(
    blueprint: Blueprint,
    links: Sequence[LinkEstimate],
    excluded: Sequence[NodeId],
    known: Iterable[Plan] = (),
) -> PlanMap | None:
    """Every plan worth knowing under these links and without the excluded nodes, `known` ones among them.

    None for what has no map: a fixed plan, another objective than latency, limits, plans that run side by side or come
    back down the tiers, or a model of more than LARGE operators. Links whose atlas would take too long have no range.
    """
    problem = blueprint.problem(links, excluded)
    if blueprint.fixed is not None or not is_mappable(problem):
        return None
    prices, until_s = price_list(problem), time.monotonic() + BUDGET_S
    plans: dict[str, KnownPlan] = {}
    for plan in known:
        _add(plans, prices, plan)
    asked_s, hardest_s = time.monotonic(), 0.0
    for plan in _without_each(blueprint, links, excluded):
        _add(plans, prices, plan)
        asked_s, hardest_s = time.monotonic(), max(hardest_s, time.monotonic() - asked_s)
        if asked_s > until_s:
            break
    ranges = []
    for link in links if hardest_s < HARD_S else ():
        if link.source in excluded or link.target in excluded:
            continue
        if time.monotonic() > until_s:
            break
        low, high = link.bytes_per_s * SLOWEST, link.bytes_per_s * FASTEST
        drawn = atlas(problem, link.ends, low, high)
        if isinstance(drawn, Infeasible):
            continue
        for entry in drawn.entries:
            _add(plans, prices, entry.plan)
        ranges.append(LinkRange(source=link.source, target=link.target, low_bytes_per_s=low, high_bytes_per_s=high))
    return PlanMap(plans=tuple(plans.values()), links=tuple(links), ranges=tuple(ranges))


def with_plans(drawn: PlanMap, blueprint: Blueprint, plans: Iterable[Plan]) -> PlanMap:
    """A map that knows these plans, too, under the links that it was drawn for."""
    known = {fingerprint(one.plan): one for one in drawn.plans}
    fresh = [plan for plan in plans if fingerprint(plan) not in known]
    if not fresh:
        return drawn
    prices = price_list(blueprint.problem(drawn.links))
    for plan in fresh:
        _add(known, prices, plan)
    return replace(drawn, plans=tuple(known.values()))


def is_mappable(problem: Problem) -> bool:
    """Whether plans can be compared by their latency under any links alone."""
    plain = problem.objective == "latency" and problem.limits.none and problem.forward_only and not problem.parallel
    return plain and not problem.together and not problem.pinned and len(problem.graph.operators) <= LARGE


def _without_each(blueprint: Blueprint, links: Sequence[LinkEstimate], excluded: Sequence[NodeId]) -> Iterator[Plan]:
    """The best plan without each node but the source, and the best on the source alone, where there is one."""
    source = blueprint.spec.source
    others = [node.name for node in blueprint.spec.topology.nodes if node.name not in (source, *excluded)]
    for gone in (*((*excluded, node) for node in others), (*excluded, *others)):
        try:
            found = answer(blueprint.problem(links, gone))
        except PartitionerError:  # nothing is left that could run it
            continue
        if not isinstance(found, Infeasible):
            yield found


def _add(plans: dict[str, KnownPlan], prices: Prices, plan: Plan) -> None:
    """Note a plan, priced as the problem prices, unless one that does the same is known or it may not be."""
    named = fingerprint(plan)
    if named in plans:
        return
    try:
        anew = repriced(prices, plan)
        form = latency_form(prices.problem.topology, anew)
    except InvalidProblem:
        return
    if violation(prices.problem, anew) is None:
        plans[named] = KnownPlan(plan=anew, form=form)
