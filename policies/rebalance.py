"""When to leave a running plan for a better one. It finds no plan and performs no switch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keep:
    """Stay with the running plan; `reason` says why, in a few words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Go to the best plan, which saves `gain` of today's latency (0…1)."""

    gain: float


def hysteresis(
    *,
    current_s: float,
    best_s: float,
    min_gain: float = 0.15,
    switched_s_ago: float,
    min_dwell_s: float,
) -> Keep | Switch:
    """Switch when the best plan beats today's latency by `min_gain` and the last switch is `min_dwell_s` past.

    `current_s` and `best_s` are latencies of one request under the same, newest observations; infinite means
    that the plan cannot serve now. A running plan that cannot is left at once for one that can.
    """
    if best_s >= current_s:
        return Keep("no better plan")
    if current_s == float("inf"):
        return Switch(1.0)
    gain = 1 - best_s / current_s
    if gain <= min_gain:
        return Keep(f"gain {gain:.0%} is not above {min_gain:.0%}")
    if switched_s_ago < min_dwell_s:
        return Keep(f"switched {switched_s_ago:g} s ago, dwelling {min_dwell_s:g} s")
    return Switch(gain)
