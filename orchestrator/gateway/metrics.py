"""A gateway's Prometheus figures: each model's statistics, under our names and under those of Triton's dashboards.

Triton's names and units: its "Metrics" document; a request's failure is told there by one of four reasons. Its counters
do not end in _total, which prometheus_client would add, so they are told without a type.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UntypedMetricFamily,
)
from prometheus_client.registry import Collector

from orchestrator.gateway.faults import Fault
from orchestrator.gateway.limits import Gate
from orchestrator.gateway.statistics import BOUNDS_S, Counted, Statistics

REASONS = {Fault.UNAVAILABLE: "REJECTED", Fault.CANCELLED: "CANCELED", Fault.INTERNAL: "BACKEND"}
LABELS = ("model", "version")
COUNTS: tuple[tuple[str, str, str, Callable[[Counted], float]], ...] = (
    ("requests_answered", "inference_request_success", "Requests answered", lambda c: c.spans["success"].count),
    ("inferences", "inference_count", "Rows answered", lambda c: c.inferences),
    ("executions", "inference_exec_count", "Requests to the stages that were answered", lambda c: c.executions),
)
SPANS = {  # a span's name, and Triton's
    "success": "inference_request",
    "queue": "inference_queue",
    "compute_input": "inference_compute_input",
    "compute_infer": "inference_compute_infer",
    "compute_output": "inference_compute_output",
}
Rows = list[tuple[tuple[str, str], Counted]]  # by model and version


class GatewayMetrics(Collector):
    """Reads a gateway's statistics when it is asked for."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """All families."""
        counted = [((name, str(version)), each) for (name, version), each in self._statistics.all().items()]
        yield from _counts(counted)
        yield from _failures(counted)
        for name in ("isthmus_gateway_pending_requests", "nv_inference_pending_request_count"):
            pending = GaugeMetricFamily(name, "Requests under way", labels=LABELS)
            for labels, each in counted:
                pending.add_metric(labels, each.pending)
            yield pending
        yield _latencies("isthmus_gateway_latency_seconds", 1.0, counted)
        yield _latencies("nv_inference_first_response_histogram_ms", 1e3, counted)


def _both(ours: str, triton: str, what: str, *labels: str) -> tuple[CounterMetricFamily, UntypedMetricFamily]:
    """A counter under both names."""
    told = (*LABELS, *labels)
    return CounterMetricFamily(ours, what, labels=told), UntypedMetricFamily(triton, what, labels=told)


def _counts(counted: Rows) -> Iterator[Metric]:
    for own, triton, what, read in COUNTS:
        for family in _both(f"isthmus_gateway_{own}", f"nv_{triton}", what):
            for labels, each in counted:
                family.add_metric(labels, read(each))
            yield family
    for part, triton in SPANS.items():
        ours, theirs = _both(f"isthmus_gateway_{part}_seconds", f"nv_{triton}_duration_us", f"Time in {part}")
        for labels, each in counted:
            ours.add_metric(labels, each.spans[part].ns * 1e-9)
            theirs.add_metric(labels, each.spans[part].ns * 1e-3)
        yield from (ours, theirs)


def _failures(counted: Rows) -> Iterator[Metric]:
    names = ("isthmus_gateway_requests_refused", "nv_inference_request_failure")
    ours, theirs = _both(*names, "Requests without an answer", "reason")
    for labels, each in counted:
        told: dict[str, int] = {}
        for reason, many in dict(each.failures).items():
            ours.add_metric((*labels, reason.lower()), many)
            name = REASONS.get(Fault[reason], "OTHER")
            told[name] = told.get(name, 0) + many
        for name, many in told.items():
            theirs.add_metric((*labels, name), many)
    yield from (ours, theirs)


def _latencies(name: str, scale: float, counted: Rows) -> Metric:
    family = HistogramMetricFamily(name, "From a request's arrival to its answer", labels=LABELS)
    bounds = [*(f"{bound * scale:g}" for bound in BOUNDS_S), "+Inf"]
    for labels, each in counted:
        totals = [(bound, float(many)) for bound, many in zip(bounds, accumulate(each.latencies), strict=True)]
        family.add_metric(labels, totals, each.spans["success"].ns * 1e-9 * scale)
    return family


class LimitMetrics(Collector):
    """What limits refused, and the bytes of bodies under way."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def collect(self) -> Iterator[Metric]:
        """Both families."""
        limited = CounterMetricFamily(
            "isthmus_gateway_limited", "Requests beyond a limit, by token", labels=("client", "limit")
        )
        for labels, many in dict(self._gate.refused).items():
            limited.add_metric(labels, many)
        yield limited
        held = GaugeMetricFamily("isthmus_gateway_held_bytes", "Of requests under way")
        held.add_metric((), self._gate.under_way_bytes)
        yield held


class _All(Collector):
    """Several registries as one."""

    def __init__(self, *registries: CollectorRegistry) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        for registry in self._registries:
            yield from registry.collect()


def registry_of(statistics: Statistics, *others: CollectorRegistry) -> CollectorRegistry:
    """All of a gateway's figures, and those of other registries."""
    registry = CollectorRegistry()
    registry.register(GatewayMetrics(statistics))
    if others:
        registry.register(_All(*others))
    return registry
