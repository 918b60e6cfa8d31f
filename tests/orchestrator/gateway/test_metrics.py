"""What is counted, under our names and Triton's."""

from prometheus_client import CollectorRegistry, Counter

from nodes.framing import HopTiming
from orchestrator.answers import Answer
from orchestrator.gateway.gathering import Gathered
from orchestrator.gateway.metrics import registry_of
from orchestrator.gateway.statistics import Statistics

HOPS = (HopTiming("s1", 0.001, 0.002, 0.003, 0.004, "0"), HopTiming("s2", 0.001, 0.002, 0.003, 0.004, "0"))
ANSWER = Answer(outputs={}, latency_s=0.0, epoch=1, attempt=1, hops=HOPS)
OF = {"model": "m", "version": "3"}


def counted() -> CollectorRegistry:
    """Two answers, of one and of three rows, and three refusals; one request is under way."""
    statistics = Statistics()
    one = statistics.of("m", 3)
    one.answered(0.015, 1, Gathered(answer=ANSWER))
    one.answered(0.3, 3, Gathered(answer=ANSWER, rows=3))
    for reason in ("UNAVAILABLE", "INVALID", "TOO_LARGE"):
        one.failed(0.001, reason)
    one.pending = 1
    others = CollectorRegistry()
    Counter("isthmus_router_requests", "x", registry=others).inc(7)
    return registry_of(statistics, others)


def test_counts_and_times_under_both_names() -> None:
    registry = counted()

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(name, OF | more)

    for own, triton, wanted in (
        ("isthmus_gateway_requests_answered_total", "nv_inference_request_success", 2),
        ("isthmus_gateway_inferences_total", "nv_inference_count", 4),
        ("isthmus_gateway_executions_total", "nv_inference_exec_count", 2),
        ("isthmus_gateway_pending_requests", "nv_inference_pending_request_count", 1),
    ):
        assert value(own) == value(triton) == wanted
    for part, triton, seconds in (
        ("success", "request", 0.315),
        ("queue", "queue", 0.004),
        ("compute_input", "compute_input", 0.008),
        ("compute_infer", "compute_infer", 0.012),
        ("compute_output", "compute_output", 0.016),
    ):
        own, theirs = value(f"isthmus_gateway_{part}_seconds_total"), value(f"nv_inference_{triton}_duration_us")
        assert own is not None and theirs is not None
        assert abs(own - seconds) < 1e-9 and abs(theirs - seconds * 1e6) < 1e-3
    assert registry.get_sample_value("isthmus_router_requests_total") == 7


def test_refusals_by_reason() -> None:
    registry = counted()
    for reason in ("unavailable", "invalid", "too_large"):
        assert registry.get_sample_value("isthmus_gateway_requests_refused_total", OF | {"reason": reason}) == 1
    for reason, many in (("REJECTED", 1), ("OTHER", 2)):
        assert registry.get_sample_value("nv_inference_request_failure", OF | {"reason": reason}) == many


def test_latencies_fall_into_their_buckets() -> None:
    registry = counted()
    for name, scale in (("isthmus_gateway_latency_seconds", 1), ("nv_inference_first_response_histogram_ms", 1e3)):
        for bound, many in ((0.01, 0), (0.02, 1), (0.2, 1), (0.5, 2)):
            assert registry.get_sample_value(f"{name}_bucket", OF | {"le": f"{bound * scale:g}"}) == many
        assert registry.get_sample_value(f"{name}_count", OF) == 2
