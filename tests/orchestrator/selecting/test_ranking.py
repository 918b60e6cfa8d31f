"""The Pareto set and the recommendation."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.selecting.cells import REFUSED
from orchestrator.selecting.cells import Row
from orchestrator.selecting.ranking import AXES, Bound, choose, pareto, value
from tests.orchestrator.selecting.given import HALF, ORT, OV, row

points = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=7)


@given(points)
def test_the_front_is_what_no_other_row_dominates(held: list[tuple[int, int, int]]) -> None:
    rows = [row(p50_s=a, error=b / 10, memory_bytes=c) for a, b, c in held]
    front = {id(one) for one in pareto(rows, AXES["latency"])}
    for one, point in zip(rows, held, strict=True):
        beaten = any(all(map(int.__le__, other, point)) and other != point for other in held)
        assert (id(one) in front) != beaten


def test_errors_of_rounding_count_as_equal() -> None:
    rows = [row(ORT, p50_s=2.0, error=0.0), row(OV, p50_s=1.0, error=9e-6)]
    assert pareto(rows, AXES["latency"]) == (rows[1],)


def test_the_fastest_within_the_error_is_taken_and_compared_with_the_next() -> None:
    rows = [row(ORT, p50_s=0.03), row(OV, p50_s=0.02), row(HALF, p50_s=0.01, error=0.05)]
    choice = choose(rows, goal="latency", bound=Bound(max_error=0.01))
    assert choice.row is rows[1]
    assert choice.reason == (
        "the lowest median latency, 20 ms; 2 of 3 that ran keep their error within 0.01; "
        "1.50× better than the next, onnxruntime float32 ×1"
    )


def test_among_equals_within_the_noise_the_more_accurate_is_taken() -> None:
    rows = [row(HALF, p50_s=0.0100, error=0.005), row(OV, p50_s=0.0104)]
    choice = choose(rows, goal="latency", bound=Bound(max_error=0.01), noise=0.05)
    assert choice.row is rows[1]
    assert "within the spread of 5% as good as openvino bfloat16 ×1, and more accurate" in choice.reason
    assert choose(rows, goal="latency", bound=Bound(max_error=0.01), noise=0.03).row is rows[0]


def test_however_noisy_the_machine_twice_as_fast_is_faster() -> None:
    rows = [row(HALF, p50_s=0.01, error=0.005), row(OV, p50_s=0.02)]
    assert choose(rows, goal="latency", bound=Bound(max_error=0.01), noise=3.0).row is rows[0]


def test_a_lead_that_may_be_noise_is_said_to_be() -> None:
    rows = [row(HALF, p50_s=0.01, error=0.005), row(OV, p50_s=0.013)]
    reasons = [choose(rows, goal="latency", bound=Bound(max_error=0.01), noise=noise).reason for noise in (0.2, 0.4)]
    assert [reason.endswith(", less than the spread of 40%") for reason in reasons] == [False, True]


def test_if_nothing_keeps_the_error_the_least_is_named() -> None:
    choice = choose([row(HALF, error=0.05), row(OV, error=0.2)], goal="latency", bound=Bound(max_error=0.01))
    assert choice.row is None
    assert choice.reason == "no engine keeps its error within 0.01; the least is openvino bfloat16 ×1 with 0.05"


@pytest.mark.parametrize(
    ("goal", "told"),
    [("energy", "the least energy, 2 J a request"), ("cost", "the cheapest, $3 a million answers")],
)
def test_each_goal_takes_the_least_of_its_own_figure(goal: str, told: str) -> None:
    rows = [row(ORT, energy_j=2.0, usd=3.0), row(OV, p50_s=0.001, energy_j=4.0, usd=5.0)]
    choice = choose(rows, goal=goal, bound=Bound(max_error=0.01))
    assert choice.row is rows[0]
    assert choice.reason.startswith(told)


def test_a_row_without_the_goals_figure_is_not_chosen() -> None:
    assert choose([row(ORT)], goal="energy", bound=Bound(max_error=0.1)).reason == (
        "nothing was measured that has a figure for energy"
    )


def test_what_did_not_run_is_in_no_front() -> None:
    refused = Row(node="here", cell=OV, state=REFUSED, reason="no")
    assert pareto([refused, row(ORT)], AXES["latency"]) == (row(ORT),)
    assert value(refused, "p50_s") == float("inf")


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [row(ORT, p50_s=0.03), row(OV, p50_s=0.02), row(HALF, p50_s=0.0201, error=0.005)]
    chosen = {
        id(choose(some, goal="latency", bound=Bound(max_error=0.01), noise=0.1).row)
        for some in itertools.permutations(rows)
    }
    assert chosen == {id(rows[1])}
