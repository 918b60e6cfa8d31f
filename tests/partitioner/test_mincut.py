from dataclasses import replace
from random import Random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.constraints import violation
from partitioner.cost import evaluate
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Problem
from partitioner.profile import EngineProfile, segment_key
from partitioner.search.cut import CutProblem, network, solve_cut
from partitioner.search.mincut import best_per_chain, solve
from partitioner.tables import tabulate
from tests.partitioner.builders import brute_force, chain_graph, graph_of, line_of, random_problem, simple_problem, site

CAMERA, MEC = site("camera"), site("mec")


def solved(problem: Problem) -> Plan:
    plan = solve(problem)
    assert isinstance(plan, Plan), plan
    return plan


def assert_optimal(problem: Problem) -> None:
    """The solver's plan against every plan there is, all priced by the one evaluator."""
    known, answer = brute_force(problem), solve(problem)
    if isinstance(answer, Infeasible):
        assert not known
        return
    best_s = known[0].predicted.latency_s
    assert violation(problem, answer) is None
    assert answer.predicted.latency_s == pytest.approx(best_s, rel=1e-8)
    assert answer.certificate is not None
    assert answer.certificate.status == "optimal"
    assert answer.certificate.lower_bound <= best_s * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_two_tiers_equal_brute_force(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        assert_optimal(random_problem(seed, tiers=2, operators=5))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_three_tiers_equal_brute_force(block: int) -> None:
    for seed in range(block * 60, block * 60 + 60):
        assert_optimal(random_problem(1000 + seed, tiers=3, operators=4))


@pytest.mark.slow
@pytest.mark.parametrize("tiers", [2, 3])
def test_memory_limits_equal_brute_force(tiers: int) -> None:
    for seed in range(60):
        assert_optimal(random_problem(2000 + seed, tiers=tiers, operators=4, memory=True))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(10_000, 10**9), tiers=st.integers(1, 3), operators=st.integers(1, 4), memory=st.booleans())
def test_any_small_problem_equals_brute_force(seed: int, tiers: int, operators: int, memory: bool) -> None:
    assert_optimal(random_problem(seed, tiers, operators, memory))


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_is_networkx_minimum_cut(seed: int) -> None:
    draw = np.random.default_rng(seed)
    problem = random_problem(seed, tiers=3, operators=8)
    table, count = tabulate(problem.graph), len(problem.graph.operators)
    low, high = np.ones(count, np.int64), np.full(count, 3, np.int64)
    step = draw.uniform(0, 0.01, (4, len(table.names)))
    cut_problem = CutProblem(table=table, seconds=draw.uniform(0, 0.01, (count, 3)), low=low, high=high, step=step)
    net = network(cut_problem)
    oracle = nx.DiGraph()
    oracle.add_nodes_from((net.source, net.source + 1))
    for tail, head, capacity in zip(net.tail.tolist(), net.head.tolist(), net.capacity.tolist(), strict=True):
        known = oracle.get_edge_data(tail, head, {"capacity": 0.0})["capacity"]
        oracle.add_edge(tail, head, capacity=known + capacity)
    cut = solve_cut(cut_problem)
    assert cut is not None
    best_s = net.floor_s + nx.minimum_cut_value(oracle, net.source, net.source + 1)
    assert cut.bound_s == pytest.approx(best_s, rel=1e-9)


def test_a_split_wins_where_a_small_activation_stands_before_heavy_work() -> None:
    graph = graph_of([["x"], ["t0"], ["t1"]], {"x": 100_000, "t0": 10}, ["t2"], {})
    times = {
        CAMERA.engine: EngineProfile(operator_s={"op0": 0.001, "op1": 0.1, "op2": 0.1}),
        MEC.engine: EngineProfile(operator_s={"op0": 0.001, "op1": 0.001, "op2": 0.001}),
    }
    problem = simple_problem(graph, line_of([1e6]))
    plan = solved(replace(problem, profile=replace(problem.profile, engines=times)))
    assert [one.operators for one in plan.stages] == [("op0",), ("op1", "op2")]
    assert plan.reason.startswith("split: camera | mec takes")
    assert plan.unsplit_s == {"camera": pytest.approx(0.201), "mec": pytest.approx(0.411004)}


def test_not_splitting_is_an_answer_that_names_the_best_split_and_its_crossing() -> None:
    plan = solved(simple_problem(chain_graph(4), line_of([1e6])))
    assert not plan.is_split
    assert plan.reason == (
        "not split: all on camera takes 4 ms; the best split found (camera | mec) would take 20 ms, "
        "of which 16 ms is the crossing"
    )
    assert plan.unsplit_s == {"camera": pytest.approx(0.004), "mec": pytest.approx(0.02)}
    assert plan.certificate is not None
    assert (plan.certificate.status, plan.certificate.objective) == ("optimal", "latency")


def test_private_pixels_keep_their_readers_at_the_source() -> None:
    problem = simple_problem(chain_graph(4), line_of([1e9], slowdowns=(100.0,)), op_s=0.1)
    assert solved(problem).unsplit_s["mec"] is not None
    plan = solved(replace(problem, private=frozenset({"x", "t0"})))
    assert [one.operators for one in plan.stages] == [("op0", "op1"), ("op2", "op3")]
    assert plan.unsplit_s["mec"] is None
    assert "privacy" not in solved(problem).reason


def test_a_middle_tier_that_does_not_pay_is_left_out() -> None:
    problem = simple_problem(chain_graph(6), line_of([1e6, 1e9], slowdowns=(1e4, 1.0)))
    plan = solved(replace(problem, private=frozenset({"x"})))
    assert [one.node for one in plan.stages] == ["camera", "mec"]


def test_of_two_engines_on_a_node_the_faster_is_taken() -> None:
    problem = simple_problem(chain_graph(3), line_of([1e6]))
    quick = site("camera", "ov")
    engines = {
        **problem.profile.engines,
        quick.engine: EngineProfile(operator_s=dict.fromkeys(("op0", "op1", "op2"), 1e-5)),
    }
    plan = solved(replace(problem, sites=(*problem.sites, quick), profile=replace(problem.profile, engines=engines)))
    assert [one.backend for one in plan.stages] == ["ov"]


def test_memory_forces_a_split_and_shared_weights_count_once() -> None:
    graph = graph_of([["x"], ["t0"], ["t1"]], {}, ["t2"], {0: ["a", "b"], 1: ["b"], 2: ["c"]})
    problem = simple_problem(graph, line_of([1e6]))
    nodes = tuple(replace(one, memory_bytes=200) for one in problem.topology.nodes)
    plan = solved(replace(problem, topology=replace(problem.topology, nodes=nodes)))
    assert [one.weights_bytes for one in plan.stages] == [200, 100]


def infeasible(problem: Problem) -> Infeasible:
    answer = solve(problem)
    assert isinstance(answer, Infeasible)
    return answer


def test_weights_above_every_memory_are_infeasible_and_told_in_bytes() -> None:
    graph = graph_of([["x"], ["t0"], ["t1"]], {}, ["t2"], {0: ["a"], 1: ["b"], 2: ["c"]})
    problem = simple_problem(graph, line_of([1e6]))
    nodes = tuple(replace(one, memory_bytes=150) for one in problem.topology.nodes)
    answer = infeasible(replace(problem, topology=replace(problem.topology, nodes=nodes)))
    assert answer.constraint == "memory"
    assert "300 bytes" in answer.detail
    assert "camera holds 150" in answer.detail


def test_an_operator_too_heavy_for_every_node_is_named() -> None:
    graph = graph_of([["x"], ["t0"]], {}, ["t1"], {0: ["a", "b"], 1: ["c"]})
    problem = simple_problem(graph, line_of([1e6]))
    nodes = tuple(replace(one, memory_bytes=150) for one in problem.topology.nodes)
    answer = infeasible(replace(problem, topology=replace(problem.topology, nodes=nodes)))
    assert answer.constraint == "memory"
    assert answer.detail == "operator 'op0' alone has 200 bytes of weights; no node holds more than 150"


def test_an_operator_that_no_engine_runs_is_named() -> None:
    problem = simple_problem(chain_graph(3), line_of([1e6]))
    engines = {key: EngineProfile(operator_s={"op0": 1.0, "op1": 1.0}) for key in problem.profile.engines}
    answer = infeasible(replace(problem, profile=replace(problem.profile, engines=engines)))
    assert (answer.constraint, "'op2'" in answer.detail, "ort on mec" in answer.detail) == ("operators", True, True)


def test_a_private_operator_pinned_elsewhere_is_a_contradiction_of_privacy() -> None:
    problem = simple_problem(chain_graph(3), line_of([1e6]), private=frozenset({"x"}), pinned={"op0": "mec"})
    assert infeasible(problem).constraint == "privacy"


def test_no_way_to_any_site_is_unreachable() -> None:
    problem = simple_problem(chain_graph(3), line_of([1e6]))
    away = replace(problem, sites=(MEC,), topology=replace(problem.topology, links=()))
    assert infeasible(away).constraint == "reachability"


def test_every_chains_best_is_offered_for_measuring() -> None:
    plans = best_per_chain(simple_problem(chain_graph(4), line_of([1e6, 1e6])))
    rows = {tuple(one.node for one in plan.stages) for plan in plans}
    assert {("camera",), ("mec",), ("cloud",), ("camera", "mec"), ("mec", "cloud")} <= rows
    assert [plan.predicted.latency_s for plan in plans] == sorted(plan.predicted.latency_s for plan in plans)


def test_measured_segments_decide_between_chains_and_the_gap_is_admitted() -> None:
    problem = simple_problem(chain_graph(2), line_of([1e6]))
    fused = EngineProfile(
        operator_s=problem.profile.engines[MEC.engine].operator_s, segment_s={segment_key(("op0", "op1")): 0.0001}
    )
    slow = replace(fused, segment_s={segment_key(("op0", "op1")): 0.1})
    engines = {CAMERA.engine: slow, MEC.engine: fused}
    plan = solved(replace(problem, profile=replace(problem.profile, engines=engines)))
    assert [one.node for one in plan.stages] == ["mec"]
    assert plan.predicted.latency_s == pytest.approx(0.0161)
    assert plan.certificate is not None
    assert plan.certificate.status == "gap"
    assert plan.certificate.lower_bound == pytest.approx(0.002)


def test_spent_effort_is_admitted_as_a_gap() -> None:
    problem = random_problem(12, tiers=2, operators=8, memory=True)
    plan, best = solve(problem, effort=20_000), solved(problem)
    assert isinstance(plan, Plan)
    assert plan.certificate is not None
    assert plan.certificate.lower_bound <= best.predicted.latency_s <= plan.predicted.latency_s * (1 + 1e-9)
    assert plan.certificate.status == "gap"


def test_the_answer_is_the_same_every_time() -> None:
    problem = random_problem(77, tiers=3, operators=8)
    assert solve(problem) == solve(problem)


def test_a_large_graph_beats_every_cut_of_its_line() -> None:
    draw, count = Random(3), 300
    problem = simple_problem(chain_graph(count), line_of([1e6]))
    engines = {
        key: EngineProfile(operator_s={f"op{i}": draw.uniform(0, 1e-3) for i in range(count)})
        for key in problem.profile.engines
    }
    problem = replace(problem, profile=replace(problem.profile, engines=engines))
    by_hand = [evaluate(problem, [CAMERA] * at + [MEC] * (count - at)).predicted.latency_s for at in range(count + 1)]
    assert solved(problem).predicted.latency_s == pytest.approx(min(by_hand))


def test_a_weight_that_nothing_reads_takes_no_memory() -> None:
    graph = graph_of([["x"], ["t0"]], {}, ["t1"], {0: ["a"]})
    problem = simple_problem(replace(graph, weights_bytes={"a": 100, "unread": 10**9}), line_of([1e6]))
    nodes = tuple(replace(one, memory_bytes=100) for one in problem.topology.nodes)
    assert not solved(replace(problem, topology=replace(problem.topology, nodes=nodes))).is_split


def test_without_effort_left_a_plan_that_fits_is_still_found_with_its_gap_told() -> None:
    graph = replace(chain_graph(6), weights_bytes={f"w{i}": 100 for i in range(6)})
    operators = tuple(replace(one, weights=(f"w{i}",)) for i, one in enumerate(graph.operators))
    problem = simple_problem(replace(graph, operators=operators), line_of([1e6]))
    nodes = tuple(replace(one, memory_bytes=400) for one in problem.topology.nodes)
    plan = solve(replace(problem, topology=replace(problem.topology, nodes=nodes)), effort=0)
    assert isinstance(plan, Plan)
    assert max(stage.weights_bytes for stage in plan.stages) <= 400
    assert plan.certificate is not None and plan.certificate.lower_bound <= plan.predicted.latency_s
