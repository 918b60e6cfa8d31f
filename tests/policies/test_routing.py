"""Least predicted completion, by hand and against other rules in a seeded simulation of unequal replicas."""

from collections.abc import Callable
from random import Random

import pytest

from policies.routing import Way, least_completion

FAST, SLOW, FAR = (0.010, 0.012, 0.014, 0.016), (0.040,), (0.012, 0.015)
REPLICAS = {"fast": (FAST, 0.002), "slow": (SLOW, 0.001), "far": (FAR, 0.060)}

Rule = Callable[[int, dict[str, int]], str]  # the request's number and what each replica owes; its name


def test_a_way_is_judged_by_what_it_has_in_hand_its_batches_and_its_link() -> None:
    way = Way(name="a", in_hand=5, batch_s=(0.010, 0.012, 0.014, 0.016), link_s=0.1)
    assert way.completion_s == pytest.approx(0.1 + 0.016 + 0.012)


def test_the_sooner_way_wins_though_it_has_more_in_hand() -> None:
    near, busy = Way(name="near", in_hand=0, batch_s=SLOW), Way(name="busy", in_hand=3, batch_s=FAST)
    route = least_completion(ways=(near, busy))
    assert (route.to, route.reason) == ("busy", "busy 16 ms against near 40 ms")


def test_a_way_that_owes_answers_for_too_long_is_as_late_again() -> None:
    hung = Way(name="a", in_hand=1, batch_s=(0.010,), silent_s=1.010)
    assert hung.completion_s == pytest.approx(0.020 + 1.0)
    idle = Way(name="a", in_hand=0, batch_s=(0.010,), silent_s=60.0)
    assert idle.completion_s == pytest.approx(0.010)


def test_ties_go_to_the_less_busy_then_to_the_first_name() -> None:
    a, b = (Way(name=name, in_hand=0, batch_s=(0.010,)) for name in "ab")
    busy = Way(name="0", in_hand=1, batch_s=(0.005,))
    assert [least_completion(ways=ways).to for ways in ((busy, b, a), (a, b, busy))] == ["a", "a"]


def test_loyalty_keeps_the_first_way_unless_another_is_clearly_sooner() -> None:
    first = Way(name="b", in_hand=0, batch_s=(0.100,))
    near, clear = (Way(name="a", in_hand=0, batch_s=(seconds,)) for seconds in (0.095, 0.080))
    assert least_completion(ways=(first, near), loyalty=0.1).to == "b"
    assert least_completion(ways=(first, clear), loyalty=0.1).to == "a"


def test_no_way_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one way"):
        least_completion(ways=())


def simulated(rule: Rule) -> tuple[float, float]:
    """Mean and 99th percentile of 2500 requests' latencies; a replica serves one batch after the other."""
    draw, now_s = Random(7), 0.0
    held: dict[str, list[tuple[float, float]]] = {name: [] for name in REPLICAS}  # arrives, asked
    answers: dict[str, list[float]] = {name: [] for name in REPLICAS}
    free_s, took_s = dict.fromkeys(REPLICAS, 0.0), list[float]()
    for number in range(2500):
        now_s += draw.expovariate(150.0)
        for name, (batch_s, link_s) in REPLICAS.items():
            serve_until(now_s, held[name], batch_s, link_s, name, free_s, answers[name], took_s)
        owed = {name: len(held[name]) + sum(at_s > now_s for at_s in answers[name][-64:]) for name in REPLICAS}
        name = rule(number, owed)
        held[name].append((now_s + REPLICAS[name][1] / 2, now_s))
    ordered = sorted(took_s)
    return sum(ordered) / len(ordered), ordered[int(len(ordered) * 0.99)]


def serve_until(
    now_s: float,
    held: list[tuple[float, float]],
    batch_s: tuple[float, ...],
    link_s: float,
    name: str,
    free_s: dict[str, float],
    answers: list[float],
    took_s: list[float],
) -> None:
    """Start every batch that could start by now: all that has arrived when the replica is free, as many as fit."""
    while held and (start_s := max(free_s[name], held[0][0])) <= now_s:
        size = min(sum(arrives_s <= start_s for arrives_s, _ in held), len(batch_s))
        free_s[name] = start_s + batch_s[size - 1]
        for _, asked_s in held[:size]:
            answers.append(free_s[name] + link_s / 2)
            took_s.append(free_s[name] + link_s / 2 - asked_s)
        del held[:size]


def ours(number: int, owed: dict[str, int]) -> str:
    facts = ((name, *times) for name, times in REPLICAS.items())
    ways = [Way(name=name, in_hand=owed[name], batch_s=batch_s, link_s=link_s) for name, batch_s, link_s in facts]
    return least_completion(ways=ways).to


def round_robin(number: int, owed: dict[str, int]) -> str:
    return sorted(owed)[number % len(owed)]


def least_outstanding(number: int, owed: dict[str, int]) -> str:
    return min(sorted(owed), key=lambda name: owed[name])


def test_unequal_replicas_answer_sooner_than_in_turn_or_by_least_outstanding() -> None:
    mean_s, p99_s = simulated(ours)
    for other in (round_robin, least_outstanding):
        their_mean_s, their_p99_s = simulated(other)
        assert mean_s < 0.8 * their_mean_s
        assert p99_s < 0.8 * their_p99_s
