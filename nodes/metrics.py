"""A worker's Prometheus metrics: its stages' figures, its links', and who it is."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge

from nodes.code_version import code_version
from nodes.framing import Frame, Header
from nodes.link_figures import LinkFigures
from nodes.stage_figures import AllStages
from nodes.stage_spec import StageSpec
from nodes.stage_work import Worked


class WorkerMetrics:
    """Of one worker process, in a registry of its own. Requests only note; `fold` counts what they noted."""

    def __init__(self, node: str = "", worker: str = "") -> None:
        self.registry = CollectorRegistry()
        self.stages, self.links = AllStages(), LinkFigures()
        self.registry.register(self.stages)
        self.registry.register(self.links)
        who = Gauge(
            "isthmus_worker_info", "Who tells this: always 1", ("node", "worker", "code"), registry=self.registry
        )
        who.labels(node, worker, code_version()).set(1)

    def ran(self, spec: StageSpec, frames: Sequence[Frame]) -> None:
        """One run over these frames has ended (stage_runner.Observer)."""
        figures = self.stages.of(spec)
        if figures is not None:
            figures.ran(frames)

    def served(self, spec: StageSpec, queue_s: float, worked: Worked) -> None:
        """A request went through a stage. Its numbers are noted, never its tensors."""
        figures = self.stages.of(spec)
        if figures is not None:
            figures.served(queue_s, worked)

    def failed(self, spec: StageSpec, header: Header) -> None:
        """A request ended with the fault in `header`."""
        figures = self.stages.of(spec)
        if figures is not None:
            kind = header.fault.kind if header.fault else "unknown"
            figures.faults[kind] = figures.faults.get(kind, 0) + 1

    def fold(self) -> None:
        """Count what was noted."""
        self.stages.fold()
