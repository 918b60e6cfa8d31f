"""How the demo's camera is slowed: by a slowdown whose own profile keeps the promise. Profiles are played."""

from types import SimpleNamespace
from typing import cast

import pytest

from isthmus.demo.scenario import Choice, least_gain
from isthmus.demo.settling import ROUNDS, settled


def choice(slowdown: float, gain: float) -> Choice:
    """All three gains are `gain`."""
    fast = SimpleNamespace(unsplit_s={"camera": 1.0}, predicted=SimpleNamespace(latency_s=1 - gain))
    slow = SimpleNamespace(predicted=SimpleNamespace(latency_s=1 - gain))
    return cast(Choice, SimpleNamespace(slowdown=slowdown, fast=fast, slow=slow, stale_s=1.0, late_s=1.0))


class Machine:
    """A profile is the slowdown it was measured at; `leads` says which slowdown looks best under it."""

    def __init__(self, leads: dict[float, float], gains: dict[float, float | None]) -> None:
        self.leads, self.gains, self.measured = leads, gains, list[float]()

    def measure(self, slowdown: float) -> float:
        self.measured.append(slowdown)
        return slowdown

    def choose(self, profile: float) -> Choice:
        return choice(self.leads[profile], 0.9)  # what is promised of a slowdown that nobody measured

    def price(self, profile: float, slowdown: float) -> Choice | None:
        assert profile == slowdown, "priced under another slowdown's profile"
        gain = self.gains[slowdown]
        return None if gain is None else choice(slowdown, gain)

    def settled(self) -> Choice:
        return settled(self.measure, self.choose, self.price)


def test_the_choice_stands_once_its_own_profile_agrees() -> None:
    machine = Machine({1: 8, 8: 6, 6: 6}, {8: 0.2, 6: 0.3})
    assert (machine.settled().slowdown, machine.measured) == (6, [1, 8, 6])


def test_where_profiles_disagree_the_best_that_was_measured_is_taken() -> None:
    machine = Machine({1: 8, 8: 6, 6: 8}, {8: 0.35, 6: 0.2})
    found = machine.settled()
    assert (found.slowdown, least_gain(found)) == (8, pytest.approx(0.35))


def test_it_ends_where_every_profile_leads_elsewhere() -> None:
    machine = Machine({float(n): n + 1.0 for n in range(1, 20)}, {float(n): n / 100 for n in range(2, 20)})
    assert (machine.settled().slowdown, len(machine.measured)) == (ROUNDS + 1, ROUNDS + 1)


def test_slowdowns_at_which_nothing_is_split_are_named() -> None:
    with pytest.raises(ValueError, match="at slowdowns 8 the camera keeps everything"):
        Machine({1: 8, 8: 8}, {8: None}).settled()
