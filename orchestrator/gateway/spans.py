"""OpenTelemetry's spans of a gateway's requests: one a request, and below it one a stage.

Clocks are never compared across machines: stages tell how long they queued, decoded, computed and encoded, not when.
So their spans are made here, once the answer is there: in the order of the stages, each as long as the stage told, and
what is left of the router's time shared equally between the messages before, between and behind them. A stage's length
is measured, its place is an estimate; `isthmus.placed` says so. Of a request that was sent more than once the stages
are those of the attempt that was answered.
"""

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from nodes.code_version import code_version
from nodes.framing import HopTiming
from orchestrator.gateway.accounts import Account, Span
from orchestrator.gateway.faults import Fault
from orchestrator.trace_ids import Parent

SERVICE = "isthmus-gateway"
OUR_FAULTS = (Fault.INTERNAL.name, Fault.UNAVAILABLE.name)


class OtlpSpans:
    """Sends spans to a collector over OTLP (gRPC), in the background; what it does not take is let go.

    OpenTelemetry's own variables (OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and so on) count as everywhere.
    """

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: HOST:PORT, without TLS; with https:// before it, with."""
        told = {SERVICE_NAME: SERVICE, SERVICE_VERSION: code_version()}
        self._provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("isthmus")

    def begin(self, account: Account) -> Span:
        """As accounts.Spans."""
        context = None if account.parent is None else trace.set_span_in_context(_remote(account.parent))
        span = self._tracer.start_span(
            f"infer {account.model}",
            context=context,
            kind=SpanKind.SERVER,
            attributes={"isthmus.deployment": account.model},
            start_time=round(account.began_at_s * 1e9),
        )
        return _RequestSpan(self._tracer, span)

    def close(self) -> None:
        """As accounts.Spans."""
        self._provider.shutdown()


class _RequestSpan:
    """One request's."""

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer, self._span = tracer, span
        self.trace = f"{span.get_span_context().trace_id:032x}"

    def end(self, account: Account) -> None:
        """As accounts.Span: its stages' spans, then its own end."""
        span = self._span
        if span.is_recording():
            told = account.told()
            span.set_attributes({f"isthmus.{name}": told[name] for name in told if name not in ("deployment", "ms")})
            if account.status in OUR_FAULTS:
                span.set_status(Status(StatusCode.ERROR, account.message))
            if account.answer is not None and account.answer.hops:
                self._stages(account, account.answer.hops, account.answer.latency_s)
        span.end(end_time=_at(account, account.ended_s))

    def _stages(self, account: Account, hops: Sequence[HopTiming], latency_s: float) -> None:
        below = trace.set_span_in_context(self._span)
        begin_s = max(account.began_s, account.answered_s - latency_s)
        for hop, (from_s, to_s) in zip(hops, placed(hops, latency_s), strict=True):
            attributes = {
                "isthmus.stage": hop.stage,
                "isthmus.queue_s": hop.queue_s,
                "isthmus.decode_s": hop.decode_s,
                "isthmus.compute_s": hop.compute_s,
                "isthmus.encode_s": hop.encode_s,
                "isthmus.placed": True,
            }
            start = _at(account, begin_s + from_s)
            stage = self._tracer.start_span(
                f"stage {hop.stage}", context=below, attributes=attributes, start_time=start
            )
            stage.end(end_time=_at(account, begin_s + to_s))


def placed(hops: Sequence[HopTiming], latency_s: float) -> list[tuple[float, float]]:
    """When each stage began and ended, counted from the request's start: what is not theirs is shared equally.

    Stages that say that they took longer than the whole are made shorter, all by the same part.
    """
    lengths = [hop.queue_s + hop.decode_s + hop.compute_s + hop.encode_s for hop in hops]
    total_s = sum(lengths)
    scale = min(1.0, latency_s / total_s) if total_s > 0 else 1.0
    message_s = max(0.0, latency_s - total_s) / (len(hops) + 1)
    found, at_s = [], message_s
    for length_s in lengths:
        found.append((at_s, at_s + length_s * scale))
        at_s += length_s * scale + message_s
    return found


def _at(account: Account, moment_s: float) -> int:
    """A moment of this process's steady clock in nanoseconds since 1970, as of when the request came."""
    return round((account.began_at_s + moment_s - account.began_s) * 1e9)


def _remote(parent: Parent) -> NonRecordingSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(int(parent.trace, 16), int(parent.span, 16), is_remote=True, trace_flags=flags))
