"""A worker's Prometheus metrics.

A request's seconds are only noted when it ends and counted in bulk every half second: requests don't wait for
counters. Times are kept in plain buckets here, as prometheus_client's histograms take 10 µs a request.
"""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nodes.framing import Header
from nodes.links import LinkEstimate
from nodes.stage_spec import StageSpec
from nodes.stage_work import Worked

BOUNDS_S = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
PARTS = ("queue", "decode", "compute", "encode")
NOTED = 1000
_STAGE = ("deployment", "stage")
_LINK = ("source", "target")
_LABELS = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")
Names = tuple[str, str]


class _Tally(Collector):
    """Requests and their seconds per stage and part."""

    def __init__(self) -> None:
        self._requests: dict[Names, int] = {}
        self._buckets: dict[tuple[str, Names], list[int]] = {}
        self._sums: dict[tuple[str, Names], float] = {}

    def add(self, noted: Iterable[tuple[Names, tuple[float, ...]]]) -> None:
        """Count requests: stage, then seconds in the order of PARTS."""
        for names, seconds in noted:
            self._requests[names] = self._requests.get(names, 0) + 1
            for key, each_s in zip(((part, names) for part in PARTS), seconds, strict=True):
                buckets = self._buckets.setdefault(key, [0] * len(_LABELS))
                buckets[bisect_left(BOUNDS_S, each_s)] += 1
                self._sums[key] = self._sums.get(key, 0.0) + each_s

    def collect(self) -> Iterable[Metric]:
        """The state as Prometheus families."""
        requests = CounterMetricFamily("isthmus_requests", "Requests that a stage answered", labels=_STAGE)
        for names, count in list(self._requests.items()):
            requests.add_metric(names, count)
        yield requests
        for wanted in PARTS:
            family = HistogramMetricFamily(f"isthmus_{wanted}_seconds", f"Seconds in {wanted}", labels=_STAGE)
            for (part, names), buckets in list(self._buckets.items()):
                if part == wanted:
                    totals = list(zip(_LABELS, map(float, accumulate(buckets)), strict=True))
                    family.add_metric(names, totals, self._sums[part, names])
            yield family


class WorkerMetrics:
    """Counters of one worker process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._noted: list[tuple[Names, tuple[float, ...]]] = []
        self._tally = _Tally()
        self.registry.register(self._tally)
        new: dict[str, Any] = {"registry": self.registry}
        self._errors = Counter("isthmus_errors", "Requests that ended in an error", (*_STAGE, "kind"), **new)
        self._bytes = Gauge("isthmus_link_sent_bytes", "Bytes sent to a node since the start", _LINK, **new)
        self._goodput = Gauge("isthmus_link_goodput_bytes_per_second", "Estimated goodput to a node", _LINK, **new)
        self._goodput_std = Gauge(
            "isthmus_link_goodput_relative_std", "How unsure the estimated goodput is", _LINK, **new
        )
        self._rtt = Gauge("isthmus_link_rtt_seconds", "Estimated round trip to a node", _LINK, **new)
        self._queueing = Gauge("isthmus_link_queueing_seconds", "What a message to a node waits", _LINK, **new)
        self._changes = Counter("isthmus_link_changes", "Changes of the way to a node that were detected", _LINK, **new)

    def served(self, spec: StageSpec, queue_s: float, worked: Worked) -> None:
        """A request went through a stage. Its numbers are noted, never its tensors."""
        seconds = (queue_s, worked.decode_s, worked.compute_s, worked.encode_s)
        self._noted.append(((spec.deployment, spec.stage), seconds))
        if len(self._noted) >= NOTED:
            self.fold()

    def fold(self) -> None:
        """Count what was noted."""
        noted, self._noted = self._noted, []
        self._tally.add(noted)

    def failed(self, spec: StageSpec, header: Header) -> None:
        """A request ended with the fault in `header`."""
        kind = header.fault.kind if header.fault else "unknown"
        self._errors.labels(spec.deployment, spec.stage, kind).inc()

    def link(self, source: str, target: str, sent_bytes: int, estimate: LinkEstimate, *, changed: bool = False) -> None:
        """What is known of the way to another node, and whether it has changed since the last word."""
        self._bytes.labels(source, target).set(sent_bytes)
        if estimate.goodput_bytes_per_s is not None:
            self._goodput.labels(source, target).set(estimate.goodput_bytes_per_s)
        if estimate.goodput_std is not None:
            self._goodput_std.labels(source, target).set(estimate.goodput_std)
        if estimate.rtt_s is not None:
            self._rtt.labels(source, target).set(estimate.rtt_s)
        self._queueing.labels(source, target).set(estimate.queueing_s)
        if changed:
            self._changes.labels(source, target).inc()
