"""Finds the slowdown for the demo's camera whose own measured profile promises most.

A choice made from a profile that was measured at another slowdown promises what nobody has seen: engines behave
otherwise when slowed, and the machine is another one a minute later.
"""

from collections.abc import Callable
from typing import TypeVar

from isthmus.demo.scenario import Choice, least_gain

ROUNDS = 4  # of choosing a slowdown and timing what is planned at it
P = TypeVar("P")


def settled(
    measure: Callable[[float], P], choose: Callable[[P], Choice], price: Callable[[P, float], Choice | None]
) -> Choice:
    """The best choice among those priced under the profile that was measured at their own slowdown.

    `measure(slowdown)` gives a profile, `choose(profile)` the slowdown that looks best under it, `price(profile,
    slowdown)` that one's choice or None where nothing is split. ValueError if every one tried is None.
    """
    tried: dict[float, Choice | None] = {}
    slowdown = choose(measure(1.0)).slowdown
    while slowdown not in tried and len(tried) < ROUNDS:
        own = measure(slowdown)
        tried[slowdown] = price(own, slowdown)
        slowdown = choose(own).slowdown
    found = [choice for choice in tried.values() if choice is not None]
    if not found:
        raise ValueError(f"at slowdowns {', '.join(f'{one:g}' for one in tried)} the camera keeps everything")
    return max(found, key=least_gain)
