"""What a worker tells of its stages: what is counted of each, and that it is forgotten with them."""

from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import generate_latest

from nodes.buckets import FEW, Buckets
from nodes.framing import Fault, Frame, Header, TensorMeta
from nodes.metrics import WorkerMetrics
from nodes.stage_figures import NOTED
from nodes.stage_spec import StageSpec
from nodes.stage_work import Worked

IN, OUT = bytes(64), bytes(48)
WORKED = Worked((), ((TensorMeta("y", "uint8", (48,), nbytes=48), OUT),), None, 2e-4, 2e-3, 2e-2)
OF = {"deployment": "d", "epoch": "3", "stage": "s1"}


@dataclass
class Runner:
    """A runner that has this much in hand."""

    waiting: int = 0
    in_hand: int = 0
    busy_s: float = 0.0


def spec(epoch: int = 3, stage: str = "s1") -> StageSpec:
    about: dict[str, Any] = {"artifact": "", "backend": "onnxruntime", "node": "edge", "returns": ("y",)}
    return StageSpec(deployment="d", epoch=epoch, stage=stage, **about)


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"isthmus_{name}", OF | labels)


@pytest.fixture
def metrics() -> WorkerMetrics:
    """Of a worker that holds stage s1."""
    made = WorkerMetrics("edge", "w1")
    made.stages.hold(spec(), Runner(waiting=2, in_hand=3, busy_s=1.5))
    return made


def run(metrics: WorkerMetrics, requests: int, of: StageSpec | None = None) -> None:
    metrics.ran(of or spec(), [Frame(Header(), (IN,))] * requests)
    for _ in range(requests):
        metrics.served(of or spec(), 1e-5, WORKED)


def test_requests_runs_seconds_and_bytes_are_counted(metrics: WorkerMetrics) -> None:
    run(metrics, 4)
    run(metrics, 1)
    metrics.fold()
    assert value(metrics, "requests_total") == value(metrics, "compute_seconds_count") == 5
    assert (value(metrics, "received_bytes_total"), value(metrics, "sent_bytes_total")) == (5 * 64, 5 * 48)
    assert value(metrics, "compute_seconds_sum") == pytest.approx(5 * 2e-3)
    assert [value(metrics, "decode_seconds_bucket", le=le) for le in ("0.0001", "0.0003", "+Inf")] == [0, 5, 5]
    assert [value(metrics, "batch_requests_bucket", le=le) for le in ("1", "2", "4", "+Inf")] == [1, 1, 2, 2]


def test_what_a_stage_has_in_hand_is_read_when_it_is_asked_for(metrics: WorkerMetrics) -> None:
    assert (value(metrics, "requests_waiting"), value(metrics, "requests_in_hand")) == (2, 3)
    assert value(metrics, "busy_seconds_total") == 1.5
    metrics.stages.hold(spec(), Runner(waiting=7))
    assert value(metrics, "requests_waiting") == 7


def test_errors_are_told_by_their_kind(metrics: WorkerMetrics) -> None:
    for kind in ("RunError", "RunError", "Overloaded"):
        metrics.failed(spec(), Header(fault=Fault(kind, "x")))
    assert (value(metrics, "errors_total", kind="RunError"), value(metrics, "errors_total", kind="Overloaded")) == (
        2,
        1,
    )


def test_a_stage_is_told_at_zero_from_when_it_is_held(metrics: WorkerMetrics) -> None:
    assert value(metrics, "requests_total") == value(metrics, "queue_seconds_count") == 0
    assert value(metrics, "stage_info", node="edge", backend="onnxruntime", precision="float32") == 1


def test_nothing_grows_over_a_hundred_epochs(metrics: WorkerMetrics) -> None:
    lines = len(generate_latest(metrics.registry).splitlines())
    for epoch in range(4, 104):
        metrics.stages.hold(spec(epoch), Runner())
        run(metrics, 3, spec(epoch))
        metrics.failed(spec(epoch), Header(fault=Fault("RunError", "x")))
        metrics.stages.forget(("d", epoch, "s1"))
        run(metrics, 1, spec(epoch))  # what was still in the lane
        metrics.failed(spec(epoch), Header(fault=Fault("RunError", "x")))
    metrics.fold()
    assert len(generate_latest(metrics.registry).splitlines()) == lines


def test_what_is_noted_is_counted_before_it_is_much(metrics: WorkerMetrics) -> None:
    run(metrics, NOTED)
    assert value(metrics, "requests_total") == NOTED


@pytest.mark.parametrize("many", [FEW - 1, FEW])
def test_many_values_are_counted_as_few_are(many: int) -> None:
    buckets = Buckets((1.0, 2.0))
    buckets.add([1.0, 1.5, 2.0, 2.5, *[9.0] * (many - 4)])
    assert buckets.told() == [("1", 1.0), ("2", 3.0), ("+Inf", float(many))]
    assert buckets.total == 7 + 9 * (many - 4)
