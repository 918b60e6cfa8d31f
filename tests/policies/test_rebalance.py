from math import inf

from policies.rebalance import Keep, Switch, hysteresis


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
