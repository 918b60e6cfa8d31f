"""What a router can know of the narrow link: how fast its own bytes went, and that none arrive any more.

A transfer that is through tells bytes over seconds; one that is not, what was acknowledged of it lately. A probe goes
out where nothing else has told for a while. Every figure is off by a few percent, as real ones are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp
from random import Random

from kit.trace_link import TraceLink
from kit.traces import LEAST_BYTES_PER_S

PROBE_BYTES, PROBE_EVERY_S = 8192, 0.25
PATIENCE_S, WINDOW_S = 0.05, 0.2  # a transfer unfinished for so long tells by its progress, of so long
NOISE = 0.05  # log standard deviation of what is measured


@dataclass(slots=True)
class Transfer:
    """A request's bytes on the link: when they began to drain, and when they will be through."""

    request: int
    ready_s: float  # when the camera had made them
    begins_s: float
    through_s: float
    nbytes: float


@dataclass(slots=True)
class LinkSight:
    """The newest goodput known; None before anything told."""

    link: TraceLink
    bytes_per_s: float | None = None
    _noise: Random = field(default_factory=lambda: Random(0))
    _probe: Transfer | None = None
    _told_s: float = 0.0

    @property
    def probed_until_s(self) -> float:
        """When the probe under way, if any, is through: others drain after it."""
        return 0.0 if self._probe is None else self._probe.through_s

    def look(self, now_s: float, arrived: Sequence[Transfer], under_way: Transfer | None) -> bool:
        """Take in what arrived since the last look and the oldest transfer that has not; whether that told anything."""
        rate = None
        for one in arrived:
            rate = one.nbytes / (one.through_s - one.begins_s)
        if self._probe is not None and self._probe.through_s <= now_s:
            rate = self._probe.nbytes / (self._probe.through_s - self._probe.begins_s)
            self._probe = None
        stuck = under_way or self._probe
        if stuck is not None and stuck.begins_s < now_s - PATIENCE_S:
            since_s = max(stuck.begins_s, now_s - WINDOW_S)
            rate = (self.link.drained(now_s) - self.link.drained(since_s)) / (now_s - since_s)
        if rate is not None:
            self._told_s = now_s
            self.bytes_per_s = max(rate, LEAST_BYTES_PER_S) * exp(self._noise.gauss(0.0, NOISE))
        elif under_way is None and self._probe is None and now_s >= self._told_s + PROBE_EVERY_S:
            through_s = self.link.through_s(now_s, PROBE_BYTES)
            self._probe = Transfer(-1, now_s, now_s, through_s, PROBE_BYTES)
        return rate is not None
