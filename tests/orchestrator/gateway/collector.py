"""An OTLP collector on loopback that keeps the spans it is sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.eventually import eventually


@dataclass(frozen=True, slots=True)
class Kept:
    """One span."""

    name: str
    trace: str
    span: str
    parent: str
    begin_ns: int
    end_ns: int
    attributes: dict[str, Any]
    is_error: bool
    service: str


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
    """What came so far."""

    address: str = ""
    spans: list[Kept] = field(default_factory=list)

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        for lot in request.resource_spans:
            about = _values(lot.resource.attributes)
            for span in (span for scope in lot.scope_spans for span in scope.spans):
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                told = _values(span.attributes)
                self.spans.append(Kept(span.name, *ids, *times, told, span.status.code == 2, about["service.name"]))
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, many: int) -> list[Kept]:
        """So many spans, in the order in which they began."""
        eventually(lambda: len(self.spans) >= many, what=f"{many} spans")
        return sorted(self.spans, key=lambda span: (span.begin_ns, span.parent))


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """One that listens while the block runs."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()
