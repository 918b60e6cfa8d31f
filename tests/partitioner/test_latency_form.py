"""A plan's latency form against pricing the plan anew, under links that moved while paths stayed."""

from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from partitioner.errors import InvalidProblem
from partitioner.latency_form import Carried, LatencyForm, gain_std_s, latency_form
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Problem
from partitioner.repricing import repriced
from partitioner.search.mincut import solve
from partitioner.tables import price_list
from partitioner.topology import Link, Topology
from tests.partitioner.builders import brute_force, random_problem

UP, DOWN = ("camera", "mec"), ("mec", "camera")


def moved(topology: Topology, seed: int) -> Topology:
    """The same links at other rates and propagations."""
    draw = Random(seed)
    links = [
        replace(one, bytes_per_s=10 ** draw.uniform(4, 8), propagation_s=draw.uniform(0, 0.02))
        for one in topology.links
    ]
    return topology.with_links(links)


def rates_of(topology: Topology) -> dict[tuple[str, str], Link]:
    return {(one.source, one.target): one for one in topology.links}


def keeps_ways(plan: Plan, one: Topology, other: Topology) -> bool:
    def ways(topology: Topology) -> list[list[tuple[str, str]]]:
        paths = [topology.path(crossing.source, crossing.target) for crossing in plan.crossings]
        return [[(link.source, link.target) for link in path.links] for path in paths if path is not None]

    return ways(one) == ways(other)


def form_error(problem: Problem, plan: Plan, seed: int) -> float | None:
    """By how much the form differs from the plan priced anew, relatively; None where a message goes another way."""
    anew = replace(problem, topology=moved(problem.topology, seed))
    if not keeps_ways(plan, problem.topology, anew.topology):
        return None
    latency_s = repriced(price_list(anew), plan).predicted.latency_s
    told_s = latency_form(problem.topology, plan).seconds(rates_of(anew.topology))
    return abs(told_s - latency_s) / max(latency_s, 1e-12)


def test_the_form_is_the_plan_priced_anew_under_other_links() -> None:
    errors = []
    for seed in range(20):
        problem = random_problem(seed, operators=4, tiers=3)
        plans = [*islice(brute_force(problem), 3)]
        errors += [form_error(problem, plan, seed) for plan in plans]
    told = [error for error in errors if error is not None]
    assert len(told) > 30
    assert max(told) < 1e-9


@pytest.mark.slow
def test_the_form_holds_on_larger_drawn_models() -> None:
    told = []
    for seed in range(300):
        problem = random_problem(seed, operators=30, tiers=3)
        plan = solve(problem)
        if not isinstance(plan, Infeasible):
            told += [error for error in (form_error(problem, plan, seed + n) for n in range(4)) if error is not None]
    assert len(told) > 600
    assert max(told) < 1e-9


def test_a_parallel_plan_has_no_form() -> None:
    problem = random_problem(1, operators=4, tiers=2)
    plan = replace(brute_force(problem)[0], parallel=True)
    with pytest.raises(InvalidProblem, match="side by side"):
        latency_form(problem.topology, plan)


def test_a_link_of_which_nothing_is_known_is_named() -> None:
    form = LatencyForm(0.01, (Carried(*UP, 1000, 1),))
    with pytest.raises(InvalidProblem, match="camera → mec"):
        form.seconds({})


def test_an_unsure_rate_makes_a_gain_unsure_by_the_bytes_that_differ() -> None:
    rates = {ends: Link(source=ends[0], target=ends[1], bytes_per_s=1e6, propagation_s=0.0) for ends in (UP, DOWN)}
    heavy = LatencyForm(0.0, (Carried(*UP, 300_000, 1), Carried(*DOWN, 5000, 1)))
    light = LatencyForm(0.0, (Carried(*UP, 100_000, 1), Carried(*DOWN, 5000, 1)))
    assert gain_std_s(heavy, light, rates, {UP: 0.5, DOWN: 0.5}) == pytest.approx(0.1)
    assert gain_std_s(heavy, heavy, rates, {UP: 0.5, DOWN: 0.5}) == 0.0


def test_doubt_about_what_counts_for_no_more_than_a_bound_is_no_doubt() -> None:
    """However unsure a crawling link is, a plan that sends over it is worse than one that doesn't."""
    rates = {UP: Link(source=UP[0], target=UP[1], bytes_per_s=1e5, propagation_s=0.0)}
    heavy, device = LatencyForm(0.0, (Carried(*UP, 300_000, 1),)), LatencyForm(0.15, ())
    assert gain_std_s(heavy, device, rates, {UP: 0.2}) == pytest.approx(0.6)
    assert gain_std_s(heavy, device, rates, {UP: 0.2}, at_most=0.3) == 0.0
    assert gain_std_s(heavy, device, rates, {UP: 0.2}, at_most=2.9) == pytest.approx(0.5)
