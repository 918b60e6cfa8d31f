from math import exp, inf
from typing import Any

import pytest

from policies.rebalance import Candidate, Keep, Switch, hysteresis, next_switch_s, rebalance, remembered

RUNS = Candidate(key="split", seconds=0.040)


def decided(current: Candidate = RUNS, *others: Candidate, **given: Any) -> Keep | Switch:
    return rebalance(current=current, others=others, **{"allowed_in_s": 0.0, "arrivals_per_s": 10.0, **given})


def test_the_plan_that_saves_most_is_switched_to() -> None:
    decision = decided(RUNS, Candidate(key="a", seconds=0.030), Candidate(key="b", seconds=0.020))
    assert decision == Switch(0.5, "b", "b saves 50%, 50% net of switching and doubt")


def test_a_small_gain_does_not_pay() -> None:
    decision = decided(RUNS, Candidate(key="a", seconds=0.037), min_gain=0.1)
    assert decision == Keep("a saves 8%, not above 10%")


def test_a_doubtful_gain_does_not_pay() -> None:
    sure, doubtful = (Candidate(key="a", seconds=0.030, gain_std=std) for std in (0.001, 0.009))
    assert isinstance(decided(RUNS, sure), Switch)
    assert decided(RUNS, doubtful) == Keep("a saves 25%, 3% net of switching and doubt, not above 10%")


def test_a_plan_that_takes_long_to_load_pays_over_a_long_stay_only() -> None:
    cold = Candidate(key="a", seconds=0.030, ready_s=20.0)
    assert isinstance(decided(RUNS, cold, stay_s=25.0), Keep)
    assert isinstance(decided(RUNS, cold, stay_s=600.0), Switch)


def test_a_warm_plan_is_taken_before_a_cold_one_as_good() -> None:
    cold, warm = Candidate(key="a", seconds=0.030, ready_s=1.0), Candidate(key="b", seconds=0.030)
    decision = decided(RUNS, cold, warm)
    assert isinstance(decision, Switch)
    assert decision.to == "b"


def test_requests_in_flight_that_lose_weigh_against_those_to_come() -> None:
    slow = Candidate(key="a", seconds=0.030, delay_s=0.5)
    assert isinstance(decided(RUNS, slow, in_flight=2), Switch)
    assert isinstance(decided(RUNS, slow, in_flight=20), Keep)
    assert isinstance(decided(RUNS, slow, in_flight=20, arrivals_per_s=1000.0), Switch)


def test_within_the_flap_limit_the_plan_stays_and_says_how_long() -> None:
    decision = decided(RUNS, Candidate(key="a", seconds=0.010), allowed_in_s=3.0)
    assert isinstance(decision, Keep)
    assert decision.wait_s == 3.0
    assert "3 s to wait" in decision.reason


def test_a_plan_that_cannot_serve_is_left_at_once_for_the_best_that_can() -> None:
    dead, slow, ready = (
        Candidate(key=key, seconds=s) for key, s in (("dead", inf), ("a slow one", 9.0), ("ready", 0.5))
    )
    assert decided(dead, slow, ready, allowed_in_s=9.0) == Switch(1.0, "ready", "dead cannot serve")
    assert decided(dead, dead) == Keep("no plan can serve")


def test_equal_plans_are_told_apart_by_name_alone() -> None:
    a, b = Candidate(key="a", seconds=0.030), Candidate(key="b", seconds=0.030)
    assert decided(RUNS, a, b) == decided(RUNS, b, a)


def test_over_a_long_time_there_is_one_switch_a_spacing_at_most() -> None:
    allowed_s, switches = 0.0, 0
    for tick in range(10_000):
        now_s, forced = tick * 0.1, tick % 170 == 0
        if forced or now_s >= allowed_s:
            allowed_s = next_switch_s(allowed_s=allowed_s, now_s=now_s)
            switches += 1
    assert switches <= 101


def test_what_was_seen_is_forgotten_with_time() -> None:
    assert remembered(0.1, 0.2, elapsed_s=6.0, memory_s=6.0) == pytest.approx(0.2 - 0.1 * exp(-1))
    assert remembered(0.1, 9.0, elapsed_s=1e9, at_most=0.3) == pytest.approx(0.3)


def test_a_plan_that_cannot_serve_is_known_at_once_and_forgiven_at_once() -> None:
    assert remembered(0.1, inf, elapsed_s=0.1) == inf
    assert remembered(inf, 0.1, elapsed_s=0.1) == 0.1


def test_a_dip_of_a_second_does_not_make_the_plan_switch() -> None:
    mean_s = {"split": 0.040, "whole": 0.080}
    for split_s in (0.120, 0.120, 0.040):
        newest = {"split": split_s, "whole": 0.080}
        mean_s = {key: remembered(mean_s[key], newest[key], elapsed_s=0.5, at_most=0.080) for key in mean_s}
        candidates = {key: Candidate(key=key, seconds=mean_s[key]) for key in mean_s}
        assert decided(candidates["split"], candidates["whole"]) == Keep("no better plan")


def test_a_clear_gain_after_the_dwell_switches() -> None:
    assert hysteresis(current=0.040, best=0.030, switched_s_ago=60, min_dwell_s=10) == Switch(0.25)


def test_a_small_gain_is_not_worth_a_switch() -> None:
    decision = hysteresis(current=0.040, best=0.036, min_gain=0.15, switched_s_ago=60, min_dwell_s=10)
    assert decision == Keep("gain 10% is not above 15%")


def test_a_link_that_flaps_does_not_make_the_plan_flap() -> None:
    decision = hysteresis(current=0.040, best=0.010, switched_s_ago=3, min_dwell_s=10)
    assert decision == Keep("switched 3 s ago, dwelling 10 s")


def test_a_plan_that_cannot_serve_is_left_without_dwelling() -> None:
    assert hysteresis(current=inf, best=0.5, switched_s_ago=0, min_dwell_s=10) == Switch(1.0)


def test_nothing_better_keeps() -> None:
    for best in (0.040, 0.050, inf):
        assert hysteresis(current=0.040, best=best, switched_s_ago=60, min_dwell_s=0) == Keep("no better plan")


def test_two_plans_that_cannot_serve_keep() -> None:
    assert hysteresis(current=inf, best=inf, switched_s_ago=60, min_dwell_s=0) == Keep("no better plan")
