"""Simulated time: what is to happen when, one thing after the other. It knows nothing of requests or machines.

What falls on one moment happens in the order in which it was asked for. Memory holds what is still to come, no more.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from simulations.errors import OutOfRange


class Engine:
    """A clock in seconds, and a list of calls to come."""

    __slots__ = ("_coming", "_number", "now_s")

    def __init__(self, begin_s: float = 0.0) -> None:
        self.now_s = begin_s
        self._coming: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when_s: float, call: Callable[..., None], *given: Any) -> None:
        """Have something happen then. OutOfRange for a time that is past, or none."""
        if not when_s >= self.now_s:
            raise OutOfRange(f"at {when_s!r} s: it is {self.now_s:g} s already")
        self._number += 1
        heappush(self._coming, (when_s, self._number, call, given))

    def after(self, span_s: float, call: Callable[..., None], *given: Any) -> None:
        """Have something happen so many seconds from now. OutOfRange for less than 0."""
        if not span_s >= 0:
            raise OutOfRange(f"after {span_s!r} s: time does not go backwards")
        self._number += 1
        heappush(self._coming, (self.now_s + span_s, self._number, call, given))

    def run(self, until_s: float = inf) -> int:
        """Let time pass until nothing is to come, or until then: what falls on `until_s` itself still happens.

        How many calls that were.
        """
        coming, calls = self._coming, 0
        while coming and coming[0][0] <= until_s:
            self.now_s, _, call, given = heappop(coming)
            call(*given)
            calls += 1
        if until_s < inf:
            self.now_s = max(self.now_s, until_s)
        return calls

    @property
    def left(self) -> int:
        """How much is still to come."""
        return len(self._coming)
