"""Means and intervals: Student's quantiles against his table, and that intervals hold as often as they say."""

from math import isnan, nan

import numpy as np
import pytest

from simulations.results import Outcome, Results
from simulations.statistics import chance_beyond, estimate, estimates, student_t
from tests.simulations.tiny import tiny

TABLE = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 9: 2.262157, 10: 2.228139, 30: 2.042272, 120: 1.979930}


@pytest.mark.parametrize(("degrees", "expected"), TABLE.items())
def test_student_s_quantiles_are_the_published_ones(degrees: int, expected: float) -> None:
    assert student_t(degrees) == pytest.approx(expected, abs=1e-6)


def test_other_confidences_have_quantiles_too() -> None:
    assert student_t(5, 0.99) == pytest.approx(4.032143, abs=1e-6)
    assert student_t(1, 0.5) == pytest.approx(1.0, abs=1e-12)  # Cauchy's quartile


@pytest.mark.parametrize("degrees", [1, 2, 5, 8, 99])
def test_the_chance_beyond_a_quantile_is_what_it_leaves(degrees: int) -> None:
    assert chance_beyond(-student_t(degrees), degrees) == pytest.approx(0.05, abs=1e-9)


def test_an_interval_worked_out_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.counted, found.left_out) == (2.0, 3, 0)
    assert found.half == pytest.approx(4.302653 / 3**0.5, abs=1e-6)


def test_one_replication_has_no_interval() -> None:
    found = estimate([7.0])
    assert (found.mean, found.half, found.counted) == (7.0, None, 1)


def test_replications_without_the_figure_are_left_out_and_counted() -> None:
    found = estimate([nan, 1.0, nan, 3.0])
    assert (found.mean, found.counted, found.left_out) == (2.0, 2, 2)
    nowhere = estimate([nan, nan])
    assert isnan(nowhere.mean)
    assert (nowhere.half, nowhere.counted, nowhere.left_out) == (None, 0, 2)


def test_what_is_equal_everywhere_is_known_exactly() -> None:
    found = estimate([0.1] * 3)
    assert (found.mean, found.half) == (0.1, 0.0)


def test_intervals_hold_the_truth_95_times_in_100() -> None:
    samples = np.random.default_rng(4).normal(10.0, 3.0, (4000, 4))
    found = [estimate(sample.tolist()) for sample in samples]
    held = sum(abs(one.mean - 10.0) <= (one.half or 0.0) for one in found) / len(found)
    assert held == pytest.approx(0.95, abs=4 * (0.05 * 0.95 / len(found)) ** 0.5)


def test_every_figure_of_a_scenario_is_estimated() -> None:
    outcomes = tuple(Outcome(replication=one, figures={"a_s": float(one), "b_j": 5.0}) for one in range(3))
    found = estimates(Results(scenario=tiny(), outcomes=outcomes))
    assert {name: one.mean for name, one in found.items()} == {"a_s": 1.0, "b_j": 5.0}
