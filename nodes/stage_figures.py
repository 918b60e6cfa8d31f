"""What a worker's stages did, by deployment, epoch and stage, as Prometheus is told it.

A request is only noted when it ends, and counted with others every half second. A stage's figures are there, at zero,
from when it is held, and are gone when it is dropped: epochs come and go for as long as a worker lives.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nodes.buckets import SECONDS, TOGETHER, Buckets
from nodes.framing import Frame
from nodes.stage_spec import StageSpec
from nodes.stage_work import Worked

PARTS = ("queue", "decode", "compute", "encode")
NOTED = 1000
LABELS = ("deployment", "epoch", "stage")
Key = tuple[str, int, str]


class Runner(Protocol):
    """What is asked of a stage's runner when figures are wanted, from another thread."""

    busy_s: float

    @property
    def waiting(self) -> int:
        """Requests that wait for their run."""
        ...

    @property
    def in_hand(self) -> int:
        """Requests that wait or run."""
        ...


class StageFigures:
    """One stage's. What is noted is a few numbers a request, never its tensors."""

    __slots__ = ("batches", "faults", "noted", "parts", "received_bytes", "requests", "runner", "runs", "sent_bytes")

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.noted: list[tuple[float, float, float, float]] = []
        self.runs: list[int] = []
        self.requests = self.received_bytes = self.sent_bytes = 0
        self.faults: dict[str, int] = {}
        self.parts = {part: Buckets(SECONDS) for part in PARTS}
        self.batches = Buckets(TOGETHER)

    def ran(self, frames: Sequence[Frame]) -> None:
        """One run has ended, well or not."""
        self.runs.append(len(frames))
        for frame in frames:
            for buffer in frame.buffers:
                self.received_bytes += len(buffer)

    def served(self, queue_s: float, worked: Worked) -> None:
        """A request went through."""
        sends, returns, _, decode_s, compute_s, encode_s = worked
        for _, buffer in sends:
            self.sent_bytes += len(buffer)
        for _, buffer in returns:
            self.sent_bytes += len(buffer)
        self.noted.append((queue_s, decode_s, compute_s, encode_s))
        if len(self.noted) >= NOTED:
            self.fold()

    def fold(self) -> None:
        """Count what was noted."""
        if self.noted:
            self.requests += len(self.noted)
            for part, values in zip(PARTS, zip(*self.noted, strict=True), strict=True):
                self.parts[part].add(values)
            self.noted.clear()
        if self.runs:
            self.batches.add(self.runs)
            self.runs.clear()


Read = tuple[tuple[str, str, Callable[[StageFigures], float]], ...]
_COUNTERS: Read = (
    ("isthmus_requests", "Requests that a stage answered", lambda one: one.requests),
    ("isthmus_received_bytes", "Encoded tensor bytes that runs took in", lambda one: one.received_bytes),
    ("isthmus_sent_bytes", "Encoded tensor bytes that a stage made or passed on", lambda one: one.sent_bytes),
    ("isthmus_busy_seconds", "Seconds in runs, those that failed included", lambda one: one.runner.busy_s),
)
_GAUGES: Read = (
    ("isthmus_requests_waiting", "Requests that wait for their run", lambda one: one.runner.waiting),
    ("isthmus_requests_in_hand", "Requests that wait or run", lambda one: one.runner.in_hand),
)


class AllStages(Collector):
    """Those of the stages that are held. Changed in the worker's loop, read from the endpoint's threads."""

    def __init__(self) -> None:
        self._held: dict[Key, StageFigures] = {}
        self._about: dict[Key, tuple[str, str, str]] = {}

    def hold(self, spec: StageSpec, runner: Runner) -> None:
        """Tell of a stage from now on; one that replaces another goes on counting where that one was."""
        key = (spec.deployment, spec.epoch, spec.stage)
        self._about[key] = (spec.node, spec.backend, spec.precision)
        if key in self._held:
            self._held[key].runner = runner
        else:
            self._held[key] = StageFigures(runner)

    def forget(self, key: Key) -> None:
        """Tell no more of a stage."""
        self._held.pop(key, None)
        self._about.pop(key, None)

    def of(self, spec: StageSpec) -> StageFigures | None:
        """A stage's figures; None where it is held no more."""
        return self._held.get((spec.deployment, spec.epoch, spec.stage))

    def fold(self) -> None:
        """Count what was noted of all."""
        for figures in self._held.values():
            figures.fold()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        held = [((name, str(epoch), stage), figures) for (name, epoch, stage), figures in list(self._held.items())]
        for family, read in [*_families(CounterMetricFamily, _COUNTERS), *_families(GaugeMetricFamily, _GAUGES)]:
            for labels, figures in held:
                family.add_metric(labels, read(figures))
            yield family
        errors = CounterMetricFamily("isthmus_errors", "Requests that ended in an error", labels=(*LABELS, "kind"))
        for labels, figures in held:
            for kind, many in list(figures.faults.items()):
                errors.add_metric((*labels, kind), many)
        yield errors
        for part in PARTS:
            seconds = [(labels, figures.parts[part]) for labels, figures in held]
            yield _histogram(f"isthmus_{part}_seconds", f"Seconds in {part}", seconds)
        batches = [(labels, figures.batches) for labels, figures in held]
        yield _histogram("isthmus_batch_requests", "Requests that shared a run", batches)
        yield self._abouts()

    def _abouts(self) -> Metric:
        labels = (*LABELS, "node", "backend", "precision")
        about = GaugeMetricFamily("isthmus_stage_info", "Where a stage runs, and how: always 1", labels=labels)
        for (name, epoch, stage), told in list(self._about.items()):
            about.add_metric((name, str(epoch), stage, *told), 1)
        return about


def _families(kind: Any, told: Read) -> list[tuple[Any, Callable[[StageFigures], float]]]:
    return [(kind(name, what, labels=LABELS), read) for name, what, read in told]


def _histogram(name: str, what: str, held: list[tuple[tuple[str, str, str], Buckets]]) -> Metric:
    family = HistogramMetricFamily(name, what, labels=LABELS)
    for labels, buckets in held:
        family.add_metric(labels, buckets.told(), buckets.total)
    return family
