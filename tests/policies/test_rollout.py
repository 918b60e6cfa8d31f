"""Claims about the judgement of a new version, most of them by seeded simulation looked at every hundred requests."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from policies.rollout import Promote, Rollback, Tally, Wait, bucket, evidence, judge, merged, quantile_s

GENTLE: dict[str, Any] = {"max_drift": None, "age_s": 60.0}


def tally(answered: int, failed: int = 0, *, latency_s: float = 0.01, spread: float = 0.1, seed: int = 0) -> Tally:
    drawn = np.random.default_rng(seed).lognormal(np.log(latency_s), spread, answered)
    counts = Counter(bucket(seconds) for seconds in drawn)
    reasons = (("ExecutionFailed", failed),) if failed else ()
    return Tally(answered=answered, failed=reasons, latencies=tuple(sorted(counts.items())))


def compared(new: Tally, count: int, drift: float, *, disagreement: float = 0.0) -> Tally:
    return replace(new, compared=count, drift_sum=count * drift, drift_max=2 * drift, disagreed=count * disagreement)


def ever_blamed(seed: int, *, old_rate: float, new_rate: float, weight: float, looks: int = 100) -> bool:
    """Whether a new version is ever taken to fail more, if looked at after every hundred requests."""
    draw = np.random.default_rng(seed)
    to_new = np.cumsum(draw.binomial(100, weight, looks))
    to_old = 100 * np.arange(1, looks + 1) - to_new
    old_failed = np.cumsum(draw.binomial(np.diff(to_old, prepend=0), old_rate))
    new_failed = np.cumsum(draw.binomial(np.diff(to_new, prepend=0), new_rate))
    for n_old, n_new, y, x in zip(to_old, to_new, old_failed, new_failed, strict=True):
        old, new = tally(0), tally(0)
        old = replace(old, answered=int(n_old - y), failed=(("fault", int(y)),))
        new = replace(new, answered=int(n_new - x), failed=(("fault", int(x)),))
        if evidence(old, new) >= 20:
            return True
    return False


@pytest.mark.parametrize(("rate", "weight"), [(0.02, 0.1), (0.001, 0.5), (0.3, 0.1)])
def test_a_version_that_fails_as_often_is_hardly_ever_blamed_however_often_one_looks(
    rate: float, weight: float
) -> None:
    blamed = sum(ever_blamed(seed, old_rate=rate, new_rate=rate, weight=weight) for seed in range(120))
    assert blamed <= 6


@pytest.mark.parametrize(("rate", "weight"), [(0.03, 0.5), (0.1, 0.1)])
def test_a_doubled_error_rate_is_found_within_ten_thousand_requests(rate: float, weight: float) -> None:
    found = sum(ever_blamed(seed, old_rate=rate, new_rate=2 * rate, weight=weight) for seed in range(40))
    assert found >= 36


def test_a_version_that_fails_where_the_old_one_never_does_is_rolled_back_after_a_few_failures() -> None:
    verdict = judge(old=tally(900), new=tally(97, 3), **GENTLE)
    assert isinstance(verdict, Rollback)
    assert verdict.reason == "it fails more often: 3 of 100 failed against 0 of 900, most often by ExecutionFailed"


def test_one_failure_is_no_evidence() -> None:
    assert not isinstance(judge(old=tally(900), new=tally(99, 1), **GENTLE), Rollback)


@pytest.mark.parametrize(("x", "y", "weight"), [(3, 0, 0.1), (8, 20, 0.1), (30, 20, 0.5)])
def test_evidence_is_the_mean_likelihood_ratio_over_all_larger_shares_of_the_failures(
    x: int, y: int, weight: float
) -> None:
    old, new = tally(round(10_000 * (1 - weight)) - y, y), tally(round(10_000 * weight) - x, x)
    width = (1 - weight) / 100_000
    q = weight + width * (np.arange(100_000) + 0.5)
    ratios = (q / weight) ** x * ((1 - q) / (1 - weight)) ** y
    assert evidence(old, new) == pytest.approx(ratios.mean(), rel=1e-4)


def test_a_version_that_fails_less_is_not_blamed() -> None:
    assert evidence(tally(90, 10), tally(100)) == 0


def test_latencies_of_the_same_kind_are_never_called_slower() -> None:
    verdicts = [
        judge(old=tally(n, seed=seed), new=tally(n // 5, seed=1000 + seed), **GENTLE)
        for seed in range(200)
        for n in (100, 500, 2000)
    ]
    assert not [verdict for verdict in verdicts if isinstance(verdict, Rollback)]


def test_a_version_half_as_fast_again_is_rolled_back() -> None:
    verdict = judge(old=tally(900), new=tally(100, latency_s=0.015), **GENTLE)
    assert isinstance(verdict, Rollback)
    assert "median" in verdict.reason


def test_a_longer_tail_alone_is_noticed() -> None:
    tail = merged((tally(850), tally(150, latency_s=0.1, seed=1)))
    verdict = judge(old=tally(5000), new=tail, **GENTLE)
    assert isinstance(verdict, Rollback)
    assert "95th percentile" in verdict.reason


def test_what_looks_slower_but_may_be_chance_is_waited_for() -> None:
    verdict = judge(old=tally(900, spread=1.0), new=tally(100, latency_s=0.0135, spread=1.0), **GENTLE)
    assert isinstance(verdict, Wait)


def test_answers_that_differ_are_rolled_back_and_the_difference_is_told() -> None:
    verdict = judge(old=tally(900), new=compared(tally(30), 20, 0.5), age_s=1.0, max_drift=0.1)
    assert verdict == Rollback("its answers differ by 50.0% (at most 100.0%), 10.0% is allowed")


def test_labels_that_differ_are_rolled_back_where_the_terms_say_so() -> None:
    new = compared(tally(200), 100, 0.01, disagreement=0.3)
    assert isinstance(judge(old=tally(900), new=new, age_s=60.0, max_disagreement=0.05), Rollback)
    assert isinstance(judge(old=tally(900), new=new, age_s=60.0), Promote)


@pytest.mark.parametrize(
    ("new", "age_s", "missing"),
    [
        (compared(tally(50), 50, 0.0), 60.0, "50 of 100 requests"),
        (compared(tally(200), 50, 0.0), 3.0, "3 s of 10 s"),
        (compared(tally(200), 5, 0.0), 60.0, "5 of 20 answers compared"),
        (compared(tally(197, 3), 50, 0.0), 60.0, "may be chance"),
    ],
)
def test_nothing_is_promoted_before_its_time(new: Tally, age_s: float, missing: str) -> None:
    verdict = judge(old=tally(200), new=new, age_s=age_s)
    assert isinstance(verdict, Wait)
    assert missing in verdict.reason


def test_a_version_as_good_as_the_old_one_is_promoted_with_the_figures() -> None:
    verdict = judge(old=tally(900), new=compared(tally(100), 50, 0.001), age_s=11.0)
    assert isinstance(verdict, Promote)
    assert "0 of 100 failed against 0 of 900" in verdict.reason
    assert "differ by 0.10%" in verdict.reason


def test_quantiles_are_within_two_percent_and_counts_of_routers_add_up() -> None:
    drawn = np.random.default_rng(5).lognormal(-4, 1, 3000)
    halves = [
        Tally(answered=1500, latencies=tuple(sorted(Counter(map(bucket, half)).items())))
        for half in (drawn[:1500], drawn[1500:])
    ]
    both = merged(halves)
    assert both.answered == 3000
    for part in (0.5, 0.95):
        assert quantile_s(both, part) == pytest.approx(np.quantile(drawn, part, method="inverted_cdf"), rel=0.021)
