"""When to leave a running plan for a better one. It finds no plan, prices none and performs no switch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Protocol

MIN_GAIN = 0.1  # of what the running plan takes; tuned on half of the traces of benchmarks/rebalance.py
SPACING_S = 10.0  # from one switch to the next
MEMORY_S = 6.0  # of `remembered`: a link that dips for a second or two is no other link
STAY_S = 60.0  # how long a switch is taken to last, where nobody knows better
SURENESS = 1.0  # how many standard deviations a gain must be above nought


@dataclass(frozen=True, slots=True)
class Keep:
    """Stay with the running plan; `reason` says why, in a few words.

    `wait_s`: only the flap limit is in the way, and no more so after this long; ask again then.
    """

    reason: str
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """Go to another plan, which saves `gain` of what today's takes (0…1); `to` is its key where several were judged."""

    gain: float
    to: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A known plan and what switching to it would take.

    `seconds` is what the objective asks to be small, as of the newest observations (`remembered`); infinite where the
    plan cannot serve. `gain_std` is how unsure the difference to the running plan is (`latency_form.gain_std_s`).
    `ready_s` passes until it serves (its stages' loading if cold), in which the running plan goes on; `delay_s` is what
    each request then in flight loses (in the objective's unit).
    """

    key: str
    seconds: float
    gain_std: float = 0.0
    ready_s: float = 0.0
    delay_s: float = 0.0


class Rule(Protocol):
    """What judges known plans: `rebalance`, or another that is tried in its place."""

    def __call__(
        self, *, current: Candidate, others: Sequence[Candidate], allowed_in_s: float, min_gain: float
    ) -> Keep | Switch:
        """Stay, or go to one of the others, by its key."""


def remembered(
    before: float, newest: float, *, elapsed_s: float, memory_s: float = MEMORY_S, at_most: float = inf
) -> float:
    """A plan's seconds as rebalancing should see them: a forgetting mean of what its form told under each observation.

    `elapsed_s` since the last one: what was known then weighs exp(-elapsed_s / memory_s). `at_most` is what a request
    takes that the router sends another way instead (a replica, the fallback): no observation counts for more.
    """
    newest = min(newest, at_most)
    if max(before, newest) == inf:
        return newest
    return newest + (before - newest) * exp(-elapsed_s / memory_s)


def next_switch_s(*, allowed_s: float, now_s: float, spacing_s: float = SPACING_S) -> float:
    """From when on the next switch is allowed, after one at `now_s`; `allowed_s` is what this said after the last one.

    A plan that was left at once, before its time, puts the next switch off by as much again: over a long time there
    are no more switches than one for each spacing, unless plans that cannot serve have to be left more often than that.
    """
    return max(allowed_s, now_s) + spacing_s


def rebalance(
    *,
    current: Candidate,
    others: Sequence[Candidate],
    allowed_in_s: float,
    arrivals_per_s: float = 0.0,
    in_flight: int = 0,
    stay_s: float = STAY_S,
    min_gain: float = MIN_GAIN,
    sureness: float = SURENESS,
) -> Keep | Switch:
    """Go to the plan that nets most over a stay of `stay_s` if that is enough, sure enough, and not too soon.

    Net gain per request = (current − other − sureness · gain_std) · (1 − ready_s / stay_s) − in_flight · delay_s over
    the stay's requests; it must be above `min_gain` of the current plan's seconds. `allowed_in_s` is how long the flap
    limit (`next_switch_s`) still forbids a switch, 0 or less if it doesn't; a plan that cannot serve is left at once
    for the best that can, whatever the limit. Equal candidates: the first by key.
    """
    able = sorted((one for one in others if one.seconds < inf), key=lambda one: one.key)
    if current.seconds == inf:
        if not able:
            return Keep("no plan can serve")
        best = min(able, key=lambda one: one.seconds + one.ready_s)
        return Switch(1.0, best.key, f"{current.key} cannot serve")
    better = [one for one in able if one.seconds < current.seconds]
    if not better:
        return Keep("no better plan")
    requests = max(arrivals_per_s * stay_s, 1.0)
    netted = [(_net(current, one, stay_s, in_flight / requests, sureness), one) for one in better]
    net, best = max(netted, key=lambda pair: pair[0])
    plain, gain = 1 - best.seconds / current.seconds, net / current.seconds
    if gain <= min_gain:
        return Keep(_too_little(best, plain, gain, min_gain))
    if allowed_in_s > 0:
        return Keep(
            f"{best.key} saves {plain:.0%}, but the last switch was too recent: {allowed_in_s:.3g} s to wait",
            allowed_in_s,
        )
    return Switch(plain, best.key, f"{best.key} saves {plain:.0%}, {gain:.0%} net of switching and doubt")


def _net(current: Candidate, other: Candidate, stay_s: float, delayed: float, sureness: float) -> float:
    """What a request saves on average, net; `delayed` is the share of the stay's requests that are in flight now."""
    sure = current.seconds - other.seconds - sureness * other.gain_std
    return sure * max(0.0, 1 - other.ready_s / stay_s) - delayed * other.delay_s


def _too_little(best: Candidate, plain: float, gain: float, min_gain: float) -> str:
    if plain <= min_gain:
        return f"{best.key} saves {plain:.0%}, not above {min_gain:.0%}"
    return f"{best.key} saves {plain:.0%}, {gain:.0%} net of switching and doubt, not above {min_gain:.0%}"


def hysteresis(
    *,
    current: float,
    best: float,
    min_gain: float = 0.15,
    switched_s_ago: float,
    min_dwell_s: float,
) -> Keep | Switch:
    """Switch when the best plan beats today's by `min_gain` and the last switch is `min_dwell_s` past.

    `current` and `best` are what the objective asks to be small (a request's seconds, joules, dollars), under the same,
    newest observations; infinite: the plan cannot serve now, and is left at once for one that can.
    """
    if best >= current:
        return Keep("no better plan")
    if current == inf:
        return Switch(1.0)
    gain = 1 - best / current
    if gain <= min_gain:
        return Keep(f"gain {gain:.0%} is not above {min_gain:.0%}")
    if switched_s_ago < min_dwell_s:
        return Keep(f"switched {switched_s_ago:g} s ago, dwelling {min_dwell_s:g} s")
    return Switch(gain)
