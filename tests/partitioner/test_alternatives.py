"""The plans that were not taken: what is different, what they would cost, and that each stands."""

from dataclasses import replace

from partitioner.check import faults
from partitioner.plan import Plan
from partitioner.problem import Limits, Problem
from partitioner.search.alternatives import alternatives
from partitioner.search.answer import answer
from tests.partitioner.builders import graph_of, line_of, simple_problem


def split() -> tuple[Problem, Plan]:
    """A chain of six that is narrow in the middle, a camera eight times slower than the MEC: the cut is there."""
    reads = [["x"], *([f"t{i}"] for i in range(5))]
    sizes = {"x": 40_000, **{f"t{i}": 400 if i == 2 else 20_000 for i in range(5)}, "t5": 10}
    problem = simple_problem(graph_of(reads, sizes, ["t5"], {}), line_of([1e6], slowdowns=(8.0, 1.0)))
    plan = answer(problem)
    assert isinstance(plan, Plan) and [len(stage.operators) for stage in plan.stages] == [3, 3]
    return problem, plan


def test_the_cut_is_moved_before_what_makes_and_behind_what_reads_its_tensor() -> None:
    problem, plan = split()
    found = {one.change: one for one in alternatives(problem, plan)}
    before, behind = found["cut before op2"], found["cut behind op3"]
    assert "op2" not in before.plan.stages[0].operators
    assert "op3" in behind.plan.stages[0].operators


def test_alternatives_stand_are_worse_and_come_best_first() -> None:
    problem, plan = split()
    found = alternatives(problem, plan)
    scores = [one.score for one in found]
    assert scores == sorted(scores) and scores[0] > plan.predicted.latency_s
    assert [one.score for one in found] == [one.plan.predicted.latency_s for one in found]
    assert not [fault for one in found for fault in faults(replace(problem, pinned={}), one.plan)]


def test_no_alternative_is_the_plan_itself_nor_told_twice() -> None:
    problem, plan = split()
    placed = [[(s.node, s.operators) for s in one.plan.stages] for one in alternatives(problem, plan, most=99)]
    assert [(s.node, s.operators) for s in plan.stages] not in placed
    assert len({repr(one) for one in placed}) == len(placed)
    assert [(s.node, len(s.operators)) for s in plan.stages] == [("camera", 3), ("mec", 3)]
    assert any(one.change.startswith("all on mec") for one in alternatives(problem, plan))


def test_what_breaks_a_limit_is_no_alternative() -> None:
    problem, plan = split()
    hurried = replace(problem, limits=Limits(latency_s=1.05 * plan.predicted.latency_s))
    assert all(
        one.plan.predicted.latency_s <= hurried.limits.latency_s * (1 + 1e-9) for one in alternatives(hurried, plan)
    )
    assert len(alternatives(hurried, plan)) < len(alternatives(problem, plan))
