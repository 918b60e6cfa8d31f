"""The measured runner-up: every way to lay timed segments together, against brute force and by hand."""

from dataclasses import replace
from typing import Any

import pytest

from partitioner.cost import evaluate
from partitioner.graph import Graph
from partitioner.plan import Plan
from partitioner.problem import Problem
from partitioner.profile import EngineProfile, Profile, segment_key
from partitioner.standing import measured_plans, standing
from tests.partitioner.builders import brute_force, chain_graph, graph_of, line_of, simple_problem, site

CAMERA, MEC = site("camera"), site("mec")
GRAPH = chain_graph(4)
NAMES = tuple(operator.name for operator in GRAPH.operators)


def problem(timed: dict[str, dict[tuple[int, int], float]], graph: Graph = GRAPH, **changed: Any) -> Problem:
    """Four operators on two nodes; `timed` holds seconds by node and range."""
    posed = simple_problem(graph, line_of([1e6]), **changed)
    engines = {}
    for one in posed.sites:
        segments = {NAMES[a:b]: seconds for (a, b), seconds in timed.get(one.node, {}).items()}
        engines[one.engine] = EngineProfile(
            operator_s=dict.fromkeys(NAMES, 1e-3),
            segment_s={segment_key(names): seconds for names, seconds in segments.items()},
            segments={segment_key(names): names for names in segments},
        )
    return replace(posed, profile=Profile(model="m", engines=engines))


def stages(plan: Plan) -> list[tuple[str, int]]:
    return [(stage.node, len(stage.operators)) for stage in plan.stages]


TIMED = {"camera": {(0, 4): 0.050, (0, 2): 0.010, (0, 1): 0.002}, "mec": {(2, 4): 0.010, (0, 4): 0.020}}


def test_measured_plans_are_those_of_which_every_stage_was_timed() -> None:
    posed = problem(TIMED)
    wanted = [plan for plan in brute_force(posed) if all(stage.measured for stage in plan.stages)]
    assert sorted(map(stages, measured_plans(posed))) == sorted(map(stages, wanted))
    assert len(wanted) == 3


def test_the_gap_is_to_the_best_other_measured_plan() -> None:
    posed = problem(TIMED)
    plan = evaluate(posed, [MEC] * 4)
    found = standing(posed, plan)
    assert found is not None
    assert stages(found.runner_up) == [("camera", 2), ("mec", 2)]
    assert found.gap == pytest.approx(found.runner_up.predicted.latency_s / plan.predicted.latency_s - 1)


def test_a_measured_plan_that_is_better_than_the_one_given_has_a_gap_below_nought() -> None:
    posed = problem(TIMED)
    found = standing(posed, evaluate(posed, [CAMERA] * 4))
    assert found is not None
    assert found.gap < 0


def test_pieces_that_read_each_other_are_no_measured_plan() -> None:
    crossed = graph_of(
        [["x"], ["x"], ["t0", "t1"], ["t0", "t1"]], dict.fromkeys(("x", "t0", "t1", "t2", "t3"), 1), ["t2", "t3"], {}
    )
    posed = problem({"camera": {(0, 4): 0.05}}, graph=crossed, forward_only=False)
    pieces = {"camera": ("op0", "op2"), "mec": ("op1", "op3")}  # each convex, but neither can go first
    engines = {
        one.engine: replace(
            posed.profile.engines[one.engine],
            segment_s={segment_key(pieces[one.node]): 1e-3},
            segments={segment_key(pieces[one.node]): pieces[one.node]},
        )
        for one in posed.sites
    }
    assert measured_plans(replace(posed, profile=replace(posed.profile, engines=engines))) == ()


def test_nothing_is_said_where_no_other_plan_was_measured() -> None:
    posed = problem({"camera": {(0, 4): 0.05}, "mec": {(2, 4): 0.01}})
    assert standing(posed, evaluate(posed, [CAMERA] * 4)) is None


def test_a_runner_up_keeps_the_limits_and_goes_up_only() -> None:
    private = problem(TIMED, private=frozenset({"x"}))
    assert sorted(map(stages, measured_plans(private))) == [[("camera", 2), ("mec", 2)], [("camera", 4)]]
    down = problem({"mec": {(0, 2): 0.001}, "camera": {(2, 4): 0.001}})
    assert measured_plans(down) == ()
    assert len(measured_plans(replace(down, forward_only=False))) == 1
