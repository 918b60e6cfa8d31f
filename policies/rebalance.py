"""When to leave a running plan for a better one. It finds no plan and performs no switch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keep:
    """Stay with the running plan; `reason` says why, in a few words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Go to the best plan, which saves `gain` of what today's takes (0…1)."""

    gain: float


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
    if current == float("inf"):
        return Switch(1.0)
    gain = 1 - best / current
    if gain <= min_gain:
        return Keep(f"gain {gain:.0%} is not above {min_gain:.0%}")
    if switched_s_ago < min_dwell_s:
        return Keep(f"switched {switched_s_ago:g} s ago, dwelling {min_dwell_s:g} s")
    return Switch(gain)
