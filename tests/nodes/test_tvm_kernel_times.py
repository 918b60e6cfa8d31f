"""Kernel times of a TVM session: each kernel goes by the operator that it mainly computes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.attribution import attribute
from nodes.backend import Backend
from nodes.backends.tvm import kernel_times
from nodes.backends.tvm.kernel_times import KernelTimes
from nodes.model_parts import ModelParts
from tests.nodes.onnx_models import dense, info, model_of, node, random_weight

pytest.importorskip("tvm")


class Clock:
    """Time that passes by itself: two seconds more at each call."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 2.0
        return self.now_s


def run(times: KernelTimes, *kernels: str) -> None:
    for kernel in kernels:
        for before in (True, False):
            assert times.seen(None, kernel, before, None) == 0
    times.end_of_run()


def test_calls_of_one_kernel_are_told_apart_by_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_times.time, "perf_counter", Clock())
    times = KernelTimes([("conv2d", "first"), ("relu", ""), ("conv2d", "second"), ("add", "second")])
    for _ in range(3):
        run(times, "conv2d", "vm.builtin.alloc_tensor", "relu", "conv2d", "add")
    assert times.medians() == {"first": 2.0, "relu": 2.0, "second": 4.0}


def test_an_operators_time_is_the_median_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 0.0, 9.0, 0.0, 2.0])
    monkeypatch.setattr(kernel_times.time, "perf_counter", lambda: next(ticks))
    times = KernelTimes([("conv2d", "only")])
    for _ in range(3):
        run(times, "conv2d")
    assert times.medians() == {"only": 2.0}


def uneven() -> Any:
    """Two branches of one picture: a wide convolution, and a narrow one that the sum is fused into; then a product."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], "wide", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["r"], "relu"),
        node("Conv", ["r", "v"], ["b"], "narrow"),
        node("GlobalAveragePool", ["b"], ["p"], "mean"),
        node("Flatten", ["p"], ["f"], "flat"),
        node("MatMul", ["f", "m"], ["y"], "classify"),
    ]
    weights = [
        random_weight("w", 64, 8, 3, 3), random_weight("v", 8, 64, 1, 1, seed=1), random_weight("m", 8, 4, seed=2)
    ]  # fmt: skip
    shapes = [info("a", 1, 64, 24, 24), info("b", 1, 8, 24, 24)]
    model = model_of(nodes, [info("x", 1, 8, 24, 24)], [info("y", 1, 4)], weights)
    model.graph.value_info.extend(shapes)
    return model


@pytest.mark.slow
def test_a_profiled_session_names_the_models_operators(tvm_backend: Backend) -> None:
    session = tvm_backend.compile(uneven().SerializeToString(), profile=True)
    feeds = {"x": np.ones((1, 8, 24, 24), np.float32)}
    for _ in range(5):
        session.run(feeds)
    told = session.operator_s()
    assert told is not None and {"wide", "narrow", "mean", "classify"} <= set(told)
    assert told["wide"] == max(told.values()) and min(told.values()) > 0
    session.close()
    assert session.operator_s() == told


@pytest.mark.slow
def test_the_profiler_shares_them_out_to_every_operator(tvm_backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(uneven().SerializeToString())
    session = tvm_backend.compile(path, profile=True)
    session.run({"x": np.ones((1, 8, 24, 24), np.float32)})
    with ModelParts(path, None) as parts:
        shared = attribute(parts.wiring, session.operator_s() or {}, {}, 1.0)
    assert set(shared) == {"wide", "relu", "narrow", "mean", "flat", "classify"}
    assert sum(shared.values()) == pytest.approx(1.0) and shared["wide"] > shared["classify"]


def test_a_session_that_was_not_asked_to_profile_has_no_hook(tvm_backend: Backend) -> None:
    session = tvm_backend.compile(dense().SerializeToString())
    session.run({"x": np.ones((1, 8), np.float32)})
    assert session.operator_s() is None
