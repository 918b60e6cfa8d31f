"""What becomes of requests, counted as they end: nothing is kept of one that has ended but its part in these sums.

Latencies go into a histogram whose bins grow by a thousandth, so quantiles are within 0.05 % whatever their number.
"""

from array import array
from dataclasses import dataclass, field
from math import log

import numpy as np

from simulations.requests import Attempt

LEAST_S, GROWTH, BINS = 1e-6, 1e-3, 26_000  # up to 195,000 s
SUMS = (
    "asked", "answered", "late", "open", "overdue", "radio_s", "queue_s", "compute_s", "transfer_s", "other_s",
    "sent_bytes", "tries",
)  # fmt: skip
_SCALE = 1 / log(1 + GROWTH)


class Histogram:
    """Seconds by the thousandth."""

    __slots__ = ("_bins", "_least", "count", "total_s")

    def __init__(self) -> None:
        self._bins = array("q", bytes(8 * BINS))
        self.count, self.total_s = 0, 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        at = int(log(seconds / LEAST_S) * _SCALE) if seconds > LEAST_S else 0
        self._bins[at if at < BINS else BINS - 1] += 1
        self.count += 1
        self.total_s += seconds

    def add_all(self, other: "Histogram") -> None:
        """Everything that is in another one."""
        for at, many in enumerate(other._bins):
            if many:
                self._bins[at] += many
        self.count += other.count
        self.total_s += other.total_s

    @property
    def mean_s(self) -> float:
        """NaN for none."""
        return self.total_s / self.count if self.count else float("nan")

    def quantile_s(self, share: float) -> float:
        """The latency that this share does not exceed, within 0.05 %; NaN for none."""
        if not self.count:
            return float("nan")
        reached = np.cumsum(np.frombuffer(self._bins, dtype=np.int64))
        at = int(np.searchsorted(reached, max(share * self.count, 1), side="left"))
        return float(LEAST_S * (1 + GROWTH) ** (at + 0.5))

    def cdf(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Seconds and the share that does not exceed them, where anything is."""
        bins = np.frombuffer(self._bins, dtype=np.int64)
        there = np.flatnonzero(bins)
        shares = np.cumsum(bins[there]) / max(self.count, 1)
        return tuple((LEAST_S * (1 + GROWTH) ** (there + 1.0)).tolist()), tuple(shares.tolist())


@dataclass(slots=True)
class Tally:
    """Sums over the requests of a group, a pipeline or all. Hops are seconds of what was answered."""

    latency: Histogram = field(default_factory=Histogram)
    asked: int = 0
    answered: int = 0
    late: int = 0  # answered, but after the deadline
    failed: dict[str, int] = field(default_factory=dict)  # by kind
    open: int = 0  # under way when the simulation ended
    overdue: int = 0  # of these, after the deadline
    radio_s: float = 0.0
    queue_s: float = 0.0
    compute_s: float = 0.0
    transfer_s: float = 0.0
    other_s: float = 0.0  # waiting at the router, and attempts in vain
    sent_bytes: float = 0.0
    tries: int = 0

    def answer(self, latency_s: float, is_late: bool, attempt: Attempt) -> None:
        """A request that was answered by this attempt."""
        self.answered += 1
        self.late += is_late
        self.latency.add(latency_s)
        radio_s, queue_s, compute_s, transfer_s = attempt.hops
        self.radio_s += radio_s
        self.queue_s += queue_s
        self.compute_s += compute_s
        self.transfer_s += transfer_s
        self.other_s += latency_s - radio_s - queue_s - compute_s - transfer_s
        self.sent_bytes += attempt.way.sent_bytes

    def add_all(self, other: "Tally") -> None:
        """Everything that another one has counted."""
        self.latency.add_all(other.latency)
        for kind, many in other.failed.items():
            self.failed[kind] = self.failed.get(kind, 0) + many
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def fail(self, kind: str) -> None:
        """A request that was not answered."""
        self.failed[kind] = self.failed.get(kind, 0) + 1

    def leave(self, is_overdue: bool) -> None:
        """A request that was still under way when the simulation ended."""
        self.open += 1
        self.overdue += is_overdue

    @property
    def missed(self) -> float:
        """The share that had no answer in time, of those of which that is known; NaN for none."""
        lost = sum(self.failed.values()) + self.overdue
        known = self.answered + lost
        return (self.late + lost) / known if known else float("nan")

    def figures(self, span_s: float) -> dict[str, float]:
        """By name, units in the names."""
        answered = self.answered or float("nan")
        return {
            "asked": float(self.asked),
            "answered_per_s": self.answered / span_s,
            "latency_mean_s": self.latency.mean_s,
            "latency_p50_s": self.latency.quantile_s(0.50),
            "latency_p95_s": self.latency.quantile_s(0.95),
            "latency_p99_s": self.latency.quantile_s(0.99),
            "missed_share": self.missed,
            "failed_share": sum(self.failed.values()) / (self.answered + sum(self.failed.values()) or float("nan")),
            "open_share": self.open / (self.asked or float("nan")),
            "radio_s": self.radio_s / answered,
            "queue_s": self.queue_s / answered,
            "compute_s": self.compute_s / answered,
            "transfer_s": self.transfer_s / answered,
            "other_s": self.other_s / answered,
            "sent_bytes": self.sent_bytes / answered,
            "tries": self.tries / answered,
        }
