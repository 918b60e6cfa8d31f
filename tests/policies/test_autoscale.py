"""How many replicas: the formula by hand, and a stage under steps of load simulated second by second."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

from policies.autoscale import Scale, autoscale

SERVICE_S = 0.1


def scaled(**given: Any) -> Scale:
    calm = {"replicas": 2, "utilisation": 0.7, "arrivals_per_s": 14.0, "service_s": SERVICE_S, "queued": 0}
    return autoscale(**{**calm, "recent_wanted": (), "scaled_s_ago": 999.0, **given})


def test_wanted_is_the_load_over_the_target() -> None:
    assert scaled(utilisation=0.95, arrivals_per_s=19.0).to == 3
    assert scaled(utilisation=1.0, arrivals_per_s=70.0).to == 10
    assert scaled(utilisation=1.0, arrivals_per_s=1.0).to == 3


def test_a_load_near_the_target_changes_nothing() -> None:
    assert scaled(utilisation=0.76, arrivals_per_s=15.2).to == 2


def test_a_queue_asks_for_what_drains_it_in_time() -> None:
    assert scaled(queued=100).to == 4
    assert scaled(queued=100, drain_s=1.0).to == 12


def test_bounds_hold_and_are_told() -> None:
    assert scaled(arrivals_per_s=1000.0, most=6).to == 6
    assert scaled(replicas=9, most=6, utilisation=0.1) == Scale(6, 2, "the bounds are 1 to 6")
    assert scaled(arrivals_per_s=0.0, utilisation=0.0, least=2).to == 2


def test_up_comes_at_once_and_in_full_but_not_before_the_last_change_shows() -> None:
    busy: dict[str, Any] = {"utilisation": 1.0, "arrivals_per_s": 70.0}
    assert scaled(**busy, scaled_s_ago=2.0).to == 10
    waits = scaled(**busy, scaled_s_ago=0.5)
    assert (waits.to, waits.wanted) == (2, 10)
    assert "changed 0.5 s ago" in waits.reason


def test_down_comes_one_by_one_and_not_while_more_was_just_wanted() -> None:
    idle: dict[str, Any] = {"replicas": 6, "utilisation": 0.1, "arrivals_per_s": 6.0}
    assert scaled(**idle).to == 5
    assert scaled(**idle, recent_wanted=(1, 6, 1)).to == 6
    assert scaled(**idle, scaled_s_ago=29.0).to == 6


def simulated(rate_per_s: Callable[[int], float], seconds: int) -> tuple[list[int], list[float]]:
    """Replicas and queue length, second by second, under Poisson arrivals from a seed."""
    draw, replicas, queue, changed_s = Random(3), 2, 0.0, -99
    counts: list[int] = []
    queues: list[float] = []
    wanted: list[int] = []
    for now_s in range(seconds):
        arrivals = sum(draw.random() < rate_per_s(now_s) / 1000 for _ in range(1000))
        served = min(queue + arrivals, replicas / SERVICE_S)
        queue += arrivals - served
        utilisation = served * SERVICE_S / replicas
        facts: dict[str, Any] = {"arrivals_per_s": arrivals, "utilisation": utilisation, "queued": int(queue)}
        ago_s = float(now_s - changed_s)
        scale = scaled(replicas=replicas, recent_wanted=wanted[-30:], scaled_s_ago=ago_s, **facts)
        changed_s = now_s if scale.to != replicas else changed_s
        replicas = scale.to
        wanted.append(scale.wanted)
        counts.append(replicas)
        queues.append(queue)
    return counts, queues


def test_a_step_up_is_followed_within_seconds_and_never_flaps() -> None:
    counts, queues = simulated(lambda now_s: 14.0 if now_s < 60 else 70.0, 200)
    assert counts[64] >= 9
    assert max(queues[75:]) <= 10
    up_and_down = [after - before for before, after in pairwise(counts[60:]) if after != before]
    assert sum(a > 0 > b for a, b in pairwise(up_and_down)) <= 1


def test_a_step_down_is_followed_slowly() -> None:
    counts, _ = simulated(lambda now_s: 70.0 if now_s < 60 else 14.0, 600)
    assert counts[89] >= 9
    assert counts[-1] <= 4
    falls = [now_s for now_s in range(61, 600) if counts[now_s] < counts[now_s - 1]]
    assert min(b - a for a, b in pairwise(falls)) >= 30
