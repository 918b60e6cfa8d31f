"""What two scenarios differ in: pairs tell more than means, and many figures are no excuse for finding something."""

from collections.abc import Sequence
from math import nan

import numpy as np
import pytest

from simulations.comparing import MAIN, Difference, compare, holm
from simulations.errors import SimulationsError
from simulations.results import Outcome, Results
from tests.simulations.tiny import tiny

LUCK = (1.0, 9.0, 4.0, 7.0, 2.0)


def results(*, seed: int = 1, first: int = 0, **figures: Sequence[float]) -> Results:
    """Results with these values by figure, one a replication."""
    rows = zip(*figures.values(), strict=True)
    outcomes = (
        Outcome(replication=first + n, figures=dict(zip(figures, row, strict=True))) for n, row in enumerate(rows)
    )
    return Results(scenario=tiny(seed=seed), outcomes=tuple(outcomes))


def only(found: tuple[Difference, ...]) -> Difference:
    (one,) = found
    return one


def test_a_small_difference_is_real_where_luck_is_common() -> None:
    slower = [value + 0.1 + 0.001 * (value > 3) for value in LUCK]
    found = only(compare(results(latency_mean_s=LUCK), results(latency_mean_s=slower)))
    assert found.verdict == "real"
    assert found.difference.mean == pytest.approx(0.1006)
    assert found.difference.half is not None
    assert found.first.half is not None
    assert found.difference.half < found.first.half / 1000


def test_a_difference_that_luck_explains_is_not_shown() -> None:
    found = only(compare(results(energy_j=LUCK), results(energy_j=(2.0, 8.0, 5.0, 6.0, 3.0))))
    assert (found.difference.mean, found.verdict) == (pytest.approx(0.2), "not shown")


def test_the_second_less_the_first() -> None:
    assert only(compare(results(switches=(5.0, 6.0)), results(switches=(1.0, 3.0)))).difference.mean == -3.5


def test_what_differs_by_the_same_in_each_is_real_and_what_never_differs_is_not() -> None:
    costs = results(cost_usd=(1.0, 1.0, 1.0), switches=(2.0, 0.0, 1.0))
    dearer = results(cost_usd=(1.5, 1.5, 1.5), switches=(2.0, 0.0, 1.0))
    assert [one.verdict for one in compare(costs, dearer)] == ["real", "not shown"]


def test_one_replication_shows_nothing() -> None:
    found = only(compare(results(latency_p99_s=(1.0,)), results(latency_p99_s=(9.0,))))
    assert (found.difference.half, found.verdict) == (None, "not shown")


def test_figures_that_are_no_main_ones_get_an_interval_and_no_verdict() -> None:
    found = only(compare(results(radio_s=(1.0, 2.0)), results(radio_s=(2.0, 3.5))))
    assert (found.difference.half is not None, found.verdict) == (True, None)


def test_only_what_both_have_is_compared_and_pairs_without_a_value_are_left_out() -> None:
    first = results(a_s=(1.0, 2.0, 3.0), b_s=(1.0, 1.0, 1.0))
    second = results(b_s=(2.0, nan, 2.0), c_s=(0.0, 0.0, 0.0))
    found = only(compare(first, second))
    assert (found.figure, found.difference.counted, found.difference.left_out) == ("b_s", 2, 1)


def test_holm_is_as_in_the_paper() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.02}) == {"b"}  # 0.02 > 0.05 / 3
    assert holm({"a": 0.9, "b": 0.015, "c": 0.03, "d": 0.012}) == {"b", "d"}  # Bonferroni would find d alone
    assert holm({}) == frozenset()


def test_nothing_is_called_real_by_chance_more_than_5_times_in_100() -> None:
    draw, tries = np.random.default_rng(11), 300
    wrong = 0
    for _ in range(tries):
        first, second = ({name: draw.normal(size=4).tolist() for name in MAIN} for _ in range(2))
        wrong += any(one.verdict == "real" for one in compare(results(**first), results(**second)))
    assert wrong / tries <= 0.05 + 4 * (0.05 * 0.95 / tries) ** 0.5


def test_other_seeds_are_refused() -> None:
    with pytest.raises(SimulationsError, match="seeds 1 and 2; run both with the same seed"):
        compare(results(a_s=(1.0,)), results(a_s=(1.0,), seed=2))


@pytest.mark.parametrize("second", [results(a_s=(1.0, 2.0, 3.0)), results(a_s=(1.0, 2.0), first=1)])
def test_other_replications_are_refused(second: Results) -> None:
    with pytest.raises(SimulationsError, match=r"can't be paired: 2 and . replications"):
        compare(results(a_s=(1.0, 2.0)), second)
