"""Changes of a link are noticed soon, and jitter is not taken for one: seeded simulations in simulated time.

A change counts from when the first message after it is sent. Half a second or three round trips are enough where one
message proves it: one that is overdue, or a large one much faster than the link was. Else as many must go through as
it takes to tell the change from jitter: 2 for a factor of ten up, 3 for five, about 12 for two. A change of a message's
time by less than the round trip's jitter shows in no single message, and isn't asked for here.
"""

import math
import random
from collections.abc import Callable
from itertools import product
from statistics import median

import pytest

from nodes.link_change import HOLD_S, DurationTest
from tests.nodes.simulated_link import SimulatedLink, log_normal, steady, step

FAST = 12.5e6
NEEDED = {2: 12, 5: 4, 10: 2, 50: 1}


def constant(value: float) -> Callable[[float], float]:
    """The same at any time."""
    return lambda _: value


def alarms(per_s: float, nbytes: int, rate: float, rtt_s: float, rtt_cv: float, until_s: float, seed: int) -> int:
    """False alarms on a steady link with rates of cv 0.3."""
    link = SimulatedLink(constant(rate), constant(rtt_s), rtt_cv=rtt_cv, seed=seed)
    return len(link.run(steady(per_s, nbytes, until_s), until_s).alarms_s)


def stepped(before: float, after: float, per_s: float, nbytes: int, *, rtt_s: float = 0.02, seed: int) -> SimulatedLink:
    """A link whose rate steps at 12 s and a bit."""
    link = SimulatedLink(step(before, after, 12 + seed * 0.13), constant(rtt_s), seed=seed)
    return link.run(steady(per_s, nbytes, 20), 20)


def delays(before: float, after: float, per_s: float, nbytes: int, *, rtt_s: float, seeds: int) -> list[float]:
    """Seconds from the step to the alarm, in order."""
    links = [(stepped(before, after, per_s, nbytes, rtt_s=rtt_s, seed=seed), seed) for seed in range(seeds)]
    return sorted(link.first_alarm_after(12 + seed * 0.13) for link, seed in links)


def test_jitter_raises_no_alarm() -> None:
    assert alarms(20, 100_000, FAST, 0.02, 0.1, 50, seed=5) == 0
    assert alarms(2, 1000, FAST, 0.02, 0.3, 200, seed=5) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rtt_s, rtt_cv", [(0.02, 0.1), (0.02, 0.3), (0.1, 0.3)])
@pytest.mark.parametrize("rate", [FAST, 250e3])
def test_jitter_raises_an_alarm_in_1000_s_at_most(rate: float, rtt_s: float, rtt_cv: float) -> None:
    loads = [(2, 1000), (2, 100_000), (2, 1_000_000), (20, 10_000), (20, 100_000), (200, 1000), (200, 10_000)]
    fit = [(per_s, nbytes) for per_s, nbytes in loads if per_s * nbytes < 0.9 * rate]
    for_s = [min(1000.0, 40_000 / per_s) for per_s, _ in fit]
    found = [alarms(*load, rate, rtt_s, rtt_cv, each_s, seed=1) for load, each_s in zip(fit, for_s, strict=True)]
    assert sum(found) <= sum(for_s) / 1000


@pytest.mark.parametrize("before, after", [(FAST, FAST / 50), (FAST / 10, FAST)])
def test_a_great_step_is_noticed_within_half_a_second_of_the_first_message(before: float, after: float) -> None:
    found = delays(before, after, 20, 50_000, rtt_s=0.02, seeds=3)
    assert found[-1] <= 0.5 + 1 / 20 + NEEDED[10] * 50_000 / FAST


def ends(factor: int, up: bool) -> tuple[float, float]:
    """The link's rate before and after a step."""
    return (FAST / factor, FAST) if up else (FAST, FAST / factor)


def is_shown(factor: int, up: bool, load: tuple[int, int], rtt_s: float) -> bool:
    """Whether the link is not full before the step, and messages show it beyond jitter."""
    (before, after), (per_s, nbytes) = ends(factor, up), load
    is_seen = abs(nbytes / after - nbytes / before) >= 4 * 0.1 * rtt_s - 1e-9
    return per_s * nbytes <= before and is_seen and (factor > 2 or per_s >= 20)


STEPS = [
    (factor, up, *load, rtt_s)
    for factor, up, load, rtt_s in product((2, 5, 10, 50), (False, True), ((2, 600_000), (20, 100_000)), (0.02, 0.1))
    if is_shown(factor, up, load, rtt_s)
]


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "up", "per_s", "nbytes", "rtt_s"), STEPS)
def test_steps_are_noticed_as_soon_as_messages_can_tell(
    factor: int, up: bool, per_s: float, nbytes: int, rtt_s: float
) -> None:
    before, after = ends(factor, up)
    found = delays(before, after, per_s, nbytes, rtt_s=rtt_s, seeds=8)
    proof_s = 0 if factor == 50 and not up else NEEDED[factor] * max(1 / per_s, nbytes / after)
    assert found[-2] <= max(0.5, 3 * rtt_s) + 1 / per_s + proof_s + 0.1


def test_a_message_that_is_overdue_tells_before_it_is_acknowledged() -> None:
    link = stepped(FAST, FAST / 50, 2, 600_000, seed=0)
    first_s = min(alarm_s for alarm_s in link.alarms_s if alarm_s >= 12)
    assert first_s - 12 <= 0.5 + 0.05
    assert first_s + 1 < 12 + 600_000 / (FAST / 50)


def test_after_a_change_the_estimate_is_the_new_rate() -> None:
    for before, after in ((FAST, FAST / 10), (FAST / 10, FAST)):
        goodput = stepped(before, after, 5, 200_000, seed=1).estimator.goodput_bytes_per_s
        assert goodput == pytest.approx(after, rel=0.3)


@pytest.mark.parametrize("before_s, after_s", [(0.02, 0.2), (0.2, 0.02)])
def test_a_longer_or_shorter_way_is_noticed_in_three_round_trips(before_s: float, after_s: float) -> None:
    link = SimulatedLink(constant(FAST), step(before_s, after_s, 12), seed=1)
    link.run(steady(20, 1000, 16), 16)
    assert link.first_alarm_after(12) <= max(0.5, 3 * after_s) + 0.1
    assert link.estimator.estimate.rtt_s == pytest.approx(after_s, rel=0.3)


def test_clocks_that_differ_by_1000_s_change_nothing() -> None:
    found = []
    for peer_clock_s in (0.0, 1000.0):
        link = SimulatedLink(step(FAST, FAST / 10, 5), constant(0.02), peer_clock_s=peer_clock_s)
        link.run(steady(20, 50_000, 10), 10)
        found.append((link.alarms_s, link.estimator.goodput_bytes_per_s))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1])


def test_a_rate_that_wanders_is_followed_without_a_storm_of_alarms() -> None:
    rng, level, levels = random.Random(1), 0.0, []
    for _ in range(100):
        level = 0.9 * level + rng.gauss(0, 0.26)  # one second to the next; a spread of 0.6 in the long run
        levels.append(2.5e6 * math.exp(level))
    link = SimulatedLink(lambda now_s: levels[min(int(now_s), 99)], constant(0.03), cv=0.1)
    link.run(steady(10, 60_000, 100), 100)
    off = [abs(math.log(goodput / link.rate(now_s))) for now_s, goodput in link.estimates]
    assert median(off) < math.log(1.3)
    assert len(link.alarms_s) <= 20


def test_a_few_messages_late_by_one_hiccup_fire_nothing() -> None:
    test = DurationTest()
    for number in range(4):
        test.note(0.3, 0.1, 0.001, began_s=number * 0.01, known=20)
    assert test.changed_since_s(0.05) is None
    assert test.changed_since_s(HOLD_S + 0.01) == 0.0


def test_the_spread_follows_the_jitter_there_is() -> None:
    rng = random.Random(3)
    spreads = []
    for cv in (0.12, 0.5):
        test = DurationTest()
        for number in range(2000):
            test.note(log_normal(rng, cv), 1 / math.sqrt(1 + cv * cv), 0.0001, began_s=float(number), known=99)
        spreads.append(test.spread)
    assert spreads == pytest.approx([0.12, 0.47], rel=0.25)
