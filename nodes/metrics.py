"""A worker's Prometheus metrics and the endpoint that shows them."""

from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from nodes.errors import NodesError
from nodes.framing import Header
from nodes.links import LinkEstimate
from nodes.stage_spec import StageSpec
from nodes.stage_work import Worked

_STAGE = ("deployment", "stage")
_LINK = ("source", "target")
NOTED = 1000
_SECONDS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)


class WorkerMetrics:
    """Counters of one worker process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._noted: list[tuple[tuple[str, str], float, Worked]] = []
        new: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("isthmus_requests", "Requests that a stage answered", _STAGE, **new)
        self._errors = Counter("isthmus_errors", "Requests that ended in an error", (*_STAGE, "kind"), **new)
        parts = ("queue", "decode", "compute", "encode")
        self._seconds = {
            part: Histogram(f"isthmus_{part}_seconds", f"Seconds in {part}", _STAGE, buckets=_SECONDS, **new)
            for part in parts
        }
        self._bytes = Gauge("isthmus_link_sent_bytes", "Bytes sent to a node since the start", _LINK, **new)
        self._goodput = Gauge("isthmus_link_goodput_bytes_per_second", "Estimated goodput to a node", _LINK, **new)
        self._rtt = Gauge("isthmus_link_rtt_seconds", "Estimated round trip to a node", _LINK, **new)

    def served(self, spec: StageSpec, queue_s: float, worked: Worked) -> None:
        """A request went through a stage. Only noted here, as requests must not wait for counters: see `fold`."""
        self._noted.append(((spec.deployment, spec.stage), queue_s, worked))
        if len(self._noted) >= NOTED:
            self.fold()

    def fold(self) -> None:
        """Count what was noted."""
        noted, self._noted = self._noted, []
        for names, queue_s, worked in noted:
            self._requests.labels(*names).inc()
            self._seconds["queue"].labels(*names).observe(queue_s)
            self._seconds["decode"].labels(*names).observe(worked.decode_s)
            self._seconds["compute"].labels(*names).observe(worked.compute_s)
            self._seconds["encode"].labels(*names).observe(worked.encode_s)

    def failed(self, spec: StageSpec, header: Header) -> None:
        """A request ended with the fault in `header`."""
        kind = header.fault.kind if header.fault else "unknown"
        self._errors.labels(spec.deployment, spec.stage, kind).inc()

    def link(self, source: str, target: str, sent_bytes: int, estimate: LinkEstimate) -> None:
        """What is known of the way to another node."""
        self._bytes.labels(source, target).set(sent_bytes)
        if estimate.goodput_bytes_per_s is not None:
            self._goodput.labels(source, target).set(estimate.goodput_bytes_per_s)
        if estimate.rtt_s is not None:
            self._rtt.labels(source, target).set(estimate.rtt_s)


class Endpoint:
    """The HTTP server of one registry."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """Listen; port 0 takes a free one. NodesError if the port is in use."""
        try:
            started: tuple[WSGIServer, Thread] = start_http_server(port, host, registry)
        except OSError as error:
            raise NodesError(f"metrics can't listen on {host}:{port}: {error.strerror}; choose another") from None
        self._server, self._thread = started
        self.port = int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
