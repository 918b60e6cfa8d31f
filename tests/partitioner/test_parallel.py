from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partitioner.check import faults
from partitioner.constraints import violation
from partitioner.cost import evaluate, price_stages
from partitioner.errors import InvalidProblem
from partitioner.plan import ROUTER, Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.profile import segment_key
from partitioner.search.mincut import solve
from partitioner.search.parallel import soonest
from partitioner.stages import stages_of
from partitioner.tables import price_list
from partitioner.topology import Topology
from tests.partitioner.builders import evaluator, graph_of, line_of, random_problem, simple_problem, site


def every_codec(problem: Problem, plan: Plan) -> Iterator[dict[str, str]]:
    """Each choice of admissible codecs for what the plan sends."""
    sent = sorted({name for one in plan.crossings for name in one.tensors})
    figures, allowed = problem.profile.tensors, problem.max_error
    known = {name: figures.get(name, {}) for name in sent}
    lossy = problem.codecs[1:]
    choices = [["raw", *(c for c in lossy if c in known[name] and known[name][c].error <= allowed)] for name in sent]
    for row in product(*choices):
        yield dict(zip(sent, row, strict=True))


def least_s(problem: Problem) -> float | None:
    """The least makespan over all assignments with one stage a site, and over all codecs; None if none fits."""
    tier = {node.name: node.tier for node in problem.topology.nodes}
    best, evaluated = None, evaluator(problem)
    for row in product(problem.sites, repeat=len(problem.graph.operators)):
        try:
            plan = evaluated(row)
        except InvalidProblem:
            continue
        inner = [one for one in plan.crossings if ROUTER not in (one.sender, one.receiver)]
        comes_down = any(tier[one.source] > tier[one.target] for one in inner)
        if len(plan.stages) > len(set(row)) or (comes_down and problem.forward_only):
            continue
        for codecs in every_codec(problem, plan):
            priced = evaluated(row, codecs)
            if violation(problem, priced) is None and (best is None or priced.predicted.latency_s < best):
                best = priced.predicted.latency_s
    return best


def least_in_rows_s(problem: Problem, stages: int) -> float | None:
    """The least makespan over all rows of sites, in which sites may come again, and all monotone placements on them."""
    prices, count, best = price_list(problem), len(problem.graph.operators), None
    tier = {node.name: node.tier for node in problem.topology.nodes}
    rows = [row for size in range(1, stages + 1) for row in product(problem.sites, repeat=size)]
    for row in rows:
        if max(row.count(one) for one in row) > 2:
            continue
        for at in product(range(len(row)), repeat=count):
            if len(set(at)) < len(row):
                continue
            placed = [(one, np.flatnonzero(np.array(at) == p)) for p, one in enumerate(row)]
            try:
                plan = price_stages(prices, placed)
            except InvalidProblem:
                continue
            inner = [one for one in plan.crossings if ROUTER not in (one.sender, one.receiver)]
            comes_down = any(tier[one.source] > tier[one.target] for one in inner)
            if violation(problem, plan) is None and not (comes_down and problem.forward_only):
                best = min(best or np.inf, plan.predicted.latency_s)
    return best


def assert_soonest(problem: Problem) -> None:
    assert_same(soonest(problem), least_s(problem))


def assert_same(answer: Plan | Infeasible, best_s: float | None) -> None:
    if isinstance(answer, Infeasible):
        assert best_s is None
        return
    assert best_s is not None
    assert answer.predicted.latency_s == pytest.approx(best_s, rel=1e-6)
    assert answer.certificate is not None
    assert answer.certificate.status == "optimal"


def drawn(seed: int, tiers: int | None = None, operators: int | None = None) -> Problem:
    draw = Random(seed)
    tiers = tiers or draw.choice((2, 3))
    operators = operators or draw.randint(1, 5 if tiers == 2 else 4)
    problem = random_problem(seed, tiers, operators, memory=draw.random() < 0.3)
    codecs = draw.choice((("raw",), ("raw", "int8"), ("raw", "fp16")))
    return replace(problem, parallel=True, codecs=codecs, forward_only=draw.random() < 0.5)


def priced(problem: Problem) -> Problem:
    """With watts, prices and radio energy, growing along the nodes."""
    topology = problem.topology
    nodes = tuple(replace(one, active_w=5.0 * 3**i, usd_per_hour=0.1 * 2**i) for i, one in enumerate(topology.nodes))
    links = tuple(replace(one, j_per_byte=1e-6, usd_per_byte=1e-10) for one in topology.links)
    return replace(problem, topology=Topology(nodes, links))


def solved(problem: Problem, **asked: Any) -> Plan:
    plan = soonest(problem, **asked)
    assert isinstance(plan, Plan), plan
    return plan


def soonest_s(problem: Problem, **asked: Any) -> float:
    return solved(problem, **asked).predicted.latency_s


@pytest.mark.slow
@pytest.mark.parametrize("tiers", [2, 3])
@settings(max_examples=160, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_the_makespan_equals_brute_force(tiers: int, seed: int) -> None:
    assert_soonest(drawn(seed, tiers))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9))
@example(seed=172)  # a message passes a stage over while that one computes
def test_several_stages_on_a_site_equal_brute_force(seed: int) -> None:
    problem = replace(drawn(seed, tiers=2, operators=4), codecs=("raw",))
    assert_same(soonest(problem, most_stages=3, stages_per_site=2), least_in_rows_s(problem, stages=3))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), figure=st.sampled_from(("energy_j", "cost_usd", "error", "throughput_per_s")))
def test_limits_and_colocation_equal_brute_force(seed: int, figure: str) -> None:
    problem = priced(drawn(seed, tiers=2, operators=4))
    problem = replace(problem, together=(("op0", "op2"),))
    free = soonest(problem)
    if isinstance(free, Plan):
        asked = getattr(free.predicted, figure) * (1.05 if figure == "throughput_per_s" else 0.95)
        assert_soonest(replace(problem, limits=Limits(**{figure: asked})))
    else:
        assert least_s(problem) is None


@pytest.mark.parametrize(
    ("seed", "tiers", "operators"), [*((seed, 2, 3) for seed in range(8)), (129, 2, 4), (144, 3, 4)]
)
def test_small_problems_equal_brute_force(seed: int, tiers: int, operators: int) -> None:
    """Of the last two the best plan is neither serial nor one block away from it."""
    assert_soonest(drawn(seed, tiers, operators))


def with_idle_ends(problem: Problem) -> Problem:
    """One output of them all: some operators lead nowhere."""
    return replace(problem, graph=replace(problem.graph, outputs=problem.graph.outputs[:1]))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_operators_that_lead_nowhere_equal_brute_force(seed: int) -> None:
    assert_soonest(with_idle_ends(drawn(seed, operators=4)))


@pytest.mark.parametrize("seed", range(6))
def test_what_leads_nowhere_may_end_after_the_answer(seed: int) -> None:
    assert_soonest(with_idle_ends(drawn(seed, 2, 3)))


def two_branches(length: int, *, joined: bool = False) -> Problem:
    """Two inputs, a branch of `length` operators of 10 ms behind each; all nodes equal, messages nearly free."""
    reads = [["x0"], *([f"t{i}"] for i in range(length - 1))]
    reads += [["x1"], *([f"t{length + i}"] for i in range(length - 1))]
    ends = [f"t{length - 1}", f"t{2 * length - 1}"]
    graph = graph_of([*reads, ends] if joined else reads, {}, [f"t{2 * length}"] if joined else ends, {})
    return simple_problem(graph, line_of([1e9, 1e9], propagation_s=1e-5), op_s=0.01, parallel=True)


def test_two_equal_branches_on_two_nodes_take_half() -> None:
    problem = two_branches(5)
    plan = solved(problem)
    alone_s = evaluate(problem, [site("camera")] * 10).predicted.latency_s
    assert sorted(one.operators for one in plan.stages) == [
        tuple(f"op{i}" for i in half) for half in (range(5), range(5, 10))
    ]
    assert plan.predicted.latency_s == pytest.approx(alone_s / 2, rel=0.01)
    assert plan.parallel


def test_a_join_on_a_third_node_waits_for_the_later_branch_alone() -> None:
    problem = replace(two_branches(3, joined=True), forward_only=False)
    assert soonest_s(problem) == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize(("stages_per_site", "expected_s"), [(1, 0.07), (2, 0.04)])
def test_two_nodes_run_joined_branches_side_by_side_if_the_join_may_be_a_stage_of_its_own(
    stages_per_site: int, expected_s: float
) -> None:
    problem = two_branches(3, joined=True)
    found_s = soonest_s(replace(problem, sites=problem.sites[:2]), stages_per_site=stages_per_site, most_stages=3)
    assert found_s == pytest.approx(expected_s, rel=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_no_serial_optimum_is_sooner_even_if_run_in_parallel(seed: int) -> None:
    problem = drawn(seed, tiers=2, operators=6)
    serial = solve(replace(problem, parallel=False, forward_only=True))
    if isinstance(serial, Plan):
        again = price_stages(price_list(problem), stages_of(problem, serial))
        assert soonest_s(problem) <= again.predicted.latency_s * (1 + 1e-9)


def test_data_comes_back_down_only_if_it_may() -> None:
    """The camera is fast and holds the last operator; what stands before is fast in the cloud alone."""
    graph = graph_of([["x"], ["t0"]], {}, ["t1"], {})
    problem = replace(
        simple_problem(graph, line_of([1e9]), op_s=0.01, parallel=True), pinned={"op0": "mec", "op1": "camera"}
    )
    assert isinstance(soonest(problem), Infeasible)
    assert [one.node for one in solved(replace(problem, forward_only=False)).stages] == ["mec", "camera"]


def test_a_gap_is_told_if_the_time_is_too_short() -> None:
    plan = solved(two_branches(8, joined=True), seconds=0.0)
    assert plan.certificate is not None
    assert plan.certificate.status == "gap"
    assert 0 < plan.certificate.lower_bound < plan.predicted.latency_s
    assert plan.certificate.gap == pytest.approx(1 - plan.certificate.lower_bound / plan.predicted.latency_s)


def test_without_time_moved_blocks_are_found_still() -> None:
    plan = solved(two_branches(5), seconds=0.0)
    assert len(plan.stages) == 2
    assert plan.predicted.latency_s == pytest.approx(0.05, rel=0.01)


def test_a_known_plan_is_never_worsened() -> None:
    problem = replace(drawn(23, tiers=3, operators=4), forward_only=False)  # for which no time is too little
    best, quick = solved(problem), solved(problem, seconds=0.0)
    assert best.predicted.latency_s < quick.predicted.latency_s
    assert solved(problem, seconds=0.0, known=(best,)).predicted.latency_s == best.predicted.latency_s


def test_a_deadline_below_the_bound_is_refused_with_the_bound() -> None:
    refused = soonest(replace(two_branches(5), limits=Limits(latency_s=0.01)))
    assert isinstance(refused, Infeasible)
    assert refused.constraint == "latency"
    assert "the lower bound is 0.05" in refused.detail


def test_a_limit_that_no_plan_keeps_is_named() -> None:
    refused = soonest(replace(priced(two_branches(2)), limits=Limits(energy_j=1e-6)))
    assert isinstance(refused, Infeasible)
    assert refused.constraint == "energy"
    assert refused.detail.startswith("no plan keeps the limits")


def test_operators_that_belong_together_share_a_stage() -> None:
    plan = solved(replace(two_branches(3), together=(("op0", "op5"),)))
    assert len(plan.stages) == 1


def test_measured_segments_choose_among_the_plans_met() -> None:
    problem = two_branches(3)
    slow = {
        one.engine: replace(
            problem.profile.engines[one.engine],
            segment_s={segment_key(tuple(f"op{i}" for i in half)): 1.0 for half in (range(3), range(3, 6))},
        )
        for one in problem.sites
    }
    plan = solved(replace(problem, profile=replace(problem.profile, engines=slow)))
    assert plan.predicted.latency_s == pytest.approx(0.06, rel=0.01)
    assert plan.certificate is not None
    assert plan.certificate.lower_bound == pytest.approx(0.03, rel=0.01)


def test_the_checker_finds_no_fault() -> None:
    problem = replace(two_branches(4, joined=True), forward_only=False)
    assert faults(problem, solved(problem)) == ()
