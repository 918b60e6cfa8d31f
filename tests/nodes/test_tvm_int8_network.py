"""Quantised models compiled by TVM: which operators multiply bytes, and that they answer as ONNX Runtime does."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from nodes.backend import Array, Backend, load_backend
from nodes.backends.tvm.arm_export import export
from nodes.backends.tvm.int8_network import pack, same_signs
from nodes.backends.tvm.int8_schedule import dot_tiles
from nodes.backends.tvm.kernels import kernels_of
from nodes.backends.tvm.lower import Lowered, lower
from nodes.backends.tvm.targets import target
from nodes.errors import EngineMissing
from nodes.options import Options
from tests.contracts.backend_models import compiled_reference
from tests.nodes.boards import board, lacking, needs
from tests.nodes.onnx_models import UINT8, info, model_of, node, random_weight, weight

try:
    load_backend("tvm")
except EngineMissing as error:
    lacking(str(error))

onnxruntime_quantiser = pytest.importorskip("nodes.variants.int8_static")
BOUND = 2e-2  # of the largest output: a sum that lies between two steps may be rounded to either


def quantised(model: ModelProto, feeds: list[dict[str, Array]], **options: str) -> bytes:
    with Options("int8-static", options) as read:
        made: ModelProto = onnxruntime_quantiser.int8_static(model, feeds, read)
    return made.SerializeToString()


def pictures(count: int) -> list[dict[str, Array]]:
    random = np.random.default_rng(3)
    return [{"x": random.normal(size=(1, 3, 18, 14)).astype(np.float32)} for _ in range(count)]


def network() -> ModelProto:
    """Convolutions with strides, dilation and uneven borders, one depthwise, a sum of two branches, pools, a Gemm."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], "stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "d"], ["e"], "depthwise", group=16, pads=[1, 1, 1, 1]),
        node("Conv", ["e", "p", "pb"], ["g"], "point"),
        node("Conv", ["r", "q"], ["h"], "short"),
        node("Add", ["g", "h"], ["s"], "sum"),
        node("Conv", ["s", "k"], ["t"], "square", pads=[2, 0, 1, 1], dilations=[2, 1]),
        node("MaxPool", ["t"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["m"], ["a"], "mean"),
        node("Flatten", ["a"], ["f"], "flat"),
        node("Gemm", ["f", "fc", "fb"], ["y"], "classify", transB=1),
    ]
    weights = [
        random_weight("w", 16, 3, 3, 3), random_weight("b", 16, seed=1), random_weight("d", 16, 1, 3, 3, seed=2),
        random_weight("p", 24, 16, 1, 1, seed=3), random_weight("pb", 24, seed=4),
        random_weight("q", 24, 16, 1, 1, seed=5), random_weight("k", 32, 24, 3, 3, seed=6),
        random_weight("fc", 12, 32, seed=7), random_weight("fb", 12, seed=8),
    ]  # fmt: skip
    return model_of(nodes, [info("x", 1, 3, 18, 14)], [info("y", 1, 12)], weights)


def products() -> ModelProto:
    """x [2, 5, 18] by two matrices, of which one has columns that no instruction divides."""
    nodes = [node("MatMul", ["x", "w"], ["m"], "wide"), node("Relu", ["m"], ["r"]), node("MatMul", ["r", "v"], ["y"])]
    weights = [random_weight("w", 18, 32), random_weight("v", 32, 7, seed=1)]
    return model_of(nodes, [info("x", 2, 5, 18)], [info("y", 2, 5, 7)], weights)


def lowered(model: bytes, name: str) -> tuple[Lowered, list[str]]:
    import tvm

    made = lower(model, tvm.target.Target(dict(target(name).kind)))
    return made, [kernel.name for kernel in kernels_of(made.module, tvm.target.Target(dict(target(name).kind)))]


def difference(have: Array, want: Array) -> float:
    return float(np.abs(have - want).max() / np.abs(want).max())


@pytest.mark.slow
@pytest.mark.parametrize("activations", ["unsigned", "signed"])
def test_a_quantised_network_runs_on_a_core_with_dot_products_by_them(activations: str, tmp_path: Path) -> None:
    needs("aarch64-linux-gnu-objdump")
    model, feeds = quantised(network(), pictures(8), activations=activations), pictures(1)[0]
    made = export(model, "cortex-a76", tmp_path / "board")
    listing = subprocess.run(
        ["aarch64-linux-gnu-objdump", "-d", str(made.folder / "lib.so")], capture_output=True, text=True, check=True
    ).stdout
    kernels = {part.split(">:")[0] for part in listing.split("\n\n") if "\tsdot\t" in part}
    assert len({name for name in kernels if "conv2d_int8" in name}) >= 3 and any("matmul_int8" in n for n in kernels)
    np.save(tmp_path / "x.npy", feeds["x"])
    options = [str(made.folder), "--out", str(tmp_path), f"x={tmp_path}/x.npy"]
    done = board("aarch64", "cortex-a76").run(made.folder / "runner", *options)
    assert done.returncode == 0, done.stderr
    assert difference(np.load(tmp_path / "y.npy"), compiled_reference(model).run(feeds)["y"]) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("activations", ["unsigned", "signed"])
def test_a_quantised_network_answers_here_as_onnx_runtime_does(activations: str, tvm_backend: Backend) -> None:
    model, feeds = quantised(network(), pictures(8), activations=activations), pictures(1)[0]
    assert difference(tvm_backend.compile(model).run(feeds)["y"], compiled_reference(model).run(feeds)["y"]) <= BOUND


@pytest.mark.slow
def test_quantised_matrix_products_answer_as_onnx_runtime_does(tvm_backend: Backend) -> None:
    feeds = [{"x": np.random.default_rng(seed).normal(size=(2, 5, 18)).astype(np.float32)} for seed in range(4)]
    model = quantised(products(), feeds)
    made = tvm_backend.compile(model).run(feeds[0])["y"]
    assert difference(made, compiled_reference(model).run(feeds[0])["y"]) <= BOUND


@pytest.mark.slow
def test_all_but_depthwise_convolutions_multiply_bytes_and_pass_bytes_on() -> None:
    made, names = lowered(quantised(network(), pictures(4)), "cortex-a76")
    assert sum("conv2d_int8" in name for name in names) == 4 and sum("matmul_int8" in name for name in names) == 1
    assert sum("conv2d" in name and "int8" not in name for name in names) == 1
    named = {operator for kernel, operator in made.origins if "int8" in kernel}
    assert named == {"stem", "point", "short", "square", "classify"}


@pytest.mark.slow
def test_a_core_without_dot_products_computes_in_floats() -> None:
    _, names = lowered(quantised(network(), pictures(4)), "cortex-a72")
    assert not any("int8" in name for name in names)


@pytest.mark.slow
def test_columns_that_no_instruction_divides_stay_float() -> None:
    feeds = [{"x": np.random.default_rng(seed).normal(size=(2, 5, 18)).astype(np.float32)} for seed in range(2)]
    _, names = lowered(quantised(products(), feeds), "cortex-a76")
    assert sum("matmul_int8" in name for name in names) == 1 and sum("matmul" in name for name in names) == 2


def cut_off() -> ModelProto:
    """What a network's part begins with that was cut behind a QuantizeLinear: bytes come in."""
    weights = [
        weight("s", 0.1), weight("z", 100, np.uint8), weight("ws", 0.02), weight("wz", 0, np.int8),
        numpy_helper.from_array(np.random.default_rng(0).integers(-127, 127, (16, 8, 1, 1), np.int8), "w"),
    ]  # fmt: skip
    nodes = [
        node("DequantizeLinear", ["x", "s", "z"], ["f"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["v"]),
        node("Conv", ["f", "v"], ["y"], "point"),
    ]
    return model_of(nodes, [info("x", 1, 8, 4, 6, dtype=UINT8)], [info("y", 1, 16, 4, 6)], weights)


@pytest.mark.slow
def test_bytes_that_come_into_a_part_are_multiplied_too(tvm_backend: Backend) -> None:
    model = cut_off().SerializeToString()
    assert any("conv2d_int8" in name for name in lowered(model, "cortex-a76")[1])
    feeds = {"x": np.random.default_rng(1).integers(0, 256, (1, 8, 4, 6), np.uint8)}
    made = tvm_backend.compile(model).run(feeds)["y"]
    assert difference(made, compiled_reference(model).run(feeds)["y"]) <= 1e-5


def zeros_of(model: ModelProto) -> list[Any]:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [weights[one.input[2]] for one in model.graph.node]


def pair(*, given_out: bool) -> ModelProto:
    """x → bytes → floats; with `given_out` the bytes are an output too."""
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    outputs = [info("y", 4), *([info("q", 4, dtype=UINT8)] if given_out else [])]
    return model_of(nodes, [info("x", 4)], outputs, [weight("s", 0.1), weight("z", 7, np.uint8)])


def test_activations_change_their_sign_with_their_zero_points() -> None:
    model = pair(given_out=False)
    same_signs(model, "int8")
    assert [(zero.dtype.name, int(zero)) for zero in zeros_of(model)] == [("int8", -121), ("int8", -121)]
    feeds = {"x": np.array([-9, -0.3, 0.26, 99], np.float32)}
    before, after = (compiled_reference(m.SerializeToString()).run(feeds)["y"] for m in (pair(given_out=False), model))
    np.testing.assert_array_equal(before, after)


def test_bytes_that_are_given_out_keep_their_sign() -> None:
    model = pair(given_out=True)
    same_signs(model, "int8")
    assert [zero.dtype.name for zero in zeros_of(model)] == ["uint8", "uint8"]


def test_weights_are_packed_as_the_instruction_reads_them() -> None:
    weights = np.arange(3 * 3 * 6 * 8).reshape(3, 3, 6, 8).astype(np.int16)
    packed = pack(weights, 4)
    assert packed.shape == (2, 3, 3, 2, 4, 4)
    for r, d, k in ((0, 0, 0), (2, 5, 7), (1, 3, 4)):
        assert packed[k // 4, r, 1, d // 4, k % 4, d % 4] == weights[r, 1, d, k]
    assert not packed[:, :, :, 1, :, 2:].any()  # channels that fill up to four


@pytest.mark.parametrize("lines, width, channels, lanes", [(1, 49, 96, 4), (7, 7, 320, 16), (1, 1, 12, 4)])
def test_dot_tiles_divide_lines_and_leave_registers(lines: int, width: int, channels: int, lanes: int) -> None:
    found = dot_tiles(lines, width, channels, lanes)
    assert found
    for rows, wide in found:
        assert lines * width % rows == channels % wide == wide % lanes == 0
        assert width % rows == 0 or rows % width == 0
        assert rows * wide // lanes <= 24


@pytest.mark.slow
def test_what_tuning_finds_of_such_kernels_is_replayed_and_right(
    tvm_backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    model, feeds = quantised(network(), pictures(8)), pictures(1)[0]
    tvm_backend.compile(model, options={"trials": 2})
    again = quantised(network(), pictures(7))  # other scales: the same kernels
    made = tvm_backend.compile(again).run(feeds)["y"]
    assert difference(made, compiled_reference(again).run(feeds)["y"]) <= BOUND
    assert "dropped" not in caplog.text
