"""The router's Prometheus figures, in a registry of their own so that many routers fit in one process."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

from nodes.metrics_endpoint import Endpoint
from nodes.tls import own_context
from orchestrator.answers import Answer
from orchestrator.routed import Routed
from orchestrator.router_figures import RouterFigures

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class RouterMetrics:
    """How every request ended and how long it took, why some were sent again, and faults by kind.

    `figures`: what is known of each of the `deployments`, and of the links.
    """

    def __init__(self, deployments: Mapping[str, Routed] | None = None) -> None:
        self.registry = CollectorRegistry()
        self.figures = RouterFigures({} if deployments is None else deployments)
        self.registry.register(self.figures)
        self._endpoints: list[Endpoint] = []
        self._latency = Histogram(
            "isthmus_router_request_seconds", "From submit to answer", buckets=BUCKETS_S, registry=self.registry
        )
        self._ends = self._counter("requests", "Requests by how they ended: answered, or the reason", "outcome")
        self._replays = self._counter("replays", "Attempts begun anew, by reason", "reason")
        self._repeats = self._counter("repeats", "Requests asked again under their id, not computed again", "how")
        self._faults = self._counter("faults", "Failures by kind", "kind")

    def _counter(self, name: str, what: str, label: str) -> Counter:
        return Counter(f"isthmus_router_{name}", what, [label], registry=self.registry)

    def note_answer(self, deployment: str, answer: Answer) -> None:
        """One request was answered."""
        self._latency.observe(answer.latency_s)
        self.figures.note_hops(deployment, answer.epoch, answer.latency_s, answer.hops)
        self._ends.labels("answered").inc()

    def note_end(self, outcome: str) -> None:
        """One request was refused or has failed: the kind of a FailRequest, or why it was never taken in."""
        self._ends.labels(outcome).inc()

    def note_replay(self, reason: str) -> None:
        """An attempt was begun anew."""
        self._replays.labels(reason).inc()

    def note_repeat(self, how: str) -> None:
        """A request id was given again: its request is under way ("joined") or answered ("remembered")."""
        self._repeats.labels(how).inc()

    def note_fault(self, kind: str) -> None:
        """Something failed; the request may still have been answered by a replay."""
        self._faults.labels(kind).inc()

    def serve(self, port: int, *, host: str = "127.0.0.1") -> int:
        """Serve /metrics; port 0 picks one. Returns the port. NodesError if it is in use."""
        self._endpoints.append(Endpoint(host, port, self.registry, own_context()))
        return self._endpoints[-1].port

    def close(self) -> None:
        """Serve no more."""
        for endpoint in self._endpoints:
            endpoint.close()
        self._endpoints.clear()
