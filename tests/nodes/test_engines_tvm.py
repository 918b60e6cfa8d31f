"""TVM's own ways: what it refuses, what its rewritings keep, how what it compiled is kept."""

import numpy as np
import pytest
from onnx import ModelProto

from nodes.backend import Array, Backend, Option
from nodes.errors import CompileError, EngineMissing, UnsupportedOperator
from tests.contracts.backend_models import compiled_reference
from tests.nodes.onnx_models import INT64, dense, info, model_of, node, random_weight, weight


def picture_model() -> ModelProto:
    """A convolution, a clip, a depthwise convolution, a scale by a constant of shape [1], a hard swish, a mean."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        node("Clip", ["c", "low", "high"], ["r"], "clip"),
        node("Conv", ["r", "d"], ["e"], "depthwise", group=16, pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Mul", ["e", "gain"], ["s"], "scale"),
        node("HardSwish", ["s"], ["h"], "swish"),
        node("ConvTranspose", ["h", "t"], ["u"], "grow", strides=[2, 2]),
        node("GlobalAveragePool", ["u"], ["y"], "pool"),
    ]
    weights = [
        random_weight("w", 16, 3, 3, 3),
        random_weight("d", 16, 1, 3, 3, seed=1),
        random_weight("t", 16, 8, 2, 2, seed=2),
        weight("low", 0.0),
        weight("high", 6.0),
        weight("gain", [1.5]),
    ]
    return model_of(nodes, [info("x", 1, 3, 12, 10)], [info("y", 1, 8, 1, 1)], weights)


def chain(op_type: str, shape: tuple[int, ...]) -> ModelProto:
    return model_of([node(op_type, ["x"], ["y"], "it")], [info("x", *shape)], [info("y", *shape)])


def agrees(backend: Backend, model: ModelProto, feeds: dict[str, Array], bound: float) -> bool:
    """Whether outputs are ONNX Runtime's, relative to their largest magnitude."""
    content = model.SerializeToString()
    made, want = backend.compile(content).run(feeds), compiled_reference(content).run(feeds)
    return all(
        bool(np.abs(np.subtract(made[name], want[name])).max() <= bound * np.abs(want[name]).max()) for name in want
    )


def normal(*shape: int) -> Array:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def test_a_free_shape_is_refused_by_its_inputs_name(tvm_backend: Backend) -> None:
    assert not tvm_backend.capabilities().free_shapes
    with pytest.raises(CompileError, match="fixed shapes only, and input 'x' has a free one"):
        tvm_backend.compile(dense("batch").SerializeToString())


def test_an_operator_of_another_domain_is_refused_though_its_type_is_known(tvm_backend: Backend) -> None:
    model = model_of(
        [node("Gelu", ["x"], ["y"], "g", "com.microsoft")], [info("x", 1)], [info("y", 1)], domains=["com.microsoft"]
    )
    assert "Gelu" in (tvm_backend.capabilities().operators or ())
    with pytest.raises(UnsupportedOperator, match="Gelu 'g'"):
        tvm_backend.compile(model.SerializeToString())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "pentium"}, "no target 'pentium'; it has host"),
        ({"target": "cortex-a72"}, "cortex-a72 doesn't run here; name a device with rpc"),
        ({"trials": 2, "rpc": "localhost:9"}, "leave out trials, budget_s and tune_s with rpc"),
        ({"trial": 2}, "no option 'trial'; it has target, trials, budget_s, tune_s, rpc"),
        ({"trials": -1}, "option trials is -1"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    tvm_backend: Backend, options: dict[str, Option], told: str
) -> None:
    with pytest.raises(CompileError, match=told):
        tvm_backend.compile(dense().SerializeToString(), options=options)


def test_every_option_that_compile_reads_is_listed(tvm_backend: Backend) -> None:
    assert list(tvm_backend.capabilities().options) == ["target", "trials", "budget_s", "tune_s", "rpc"]


def test_a_failing_import_prints_nothing(tvm_backend: Backend, capfd: pytest.CaptureFixture[str]) -> None:
    model = model_of(
        [node("Reshape", ["x", "to"], ["y"])], [info("x", 4)], [info("y", 3)], [weight("to", [3], np.int64)]
    )
    with pytest.raises(CompileError) as caught:
        tvm_backend.compile(model.SerializeToString())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_a_layer_that_crashes_tuning_is_refused_with_the_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    from nodes.backends.tvm import vendor

    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.1.15.post2")
    with pytest.raises(EngineMissing, match=r"0\.1\.15\.post2 crashes.*0\.1\.14\.post0"):
        vendor.tvm.__wrapped__()


@pytest.mark.slow
def test_channels_last_computes_what_channels_first_did(tvm_backend: Backend) -> None:
    assert agrees(tvm_backend, picture_model(), {"x": normal(1, 3, 12, 10)}, 1e-5)


def test_no_kernel_of_a_network_only_moves_layouts_about(tvm_backend: Backend) -> None:
    """But at the input, and before a ConvTranspose: a clip or a constant of shape [1] would else bring two each."""
    from nodes.backends.tvm.kernels import kernels_of
    from nodes.backends.tvm.lower import lower
    from nodes.backends.tvm.vendor import tvm

    target = tvm().target.Target({"kind": "llvm"})
    names = [kernel.name for kernel in kernels_of(lower(picture_model().SerializeToString(), target).module, target)]
    assert sum("conv2d" in name for name in names) == 3
    assert sum(name.startswith("transpose") for name in names) == 2


@pytest.mark.parametrize("op_type", ["Exp", "Erf", "Tanh", "Softmax", "Sigmoid"])
def test_approximated_exponentials_keep_six_digits(tvm_backend: Backend, op_type: str) -> None:
    assert agrees(tvm_backend, chain(op_type, (3, 5, 48)), {"x": 4 * normal(3, 5, 48)}, 1e-6)


@pytest.mark.parametrize("rows, columns, depth", [(1, 1, 1), (1, 7, 13), (37, 41, 5), (16, 128, 64)])
def test_products_of_any_shape_are_right_untuned(tvm_backend: Backend, rows: int, columns: int, depth: int) -> None:
    model = model_of(
        [node("MatMul", ["x", "w"], ["m"]), node("Relu", ["m"], ["y"])],
        [info("x", rows, depth)],
        [info("y", rows, columns), info("m", rows, columns)],
        [random_weight("w", depth, columns)],
    )
    assert agrees(tvm_backend, model, {"x": np.abs(normal(rows, depth))}, 1e-5)


def test_inputs_count_however_they_are_aligned(tvm_backend: Backend) -> None:
    session = tvm_backend.compile(dense().SerializeToString())
    x = normal(1, 8)
    want = session.run({"x": x})["y"]
    memory = np.zeros(256, np.uint8)
    for offset in (0, 4, 16, 32, 64):
        view = memory[offset : offset + x.nbytes].view(np.float32).reshape(x.shape)
        view[:] = x
        np.testing.assert_array_equal(session.run({"x": view})["y"], want)
        np.testing.assert_array_equal(view, x)


def test_an_index_out_of_range_reads_no_memory_of_others(tvm_backend: Backend) -> None:
    model = model_of(
        [node("Gather", ["table", "ids"], ["y"])],
        [info("ids", 3, dtype=INT64)],
        [info("y", 3, 2)],
        [random_weight("table", 4, 2)],
    )
    made = tvm_backend.compile(model.SerializeToString()).run({"ids": np.array([0, 3, 1 << 40])})["y"]
    np.testing.assert_array_equal(made[2], made[1])


def test_a_model_compiled_before_is_not_lowered_again(tvm_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    from nodes.backends.tvm import build

    content = dense().SerializeToString()
    want = tvm_backend.compile(content).run({"x": normal(1, 8)})
    monkeypatch.setattr(build, "lower", lambda *_: pytest.fail("lowered again"))
    again = tvm_backend.compile(content, threads=2).run({"x": normal(1, 8)})
    np.testing.assert_array_equal(again["y"], want["y"])
