"""The best plan while requests come: judged by the model of waits, its bound against brute force."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.check import faults
from partitioner.cost import evaluate
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.queueing import loaded_latency_s
from partitioner.search.mincut import best_per_chain, solve
from partitioner.search.underload import best_under_load, found_under_load
from partitioner.tables import price_list
from partitioner.topology import Link
from tests.partitioner.builders import brute_force, chain_graph, line_of, random_problem, simple_problem, site


def planned(problem: Problem, arrivals_per_s: float) -> Plan:
    plan = best_under_load(problem, best_per_chain(problem), arrivals_per_s)
    assert isinstance(plan, Plan), plan
    assert plan.certificate is not None
    return plan


def uneven() -> Problem:
    """The mec is four times faster than the camera, behind a link that a whole input keeps busy for long."""
    return simple_problem(chain_graph(6, 4000), line_of([2e6], slowdowns=[4.0]), op_s=0.002)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([2, 2, 3]))
@settings(max_examples=150, deadline=None)
def test_no_plan_is_below_the_bound(seed: int, tiers: int) -> None:
    problem = replace(random_problem(seed, tiers, 3 if tiers == 3 else 5), codecs=("raw",))
    draw = Random(seed)
    plans = brute_force(problem)
    if not plans or plans[0].predicted.throughput_per_s == float("inf"):
        return
    most_per_s = max(plan.predicted.throughput_per_s for plan in plans)
    arrivals_per_s = min(most_per_s, 1e6) * draw.choice((0.3, 0.6, 0.9))
    waits = [loaded_latency_s(problem, plan, arrivals_per_s) for plan in plans]
    bound_s = found_under_load(price_list(problem), plans[:1], arrivals_per_s, rounds=12).bound_s
    assert bound_s <= min(waits) * (1 + 1e-9)
    plan = best_under_load(problem, best_per_chain(problem), arrivals_per_s)
    if isinstance(plan, Infeasible):  # the one that keeps up was not found
        assert plan.constraint == "throughput"
        return
    assert faults(problem, plan) == ()
    told, latency_s = plan.certificate, loaded_latency_s(problem, plan, arrivals_per_s)
    assert told is not None
    assert told.lower_bound <= min(waits) * (1 + 1e-9) <= latency_s * (1 + 2e-9)
    assert told.gap == pytest.approx(max(0.0, 1 - told.lower_bound / latency_s), abs=1e-9)


def test_without_load_it_is_the_plan_of_the_minimum_cut() -> None:
    plan, alone = planned(uneven(), 0.0), solve(uneven())
    assert isinstance(alone, Plan)
    assert (plan.stages, plan.crossings) == (alone.stages, alone.crossings)
    assert plan.certificate is not None
    assert plan.certificate.status == "optimal"


def test_where_the_best_alone_is_saturated_another_plan_is_found_and_bounded() -> None:
    problem = uneven()
    alone = solve(problem)
    assert isinstance(alone, Plan)
    load = 1.05 * alone.predicted.throughput_per_s
    plan = best_under_load(problem, [], load)
    assert isinstance(plan, Plan)
    assert plan.certificate is not None
    best_s = min(loaded_latency_s(problem, one, load) for one in brute_force(problem))
    assert loaded_latency_s(problem, plan, load) == pytest.approx(best_s)
    assert alone.predicted.latency_s < plan.certificate.lower_bound <= best_s
    assert plan.certificate.cost_model == f"additive, with waits at {load:g} requests/s"


@pytest.mark.parametrize("seed", [0, 1, 6])
def test_searching_with_slower_resources_finds_what_no_chain_s_best_alone_is(seed: int) -> None:
    problem = replace(random_problem(seed, 2, 6), codecs=("raw",))
    plans = brute_force(problem)
    load = 0.6 * max(plan.predicted.throughput_per_s for plan in plans)
    best_s = min(loaded_latency_s(problem, plan, load) for plan in plans)
    assert min(loaded_latency_s(problem, plan, load) for plan in best_per_chain(problem)) > 1.01 * best_s
    assert loaded_latency_s(problem, planned(problem, load), load) == pytest.approx(best_s)


def test_the_bound_holds_where_slower_links_would_send_messages_another_way() -> None:
    line = line_of([1e7, 1e7], propagation_s=0.05, slowdowns=[100.0, 100.0])
    ends = (("camera", "cloud"), ("cloud", "camera"))
    direct = (Link(source=a, target=b, bytes_per_s=1e7, propagation_s=0.0) for a, b in ends)
    problem = simple_problem(chain_graph(2, 10_000), replace(line, links=(*line.links, *direct)))
    plans = brute_force(problem)
    best_s = min(loaded_latency_s(problem, plan, 200.0) for plan in plans)
    found = found_under_load(price_list(problem), plans[:1], 200.0)
    assert 0 < found.bound_s <= best_s * (1 + 1e-9)


def test_plans_priced_for_other_links_are_judged_for_these() -> None:
    elsewhere = best_per_chain(replace(uneven(), topology=line_of([1e9], slowdowns=[4.0])))
    plan = best_under_load(uneven(), elsewhere, 10.0)
    assert isinstance(plan, Plan)
    assert loaded_latency_s(uneven(), plan, 10.0) == loaded_latency_s(uneven(), planned(uneven(), 10.0), 10.0)


def test_what_none_keeps_up_with_is_told_with_what_would_be_busiest() -> None:
    refused = best_under_load(uneven(), best_per_chain(uneven()), 1e4)
    assert isinstance(refused, Infeasible)
    assert refused.constraint == "throughput"
    assert "keeps up with 10000 requests/s; with one," in refused.detail


def test_a_limit_on_latency_counts_the_wait() -> None:
    alone_s = planned(uneven(), 0.0).predicted.latency_s
    limited = replace(uneven(), limits=Limits(latency_s=1.01 * alone_s))
    assert isinstance(best_under_load(limited, [], 1.0), Plan)
    refused = best_under_load(limited, [], 20.0)
    assert isinstance(refused, Infeasible)
    assert refused.constraint == "latency"


def test_no_certificate_without_a_bound() -> None:
    back = replace(uneven(), forward_only=False)
    assert isinstance(plan := best_under_load(back, [], 5.0), Plan)
    assert plan.certificate is None


def test_replicas_are_judged_but_not_bounded_by_plans_without() -> None:
    problem = replace(uneven(), most_replicas=2)
    whole = evaluate(problem, [site("mec")] * 6)
    twice = replace(whole, stages=(replace(whole.stages[0], replicas=("camera",)),))
    plan = best_under_load(problem, [twice], 60.0)
    assert isinstance(plan, Plan)
    assert plan.certificate is not None
    assert plan.certificate.lower_bound == solve(uneven()).certificate.lower_bound  # type: ignore[union-attr]
