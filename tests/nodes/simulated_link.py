"""A link for tests: a first-in, first-out queue with a rate that may step, log-normal jitter and an acknowledging peer.

Steps in simulated time, seeded; the peer's clock may be any, as only the time that it held a message is told.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from nodes.links import LinkEstimator

TICK_S = 0.05


def log_normal(rng: random.Random, cv: float) -> float:
    """A factor of mean 1 and that coefficient of variation."""
    sigma = math.sqrt(math.log1p(cv * cv))
    return math.exp(rng.gauss(-sigma * sigma / 2, sigma))


@dataclass
class SimulatedLink:
    """One direction: `rate(now_s)` in bytes/s, half of `rtt(now_s)` each way; jitter multiplies each."""

    rate: Callable[[float], float]
    rtt: Callable[[float], float]
    cv: float = 0.3
    rtt_cv: float = 0.1
    seed: int = 1
    estimator: LinkEstimator = field(default_factory=LinkEstimator)
    alarms_s: list[float] = field(default_factory=list)
    estimates: list[tuple[float, float]] = field(default_factory=list)  # when, bytes/s
    peer_clock_s: float = 0.0

    def run(self, sends: Iterator[tuple[float, int]], until_s: float) -> "SimulatedLink":
        """Send `(at_s, nbytes)`, acknowledge, and look at the estimator every TICK_S, until then."""
        rng = random.Random(self.seed)
        events: list[tuple[float, int, int, int, float]] = []  # at, kind, number, bytes, held
        for number, (at_s, nbytes) in enumerate(sends, 1):
            heappush(events, (at_s, 1, number, nbytes, 0.0))
        heappush(events, (0.0, 2, 0, 0, 0.0))
        free_s = acked_s = 0.0
        while events and events[0][0] <= until_s:
            now_s, kind, number, nbytes, held_s = heappop(events)
            if kind == 0:
                self.estimator.acknowledged(number, held_s, now_s)
            elif kind == 1:
                self.estimator.sent(number, nbytes, now_s)
                free_s = self._crossed(nbytes, max(free_s, now_s), rng)
                rtt_s = self.rtt(now_s) * log_normal(rng, self.rtt_cv)
                arrived_s = self.peer_clock_s + free_s + rtt_s / 2
                answered_s = arrived_s + rng.uniform(0, 0.005)
                acked_s = max(acked_s, answered_s - self.peer_clock_s + rtt_s / 2)
                heappush(events, (acked_s, 0, number, nbytes, answered_s - arrived_s))
            else:
                heappush(events, (now_s + TICK_S, 2, 0, 0, 0.0))
                if self.estimator.refresh(now_s):
                    self.alarms_s.append(now_s)
                if (goodput := self.estimator.goodput_bytes_per_s) is not None:
                    self.estimates.append((now_s, goodput))
        return self

    def _crossed(self, nbytes: int, from_s: float, rng: random.Random) -> float:
        """When bytes that begin to cross at `from_s` are through, the rate looked up every 10 ms."""
        factor, left = log_normal(rng, self.cv), float(nbytes)
        while left > 0:
            rate = self.rate(from_s) * factor
            if left <= rate * 0.01:
                return from_s + left / rate
            left -= rate * 0.01
            from_s += 0.01
        return from_s

    def first_alarm_after(self, at_s: float) -> float:
        """Seconds from then to the first change detected; infinite if none was."""
        return min((alarm_s - at_s for alarm_s in self.alarms_s if alarm_s >= at_s), default=math.inf)


def steady(per_s: float, nbytes: int, until_s: float) -> Iterator[tuple[float, int]]:
    """An empty ping first and then about every second, and messages at equal distances."""
    yield 0.0, 0
    yield from ((0.5 + number / per_s, nbytes) for number in range(int((until_s - 0.5) * per_s)))
    yield from ((1 + number * 1.0137, 0) for number in range(int(until_s / 1.0137)))


def step(before: float, after: float, at_s: float) -> Callable[[float], float]:
    """A value that steps at a time."""
    return lambda now_s: before if now_s < at_s else after
