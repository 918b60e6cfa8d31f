"""Fronts of several objectives: against all plans of small problems, and by claim."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.check import faults
from partitioner.errors import InvalidProblem
from partitioner.figures import score
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.search.pareto import Front, front
from tests.partitioner.builders import chain_graph, line_of, random_problem, simple_problem
from tests.partitioner.test_mixed import every_plan, priced


def points(plans: list[Plan], names: tuple[str, ...]) -> list[tuple[float, ...]]:
    return sorted(tuple(score(plan.predicted, name) or 0.0 for name in names) for plan in plans)


def undominated(rows: list[tuple[float, ...]]) -> list[tuple[float, float]]:
    """Of pairs, ascending by the first, those below all before them by a part in a million: as the front steps.

    Firsts that differ by rounding only are the same.
    """
    kept: list[tuple[float, float]] = []
    for first, second in sorted((float(f"{first:.9g}"), second) for first, second in rows):
        if not kept or second < kept[-1][1] * (1 - 1e-6):
            kept.append((first, second))
    return kept


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), operators=st.integers(1, 4))
def test_a_front_of_two_objectives_is_every_undominated_plan(seed: int, operators: int) -> None:
    draw = Random(seed)
    problem = replace(priced(random_problem(seed, 2, operators), draw), codecs=("raw", "int8"))
    names = draw.choice((("latency", "energy"), ("energy", "latency"), ("latency", "cost"), ("latency", "error")))
    found = front(problem, names, points=100)
    expected = undominated(points(list(every_plan(problem, 3)), names))
    if isinstance(found, Infeasible):
        assert not expected
        return
    assert found.complete
    assert points(list(found.plans), names) == [pytest.approx(row, rel=1e-6, abs=1e-12) for row in expected]


def on_a_line() -> Problem:
    """A slow frugal camera before a quick hungry MEC."""
    problem = simple_problem(chain_graph(6), line_of([1e6], slowdowns=(8.0, 1.0)), forward_only=True)
    nodes = tuple(
        replace(node, active_w=watts) for node, watts in zip(problem.topology.nodes, (1.0, 50.0), strict=True)
    )
    links = tuple(replace(link, j_per_byte=1e-6) for link in problem.topology.links)
    return replace(problem, topology=replace(problem.topology, nodes=nodes, links=links))


def test_a_front_goes_from_the_soonest_to_the_most_frugal_and_each_plan_holds() -> None:
    found = front(on_a_line(), ("latency", "energy"))
    assert isinstance(found, Front) and len(found.plans) > 1
    assert [stage.node for stage in found.plans[0].stages] == ["mec"]
    assert [stage.node for stage in found.plans[-1].stages] == ["camera"]
    assert not [fault for plan in found.plans for fault in faults(on_a_line(), plan)]


def test_three_objectives_give_plans_that_no_other_beats_in_all() -> None:
    draw = Random(5)
    problem = replace(priced(random_problem(11, 2, 4), draw), codecs=("raw", "int8"))
    names = ("latency", "energy", "cost")
    found = front(problem, names, points=3)
    assert isinstance(found, Front)
    every = points(list(every_plan(problem, 3)), names)
    for row in points(list(found.plans), names):
        assert not any(all(a < b * (1 - 1e-6) for a, b in zip(other, row, strict=True)) for other in every)


def test_a_limit_bounds_the_whole_front() -> None:
    problem = replace(on_a_line(), limits=Limits(latency_s=0.03))
    found = front(problem, ("energy", "latency"))
    assert isinstance(found, Front)
    assert all(plan.predicted.latency_s <= 0.03 * (1 + 1e-9) for plan in found.plans)


def test_a_front_of_one_objective_or_of_an_unknown_one_is_refused() -> None:
    with pytest.raises(InvalidProblem, match="two different"):
        front(on_a_line(), ("latency",))
    with pytest.raises(InvalidProblem, match="no objective 'speed'"):
        front(on_a_line(), ("latency", "speed"))


def test_energy_without_watts_is_refused_by_the_node_that_lacks_them() -> None:
    problem = simple_problem(chain_graph(3), line_of([1e6]))
    with pytest.raises(InvalidProblem, match="node camera has no active_w"):
        front(problem, ("latency", "energy"))


def test_a_front_cut_short_by_time_is_not_called_complete() -> None:
    found = front(on_a_line(), ("energy", "latency"), seconds=0.0)
    whole = front(on_a_line(), ("energy", "latency"))
    assert isinstance(found, Front) and isinstance(whole, Front)
    assert whole.complete and not found.complete
