"""The router's Prometheus figures, in a registry of their own so that many routers fit in one process."""

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class RouterMetrics:
    """Requests answered with their latency, and faults by kind."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._latency = Histogram(
            "isthmus_router_request_seconds", "From submit to answer", buckets=BUCKETS_S, registry=self.registry
        )
        self._faults = Counter("isthmus_router_faults", "Failures by kind", ["kind"], registry=self.registry)

    def note_answer(self, latency_s: float) -> None:
        """One request was answered."""
        self._latency.observe(latency_s)

    def note_fault(self, kind: str) -> None:
        """Something failed; the request may still have been answered by a replay."""
        self._faults.labels(kind).inc()

    def serve(self, port: int, *, host: str = "127.0.0.1") -> int:
        """Serve /metrics; port 0 picks one. Returns the port. OSError if it is in use."""
        server, _ = start_http_server(port, addr=host, registry=self.registry)
        return int(server.server_port)
