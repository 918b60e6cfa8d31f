"""Branches of a graph, and that no plan of branches side by side is worse than whole branches on a node each."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.cost import evaluate
from partitioner.graph import Graph
from partitioner.plan import ROUTER, Plan
from partitioner.problem import Problem
from partitioner.search.branches import branches, whole_branches
from partitioner.search.parallel import soonest
from tests.partitioner.builders import graph_of, line_of, simple_problem

EYE_AND_EAR = graph_of(  # two branches, one of which splits and joins again, then what needs both
    [["x0"], ["t0"], ["t0"], ["t1", "t2"], ["x1"], ["t4"], ["t3", "t5"]],
    {"x0": 4000, "x1": 1000, "t0": 2000, "t4": 500},
    ["t6"],
    {},
)


def problem_of(graph: Graph, seed: int = 0, **changed: object) -> Problem:
    draw = Random(seed)
    topology = line_of([draw.choice((1e5, 1e6, 1e7)) for _ in range(2)], slowdowns=(draw.choice((1.0, 8.0)), 2.0, 1.0))
    return simple_problem(graph, topology, op_s=draw.choice((1e-3, 1e-2)), parallel=True, **changed)


def test_a_branch_is_what_depends_on_the_same_inputs() -> None:
    eye, ear = frozenset({"x0"}), frozenset({"x1"})
    assert branches(EYE_AND_EAR) == [eye, eye, eye, eye, ear, ear, eye | ear]


def test_every_branch_is_tried_on_every_site_and_pins_hold() -> None:
    problem = problem_of(EYE_AND_EAR, pinned={"op4": "camera"})
    tried = list(whole_branches(problem, 27))
    assert len({tuple(site.node for site in sites) for sites in tried}) == 27
    assert {sites[4].node for sites in tried} == {"camera"}
    assert list(whole_branches(problem, 26)) == []


@pytest.mark.parametrize("forward_only", [True, False])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_without_any_time_the_plan_is_no_worse_than_whole_branches(forward_only: bool, seed: int) -> None:
    problem = problem_of(EYE_AND_EAR, seed, forward_only=forward_only)
    found = soonest(problem, seconds=0.0)
    assert isinstance(found, Plan)
    plans = [evaluate(problem, sites) for sites in whole_branches(problem, 27)]
    allowed = [plan.predicted.latency_s for plan in plans if not (forward_only and comes_down(problem, plan))]
    assert found.predicted.latency_s <= min(allowed) * (1 + 1e-9)


def comes_down(problem: Problem, plan: Plan) -> bool:
    tier = {node.name: node.tier for node in problem.topology.nodes}
    inner = [one for one in plan.crossings if ROUTER not in (one.sender, one.receiver)]
    return any(tier[one.source] > tier[one.target] for one in inner)
