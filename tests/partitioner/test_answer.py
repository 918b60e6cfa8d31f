"""One door to all solvers: each question reaches the one that is exact for it, and what can't be is named."""

from dataclasses import replace

import pytest

from partitioner.errors import InvalidProblem
from partitioner.figures import score
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.profile import segment_key
from partitioner.search import answer as solvers
from partitioner.search.answer import answer
from partitioner.search.mincut import solve
from partitioner.search.mixed import best
from tests.partitioner.builders import chain_graph, line_of, random_problem, simple_problem


def problem(**changed: object) -> Problem:
    return simple_problem(chain_graph(5), line_of([1e6], slowdowns=(8.0, 1.0)), **changed)


@pytest.mark.parametrize(
    ("changed", "method"),
    [
        ({}, "minimum cut"),
        ({"objective": "throughput"}, "ideals"),
        ({"forward_only": False}, "mixed integer"),
        ({"limits": Limits(throughput_per_s=1.0)}, "mixed integer"),
        ({"together": (("op0", "op1"),)}, "mixed integer"),
    ],
)
def test_the_special_solver_answers_where_it_is_exact(changed: dict[str, object], method: str) -> None:
    found = answer(problem(**changed))
    assert isinstance(found, Plan) and found.certificate is not None
    assert method in found.certificate.method and found.certificate.status == "optimal"


@pytest.mark.parametrize("objective", ["latency", "throughput"])
@pytest.mark.parametrize("seed", range(12))
def test_special_and_general_solvers_agree(seed: int, objective: str) -> None:
    asked = replace(random_problem(seed, 3, 5), objective=objective)
    special, general = answer(asked), best(asked)
    if isinstance(special, Infeasible):
        assert isinstance(general, Infeasible)
        return
    assert isinstance(general, Plan)
    figures = [score(one.predicted, objective) for one in (special, general)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-7)


def test_a_gap_that_cuts_leave_under_tight_memory_is_closed_by_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, effort = random_problem(12, 2, 8, memory=True), 20_000
    cuts, proven = solve(asked, effort=effort), solve(asked)
    assert isinstance(cuts, Plan) and cuts.certificate is not None and cuts.certificate.status == "gap"
    monkeypatch.setattr(solvers, "EFFORT", 3 * effort)
    found = answer(asked)
    assert isinstance(found, Plan) and found.certificate is not None and isinstance(proven, Plan)
    assert found.certificate.status == "optimal" and "mixed integer" in found.certificate.method
    assert found.predicted.latency_s == pytest.approx(proven.predicted.latency_s, rel=1e-9)


def test_a_deadline_below_the_least_latency_is_refused_with_that() -> None:
    found = answer(problem(limits=Limits(latency_s=1e-4)))
    assert isinstance(found, Infeasible) and found.constraint == "latency"
    assert "within 0.1 ms is asked for; no plan takes less than" in found.detail


def test_colocation_that_pins_tear_apart_is_refused_by_name() -> None:
    found = answer(problem(together=(("op0", "op2"),), pinned={"op0": "camera", "op2": "mec"}))
    assert isinstance(found, Infeasible) and found.constraint == "together"
    assert "op0, op1, op2 must share a stage, but of them op0 to camera, op2 to mec is pinned" in found.detail


def test_groups_that_hold_each_other_in_a_circle_become_one() -> None:
    """op0 with op2, op1 with op3, in a row: all four must share a stage, so a pin of one pins them all."""
    groups = (("op0", "op2"), ("op1", "op3"))
    found = answer(problem(together=groups, pinned={"op0": "camera"}))
    assert isinstance(found, Plan)
    assert found.stages[0].operators[:4] == ("op0", "op1", "op2", "op3") and found.stages[0].node == "camera"
    torn = answer(problem(together=groups, pinned={"op0": "camera", "op3": "mec"}))
    assert isinstance(torn, Infeasible) and "op0, op1, op2, op3 must share a stage" in torn.detail


def test_an_unknown_objective_or_operator_is_refused_by_name() -> None:
    with pytest.raises(InvalidProblem, match="no objective 'beauty'"):
        answer(problem(objective="beauty"))
    with pytest.raises(InvalidProblem, match="'op9', to share a stage, is not in the model"):
        answer(problem(together=(("op0", "op9"),)))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"most_replicas": 2}, "replicas are planned for the objective throughput without limits"),
        ({"serialised": True}, "serialised nodes are planned for the objective throughput"),
        ({"together": (("op0", "op0"),)}, "two or more, each once, not op0, op0"),
        ({"max_error": float("nan")}, "max_error should be 0 or more"),
        ({"most_replicas": 0, "objective": "throughput"}, "at least one node, not on 0 replicas"),
        ({"serialised": True, "limits": Limits(throughput_per_s=1)}, "serialised nodes are planned for"),
        ({"parallel": True, "objective": "energy"}, "branches side by side are planned for latency, not for energy"),
    ],
)
def test_what_no_solver_knows_together_is_refused(changed: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidProblem, match=told):
        answer(problem(**changed))


@pytest.mark.parametrize(
    "limit", [{"latency_s": 0.0}, {"throughput_per_s": 0.0}, {"energy_j": -1.0}, {"error": float("nan")}]
)
def test_limits_that_mean_nothing_are_refused(limit: dict[str, float]) -> None:
    with pytest.raises(InvalidProblem, match=f"limit {next(iter(limit))} should be"):
        Limits(**limit)


def test_a_deadline_that_only_measured_segments_miss_is_not_called_impossible() -> None:
    posed = problem(limits=Limits(latency_s=0.005))
    engines = {
        key: replace(engine, segment_s={segment_key(tuple(engine.operator_s)): 1.0})
        for key, engine in posed.profile.engines.items()
    }
    found = answer(replace(posed, profile=replace(posed.profile, engines=engines), sites=posed.sites[:1]))
    assert isinstance(found, Infeasible) and not found.proven
    assert "the best found, by the segments measured, takes 8000 ms" in found.detail
