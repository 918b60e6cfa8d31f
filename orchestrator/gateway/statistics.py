"""What became of each model's requests, as the protocol's statistics extension tells it.

Times of hops are added up over a request's stages: waiting, decoding, computing, encoding.
"""

import time
from bisect import bisect_left
from dataclasses import dataclass, field

from orchestrator.gateway.gathering import Gathered

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of latencies
MOST_BATCHES = 64  # sizes that are told apart
PARTS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class Span:
    """How often something was, and nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.count += 1
        self.ns += round(seconds * 1e9)


@dataclass(slots=True)
class Counted:
    """One version of one model. `pending`: under way; `failures`: by reason; `rows`: of all that was answered."""

    last_ms: int = 0
    inferences: int = 0
    executions: int = 0
    pending: int = 0
    spans: dict[str, Span] = field(default_factory=lambda: {part: Span() for part in PARTS})
    failures: dict[str, int] = field(default_factory=dict)
    batches: dict[int, dict[str, Span]] = field(default_factory=dict)
    latencies: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))  # up to each of BOUNDS_S

    def answered(self, latency_s: float, rows: int, gathered: Gathered) -> None:
        """A request of so many rows was answered; the run that it shared is counted with one of them."""
        stages = gathered.answer.hops
        parts = {
            "compute_input": sum(hop.decode_s for hop in stages),
            "compute_infer": sum(hop.compute_s for hop in stages),
            "compute_output": sum(hop.encode_s for hop in stages),
        }
        self.last_ms = round(time.time() * 1e3)
        self.inferences += rows
        self.executions += gathered.counts
        self.spans["success"].add(latency_s)
        self.latencies[bisect_left(BOUNDS_S, latency_s)] += 1
        self.spans["queue"].add(gathered.queue_s + sum(hop.queue_s for hop in stages))
        for part, seconds in parts.items():
            self.spans[part].add(seconds)
        if gathered.counts and (gathered.rows in self.batches or len(self.batches) < MOST_BATCHES):
            batch = self.batches.setdefault(gathered.rows, {part: Span() for part in parts})
            for part, seconds in parts.items():
                batch[part].add(seconds)

    def failed(self, latency_s: float, reason: str) -> None:
        """A request got no answer."""
        self.spans["fail"].add(latency_s)
        self.failures[reason] = self.failures.get(reason, 0) + 1


class Statistics:
    """All models'."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, int], Counted] = {}

    def of(self, name: str, version: int) -> Counted:
        """One version's, from its first request on."""
        return self._counted.setdefault((name, version), Counted())

    def all(self) -> dict[tuple[str, int], Counted]:
        """By name and version."""
        return dict(self._counted)
