"""The plan that answers soonest while requests come at a given rate: candidates by queueing.py, with a bound.

No search holds waits, so plans are judged one by one. The bound on all plans, judged or not: whatever a request meets,
it waits at least as long as at one queue that is busy for D seconds per request, D those of its busiest resource. That
wait, W(D) = λD²/2(1 - λD), is convex, so it is at least sD - W*(s) for any s, W* its convex conjugate; and D is at
least any weighted mean of the resources' seconds. Latency plus weighted seconds is a question for the minimum cut, with
each resource slower by its weight: its optimum less W* is a bound under load, and its plan one more candidate. Weights
come from a small linear program over the plans known so far (Kelley: The cutting-plane method for solving convex
programs, 1960). What is left between bound and plan is told as a gap.

The bound holds for forward-only plans without replicas, under the additive model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import inf, sqrt

import numpy as np

from partitioner.constraints import violation
from partitioner.cost import without_segments
from partitioner.plan import Certificate, Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.queueing import Resource, Station, loaded_latency_s, stations, utilisations, wait_s
from partitioner.repricing import placement, repriced
from partitioner.search.milp import Program
from partitioner.search.mincut import best_per_chain, solve
from partitioner.tables import Prices, price_list
from partitioner.topology import Topology

ROUNDS = 12  # cuts asked for at most
HEAVIEST = 1e3  # of a weight; more is of use where a resource is busy for over 97 % of the time
LOADS = (*(n / 20 for n in range(20)), 0.97, 0.99)  # at which the linear program first knows W
MOST = 0.999  # of the plans' own loads, at which it does too
CLOSE = 1e-9  # relative
LP_S = 1.0  # seconds at most for a program that takes milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderLoad:
    """Plans worth judging under a load, and seconds that none of all plans falls below; `cuts` were asked for."""

    plans: tuple[Plan, ...]
    bound_s: float
    cuts: int


def best_under_load(
    problem: Problem, plans: Sequence[Plan], arrivals_per_s: float, *, rounds: int = ROUNDS
) -> Plan | Infeasible:
    """The best of these plans, of every chain's best alone and of those found for this load, at `arrivals_per_s`.

    Its figures are those of a request alone; its latency under load is `loaded_latency_s`, which the certificate is
    about: "optimal" where it meets the bound, else with the gap. No certificate where no bound holds: for plans that
    come back down, and for problems that allow it. `plans` may be priced for other links; those with replicas, which
    halve what the bound counts on, are taken as they are. Infeasible if none is within the limits and keeps up.
    """
    posed = replace(without_segments(problem), objective="latency", limits=Limits())
    prices, asked = price_list(posed), price_list(problem)
    alone = solve(posed)
    if isinstance(alone, Infeasible):
        return alone
    found = UnderLoad(plans=(alone, *best_per_chain(posed)), bound_s=_proven_s(alone), cuts=1)
    if _is_bounded(problem) and problem.most_replicas == 1:
        known = [*found.plans, *(repriced(prices, plan) for plan in plans if not _has_replicas(plan))]
        more = found_under_load(prices, known, arrivals_per_s, bound_s=found.bound_s, rounds=rounds)
        found = replace(more, cuts=more.cuts + 1)
    candidates = {placement(plan): plan for plan in (*found.plans, *plans)}.values()
    judged = [plan if _has_replicas(plan) else repriced(asked, plan) for plan in candidates]
    fitting = [plan for plan in judged if violation(problem, plan) is None]
    best = min(fitting, key=lambda plan: loaded_latency_s(problem, plan, arrivals_per_s), default=None)
    if best is None:
        return violation(problem, judged[0]) or Infeasible(constraint="operators", detail="no plan to judge")
    refused = _late(problem, best, arrivals_per_s, len(judged))
    return refused or replace(best, certificate=_certificate(prices, best, found, arrivals_per_s, len(judged)))


def found_under_load(
    prices: Prices,
    known: Sequence[Plan],
    arrivals_per_s: float,
    *,
    bound_s: float = 0.0,
    rounds: int = ROUNDS,
    within: float = CLOSE,
) -> UnderLoad:
    """More plans that are good under a load, and the bound. `known`, so priced, are among them.

    The problem is one of latency without measured segments, limits or replicas; one plan at least must be known, and
    `bound_s` may be. It ends after `rounds`, or when no weights can raise the bound by more than `within`, relatively.
    """
    plans, keys = list(known), {placement(plan) for plan in known}
    problem, loads, cuts = prices.problem, list(LOADS), 0
    met = [stations(problem, plan) for plan in plans]
    for _ in range(rounds if arrivals_per_s else 0):
        best_s = min(
            plan.predicted.latency_s + wait_s(one, arrivals_per_s) for plan, one in zip(plans, met, strict=True)
        )
        if best_s * (1 - within) <= bound_s:  # never where it is infinite
            break
        weights, hoped_s = _weights(plans, met, arrivals_per_s, loads)
        if hoped_s - bound_s <= within * hoped_s:
            break
        slower, weight = _slower(problem, weights)
        answer = solve(slower)
        cuts += 1
        if isinstance(answer, Infeasible):
            break
        bound_s = max(bound_s, _proven_s(answer) - _conjugate_s(weight, arrivals_per_s))
        loads.append(_load_at(weight))
        plan = replace(repriced(prices, answer), certificate=None)
        if placement(plan) not in keys:
            keys.add(placement(plan))
            plans.append(plan)
            met.append(stations(problem, plan))
    return UnderLoad(plans=tuple(plans), bound_s=bound_s, cuts=cuts)


def _is_bounded(problem: Problem) -> bool:
    return problem.forward_only and not problem.parallel


def _has_replicas(plan: Plan) -> bool:
    return any(stage.replicas for stage in plan.stages)


def _proven_s(plan: Plan) -> float:
    return 0.0 if plan.certificate is None else plan.certificate.lower_bound


def _weights(
    plans: Sequence[Plan], stations_of: Sequence[Sequence[Station]], arrivals_per_s: float, loads: Sequence[float]
) -> tuple[dict[Resource, float], float]:
    """The weights whose bound is largest as far as these plans tell, and that bound, above which none can be.

    `loads` are those at which the program knows W, besides those of the plans.
    """
    busy = [{one.resource: one.busy_s for one in met_by} for met_by in stations_of]
    met = sorted({resource for one in busy for resource in one}, key=repr)
    unit_s = min(plan.predicted.latency_s for plan in plans)
    if not met or not unit_s:
        return {}, unit_s
    program = Program()
    weight = program.columns(len(met), high=HEAVIEST)
    latency, wait = program.columns(2, low=-inf, high=inf)
    for plan, one in zip(plans, busy, strict=True):  # latency ≤ the plan's, plus its weighted seconds
        values = [1.0, *(-one.get(resource, 0.0) / unit_s for resource in met)]
        program.row(np.append(latency, weight), values, high=plan.predicted.latency_s / unit_s)
    seen = [arrivals_per_s * max(one.values(), default=0.0) for one in busy]
    for load in (*loads, *(load for load in seen if load < MOST)):  # wait ≤ W(D) - D · all weights, for each D
        busy_s = load / arrivals_per_s
        values = [1.0, *(busy_s / unit_s for _ in met)]
        program.row(np.append(wait, weight), values, high=busy_s * load / 2 / (1 - load) / unit_s)
    program.charge(np.array([latency, wait]), -1.0)
    solved = program.solve(seconds=LP_S)
    if solved.values is None:
        return {}, unit_s
    found = {resource: max(float(solved.values[at]), 0.0) for resource, at in zip(met, weight.tolist(), strict=True)}
    return found, -solved.objective * unit_s


def _load_at(weight: float) -> float:
    """The load whose wait grows by `weight` with each second of being busy: where sD exceeds W(D) most."""
    return 1 - 1 / sqrt(1 + 2 * weight)


def _conjugate_s(weight: float, arrivals_per_s: float) -> float:
    """W*(s), the most by which sD exceeds W(D)."""
    load = _load_at(weight)
    busy_s = load / arrivals_per_s
    return weight * busy_s - busy_s * load / 2 / (1 - load)


def _slower(problem: Problem, weights: Mapping[Resource, float]) -> tuple[Problem, float]:
    """The problem with each resource's seconds times 1 + its weight, and the weights' sum.

    Links stay as they are, and their weights out of the sum, if messages would go other ways over slower ones.
    """
    topology = problem.topology.with_links(
        replace(link, bytes_per_s=link.bytes_per_s / (1 + weights.get((link.source, link.target), 0.0)))
        for link in problem.topology.links
    )
    if not _same_ways(problem.topology, topology):
        topology = problem.topology
        weights = {resource: weight for resource, weight in weights.items() if isinstance(resource, str)}
    engines, sites = {}, []
    for site in problem.sites:  # an engine of its own for each node: two nodes may share one
        key = replace(site.engine, node_class=f"{site.node} {site.engine.node_class}")
        whole, factor = problem.profile.engines[site.engine], 1 + weights.get(site.node, 0.0)
        times = {name: seconds * factor for name, seconds in whole.operator_s.items()}
        engines[key] = replace(whole, operator_s=times, call_s=whole.call_s * factor)
        sites.append(replace(site, engine=key))
    profile = replace(problem.profile, engines=engines)
    return replace(problem, topology=topology, profile=profile, sites=tuple(sites)), sum(weights.values())


def _same_ways(one: Topology, other: Topology) -> bool:
    for source, target in permutations(one.by_name, 2):
        ways = [topology.path(source, target) for topology in (one, other)]
        ends = [None if way is None else [(link.source, link.target) for link in way.links] for way in ways]
        if ends[0] != ends[1]:
            return False
    return True


def _late(problem: Problem, plan: Plan, arrivals_per_s: float, judged: int) -> Infeasible | None:
    latency_s, most_s = loaded_latency_s(problem, plan, arrivals_per_s), problem.limits.latency_s
    if latency_s == inf:
        busy = utilisations(problem, plan, arrivals_per_s)
        where = max(busy, key=lambda resource: busy[resource])
        name = where if isinstance(where, str) else " → ".join(where)
        detail = f"none of {judged} plans judged keeps up with {arrivals_per_s:g} requests/s; with one, {name} would"
        return Infeasible(constraint="throughput", detail=f"{detail} be busy for {busy[where]:.0%} of the time")
    if most_s is not None and latency_s > most_s:
        detail = (
            f"{latency_s:g} s is the least of {judged} plans judged at {arrivals_per_s:g} requests/s, of {most_s:g}"
        )
        return Infeasible(constraint="latency", detail=f"{detail} s allowed")
    return None


def _certificate(
    prices: Prices, plan: Plan, found: UnderLoad, arrivals_per_s: float, judged: int
) -> Certificate | None:
    if not _is_bounded(prices.problem):
        return None
    additive = plan if _has_replicas(plan) else repriced(prices, plan)
    latency_s = loaded_latency_s(prices.problem, additive, arrivals_per_s)
    gap = 1 - found.bound_s / latency_s if latency_s else 0.0
    if gap < -CLOSE:  # a plan that none of those bounded is like
        return None
    return Certificate(
        status="optimal" if gap <= CLOSE else "gap",
        objective="latency",
        cost_model=f"{prices.problem.cost_model}, with waits at {arrivals_per_s:g} requests/s",
        lower_bound=min(found.bound_s, latency_s),
        gap=max(gap, 0.0) if gap > CLOSE else 0.0,
        method=f"queueing on {judged} plans; bound by {found.cuts} minimum cuts with slower resources",
    )
