"""TensorRT without a GPU: TensorRT-RTX's own libraries parse, build, list layers. What runs is tested beside this."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from nodes.backend import Option
from nodes.backends import tensorrt, tensorrt_rtx
from nodes.backends.tensorrt import backend as backend_module
from nodes.backends.tensorrt import building, cuda, flavour
from nodes.backends.tensorrt.backend import TensorRt
from nodes.backends.tensorrt.building import BuildSettings, Engine
from nodes.backends.tensorrt.flavour import Api, Flavour, Vendor
from nodes.backends.tensorrt.session import load_plan
from nodes.backends.tensorrt.shapes import ShapeRange
from nodes.backends.tensorrt.source import read
from nodes.cache import engine_cache
from nodes.errors import CompileError, EngineMissing, UnsupportedOperator
from tests.contracts.backend_models import compiled_reference, transformer, zoo_model
from tests.nodes.onnx_models import INT64, dense, info, model_of, node, random_weight, saved, two_inputs

ADA, TURING = "8.9", "7.5"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return engine_cache().root


@pytest.fixture
def rtx() -> TensorRt:
    try:
        return tensorrt_rtx.load(build_only=True)
    except EngineMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[BuildSettings]:
    """Every build that the vendor's builder really did."""
    seen: list[BuildSettings] = []

    def counted(vendor: Vendor, source: Any, settings: BuildSettings, *more: Any) -> Engine:
        seen.append(settings)
        return build(vendor, source, settings, *more)

    build = building.build
    monkeypatch.setattr(building, "build", counted)
    return seen


def engine(rtx: TensorRt, model: onnx.ModelProto, capability: str = ADA, **options: Option) -> Engine:
    return rtx.build_engine(model.SerializeToString(), compute_capability=capability, options=options)


def unique() -> onnx.ModelProto:
    nodes = [node("Relu", ["x"], ["z"], "keep"), node("Unique", ["z"], ["y"], "distinct")]
    return model_of(nodes, [info("x", 4)], [info("y", "n")])


def convolution() -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]), node("Relu", ["c"], ["y"], "relu")]
    return model_of(nodes, [info("x", 1, 8, 16, 16)], [info("y", 1, 16, 16, 16)], [random_weight("w", 16, 8, 3, 3)])


def quantised(folder: Path, *, symmetric: bool) -> onnx.ModelProto:
    """The convolution in int8 between QuantizeLinear and DequantizeLinear, as ONNX Runtime's quantiser writes it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            drawn = np.random.default_rng(0).normal(size=(3, 1, 8, 16, 16)).astype(np.float32)
            self.left = iter({"x": one} for one in drawn)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    quantize_static(
        saved(convolution(), folder),
        folder / "int8.onnx",
        Noise(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
    )
    return onnx.load(folder / "int8.onnx")


# What is found, and what is said where it isn't.


def test_without_its_package_the_refusal_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Flavour(bindings=("absent_here",), library_packages=(), libraries=())
    monkeypatch.setitem(flavour.FLAVOURS, "tensorrt", absent)
    with pytest.raises(EngineMissing, match=r'^tensorrt is not installed; pip install "isthmus\[tensorrt\]"$'):
        tensorrt.load(build_only=True)


def fresh_python(code: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own, where the libraries are neither loaded nor looked for. Warnings are errors."""
    call = [sys.executable, "-W", "error", "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}  # ONNX Runtime's
    root = Path(__file__).parents[2]  # plugin for TensorRT-RTX adds its own folder to that
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=root, env=environment)


@pytest.mark.slow
def test_bindings_without_their_libraries_are_refused_in_one_line(rtx: TensorRt) -> None:
    done = fresh_python(
        "from nodes.backends.tensorrt import flavour\n"
        "rtx = flavour.FLAVOURS['tensorrt-rtx']\n"
        "alone = flavour.Flavour(bindings=rtx.bindings, library_packages=(), libraries=())\n"
        "flavour.FLAVOURS['tensorrt-rtx'] = alone\n"
        "try: flavour.find('tensorrt-rtx')\n"
        "except flavour.EngineMissing as error: print(error)"
    )
    assert done.stdout.count("\n") == 1
    assert "libraries are missing (libtensorrt_rtx.so" in done.stdout and "isthmus[tensorrt-rtx]" in done.stdout


@pytest.mark.slow
def test_loading_and_building_print_nothing(rtx: TensorRt) -> None:
    done = fresh_python(
        "from nodes.backends import tensorrt_rtx\n"
        "from nodes.errors import CompileError\n"
        "rtx = tensorrt_rtx.load(build_only=True)\n"
        "rtx.capabilities()\n"
        "try: rtx.build_engine(b'no model', compute_capability='8.9')\n"
        "except CompileError: pass"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_gpu_nobody_plans_with_it(rtx: TensorRt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend_module, "DEVICES", (tmp_path / "nvidiactl",))
    with pytest.raises(EngineMissing, match=r"^tensorrt-rtx: no NVIDIA GPU is here") as caught:
        tensorrt_rtx.load()
    assert "\n" not in str(caught.value)


def test_what_was_loaded_to_build_does_not_run(rtx: TensorRt) -> None:
    with pytest.raises(CompileError, match="to build only"):
        rtx.compile(dense().SerializeToString())


def test_bindings_and_libraries_of_two_versions_are_refused(rtx: TensorRt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flavour, "_load_libraries", lambda *_: ("1.6.0",))
    with pytest.raises(EngineMissing, match=r"bindings 1\.\S+ but libraries 1\.6\.0"):
        flavour.find.__wrapped__("tensorrt-rtx")


def test_an_api_that_is_not_spoken_is_refused(rtx: TensorRt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(flavour.APIS, ("tensorrt-rtx", 1))
    monkeypatch.setitem(flavour.APIS, ("tensorrt-rtx", 7), Api())
    with pytest.raises(EngineMissing, match=r"is not spoken here \(API 7 is\)"):
        flavour.find.__wrapped__("tensorrt-rtx")


def test_capabilities_are_the_parser_s_own(rtx: TensorRt) -> None:
    able = rtx.capabilities()
    assert able.backend == "tensorrt-rtx" and able.version == rtx.vendor.version
    assert able.operators is not None
    assert {"Conv", "Gemm", "LayerNormalization", "QuantizeLinear"} <= able.operators
    assert "Unique" not in able.operators
    assert {"cuda_graph", "sparsity", "max_batch"} <= set(able.options)


# Building.


@pytest.mark.slow
def test_an_engine_is_built_for_each_named_gpu(rtx: TensorRt) -> None:
    model = zoo_model("efficientnet_lite0")
    built = {name: rtx.build_engine(model, compute_capability=name, precision="float16") for name in (ADA, TURING)}
    assert len(built[ADA].plan) > 1 << 20 and len(built[TURING].plan) > 1 << 20
    assert built[ADA].plan != built[TURING].plan
    assert [spec.name for spec in built[ADA].inputs + built[ADA].outputs] == ["input", "logits"]


@pytest.mark.slow
def test_float16_engines_are_smaller_and_keep_their_interface(rtx: TensorRt) -> None:
    model = zoo_model("efficientnet_lite0")
    wide, narrow = (rtx.build_engine(model, compute_capability=ADA, precision=one) for one in ("float32", "float16"))
    assert len(narrow.plan) < 0.6 * len(wide.plan)
    assert (narrow.inputs, narrow.outputs) == (wide.inputs, wide.outputs)
    assert {spec.dtype for spec in narrow.inputs + narrow.outputs} == {"float32"}


def test_the_float16_model_computes_the_same(rtx: TensorRt) -> None:
    model = convolution().SerializeToString()
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 8, 16, 16)).astype(np.float32)}
    narrow = read("tensorrt-rtx", model, "float16").content
    want, have = (compiled_reference(one).run(feeds)["y"] for one in (model, narrow))
    assert 0 < float(np.abs(np.subtract(have, want)).max()) < 2e-2


@pytest.mark.slow
def test_an_operator_that_a_gpu_lacks_at_a_precision_is_named(rtx: TensorRt) -> None:
    with pytest.raises(UnsupportedOperator, match=r"Gemm 'classify' for Turing \(SM75\): FP32") as caught:
        rtx.build_engine(zoo_model("efficientnet_lite0"), compute_capability=TURING)
    assert (caught.value.operator, caught.value.op_type) == ("classify", "Gemm")


def test_layers_say_which_operators_they_run(rtx: TensorRt) -> None:
    layers = rtx.inspect(engine(rtx, convolution()))
    assert {operator for layer in layers for operator in layer.operators} == {"conv", "relu"}
    (conv,) = [layer for layer in layers if "conv" in layer.operators]
    assert (set(conv.operators), conv.dtypes) == ({"conv", "relu"}, ("float32",))  # fused


def test_a_second_build_comes_from_the_cache(rtx: TensorRt, builds: list[BuildSettings]) -> None:
    first, second = engine(rtx, dense()), engine(rtx, dense())
    assert second == first
    assert len(builds) == 1


def test_another_gpu_precision_or_option_is_another_engine(rtx: TensorRt, builds: list[BuildSettings]) -> None:
    model = dense("batch")
    engine(rtx, model)
    engine(rtx, model, "8.6")
    engine(rtx, model, sparsity=True)
    engine(rtx, model, max_batch=4)
    engine(rtx, model, tf32=True)
    engine(rtx, model, workspace_mb=64)
    rtx.build_engine(model.SerializeToString(), compute_capability=ADA, precision="float16")
    assert len(builds) == 7


def test_a_damaged_cache_entry_is_built_anew(rtx: TensorRt, builds: list[BuildSettings], own_cache: Path) -> None:
    first = engine(rtx, dense())
    (plan,) = own_cache.glob("*/engine.plan")
    plan.write_bytes(first.plan[:100])
    assert len(engine(rtx, dense()).plan) == len(first.plan)
    assert len(builds) == 2


def test_a_free_batch_is_a_range_of_rows(rtx: TensorRt) -> None:
    assert engine(rtx, dense("batch")).ranges["x"] == ShapeRange((1, 8), (1, 8), (16, 8))
    chosen = engine(rtx, dense("batch"), min_batch=2, opt_batch=4, max_batch=8)
    assert chosen.ranges["x"] == ShapeRange((2, 8), (4, 8), (8, 8))


def test_float32_is_not_rounded_unless_asked_for(rtx: TensorRt) -> None:
    assert engine(rtx, convolution()).plan == engine(rtx, convolution(), tf32=False).plan
    assert engine(rtx, convolution()).plan != engine(rtx, convolution(), tf32=True).plan


@pytest.mark.parametrize("wanted", [True, False])
def test_switches_reach_the_builder(rtx: TensorRt, wanted: bool) -> None:
    settings = BuildSettings(batch=(1, 1, 1), shapes={}, sparsity=wanted, tf32=wanted)
    module = rtx.vendor.module
    config = building.config_of(rtx.vendor, module.Builder(rtx.vendor.log), settings)
    assert config.get_flag(module.BuilderFlag.SPARSE_WEIGHTS) == wanted
    assert config.get_flag(module.BuilderFlag.TF32) == wanted


def test_too_little_scratch_memory_is_refused_in_one_line(rtx: TensorRt) -> None:
    with pytest.raises(CompileError, match="within workspace limit") as caught:
        engine(rtx, convolution(), workspace_mb=1)
    assert "\n" not in str(caught.value)


def test_other_free_dimensions_have_ranges_too(rtx: TensorRt) -> None:
    model = model_of([node("Relu", ["x"], ["y"])], [info("x", "n", "length")], [info("y", "n", "length")])
    assert engine(rtx, model).ranges["x"] == ShapeRange((1, 1), (1, 128), (16, 512))
    bounded = engine(rtx, transformer())  # which knows 64 positions: 128 can't be the likeliest length
    assert bounded.ranges["ids"] == ShapeRange((1, 1), (1, 64), (16, 256))
    given = engine(rtx, model, shapes="x=1x2:3x4:5x6").ranges["x"]
    assert given == ShapeRange((1, 2), (3, 4), (5, 6))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ("x=1x8", "'x=1x8' is not written NAME=LEAST:BEST:MOST"),
        ("z=1x8:1x8:1x8", "no input 'z'; there are x"),
        ("x=1x8:2x8:3x9", "x is [?]x8, which 1x8:2x8:3x9 does not fit"),
        ("x=4x8:2x8:3x8", "not fall"),
        ("x=1:1:1", "does not fit"),
    ],
)
def test_shapes_that_fit_nothing_are_refused(rtx: TensorRt, shapes: str, said: str) -> None:
    with pytest.raises(CompileError, match=said):
        engine(rtx, dense("batch"), shapes=shapes)


def test_int8_is_a_model_with_scales_in_it(rtx: TensorRt, tmp_path: Path) -> None:
    (conv,) = [one for one in engine(rtx, quantised(tmp_path, symmetric=True)).layers if "conv" in one.operators]
    assert {"x_DequantizeLinear", "w_DequantizeLinear"} <= set(conv.operators)  # so that it multiplies integers
    assert "int8" in conv.dtypes


def test_int8_with_a_zero_point_is_refused_by_name(rtx: TensorRt, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match="QuantizeLinear 'x_QuantizeLinear': Non-zero zero point"):
        engine(rtx, quantised(tmp_path, symmetric=False))


def test_weights_beside_the_model_are_found(rtx: TensorRt, tmp_path: Path) -> None:
    onnx.save(dense(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    for precision in ("float32", "float16"):
        built = rtx.build_engine(tmp_path / "m.onnx", compute_capability=ADA, precision=precision)
        assert built.outputs[0].name == "y"


def test_names_and_order_are_the_model_s(rtx: TensorRt) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Identity", ["y"], ["same"]), node("Identity", ["x"], ["through"])]
    model = model_of(nodes, [info("unread", 3), info("x", 2)], [info("same", 2), info("y", 2), info("through", 2)])
    built = engine(rtx, model)
    assert [spec.name for spec in built.inputs] == ["unread", "x"]
    assert [spec.name for spec in built.outputs] == ["same", "y", "through"]
    assert [spec.dtype for spec in engine(rtx, two_inputs()).inputs] == ["int64", "float32"]


def test_a_model_may_have_no_inputs(rtx: TensorRt) -> None:
    built = engine(rtx, model_of([node("Relu", ["w"], ["y"])], [], [info("y", 8, 4)], [random_weight("w", 8, 4)]))
    assert built.inputs == () and built.ranges == {} and built.plan


# Refusals.


def test_an_unsupported_operator_is_named_with_engine_and_version(rtx: TensorRt) -> None:
    with pytest.raises(UnsupportedOperator, match="does not support operator Unique 'distinct'") as caught:
        engine(rtx, unique())
    assert str(caught.value).startswith(f"tensorrt-rtx {rtx.vendor.version} ")
    assert (caught.value.operator, caught.value.op_type, caught.value.backend) == ("distinct", "Unique", "tensorrt-rtx")


@pytest.mark.parametrize("model", [b"", b"no model at all", dense().SerializeToString()[:60]])
def test_bytes_that_are_no_model_are_refused_in_one_line(rtx: TensorRt, model: bytes) -> None:
    with pytest.raises(CompileError, match="not an ONNX model") as caught:
        rtx.build_engine(model, compute_capability=ADA)
    assert "\n" not in str(caught.value)


def test_a_gpu_that_does_not_exist_is_refused_with_those_that_do(rtx: TensorRt) -> None:
    with pytest.raises(CompileError, match=r"no compute capability '9.99'; 7\.5, 8\.0, 8\.6, 8\.9, 12\.0"):
        engine(rtx, dense(), "9.99")


def test_a_missing_file_is_refused(rtx: TensorRt, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"cannot read .*absent\.onnx.*No such file"):
        rtx.build_engine(tmp_path / "absent.onnx", compute_capability=ADA)


def test_an_unknown_precision_or_option_is_refused_by_name(rtx: TensorRt) -> None:
    with pytest.raises(CompileError, match="float8"):
        rtx.build_engine(dense().SerializeToString(), compute_capability=ADA, precision="float8")
    with pytest.raises(CompileError, match=r"no option 'streams'; it has .*cuda_graph"):
        engine(rtx, dense(), streams=2)


def test_float64_is_refused_where_the_parser_would_take_it_for_float32(rtx: TensorRt) -> None:
    model = model_of([node("Relu", ["x"], ["y"])], [info("x", 2, dtype=11)], [info("y", 2, dtype=11)])
    with pytest.raises(CompileError, match="'x' is float64"):
        engine(rtx, model)


def test_an_input_that_sets_shapes_is_refused_by_name(rtx: TensorRt) -> None:
    model = model_of(
        [node("Reshape", ["x", "to"], ["y"])], [info("x", 4), info("to", 2, dtype=INT64)], [info("y", 2, 2)]
    )
    with pytest.raises(CompileError, match="'to' sets shapes"):
        engine(rtx, model)


def test_loading_an_engine_without_a_gpu_fails_in_one_line(rtx: TensorRt) -> None:
    if any(device.exists() for device in cuda.DEVICES):
        pytest.skip("needs a machine without an NVIDIA GPU")
    with pytest.raises(CompileError, match=r"does not load: .*cuda") as caught:
        load_plan(rtx.vendor, engine(rtx, dense()).plan)
    assert "\n" not in str(caught.value)


# What TensorRT proper has and RTX only answers to: API 10's flag, and a timing cache that is kept.


def test_api_10_is_told_to_type_strongly_and_the_others_need_no_flag(rtx: TensorRt) -> None:
    ten = Vendor("tensorrt", "10.3.0", rtx.vendor.module, flavour.APIS["tensorrt", 10], rtx.vendor.log)
    flags = rtx.vendor.module.NetworkDefinitionCreationFlag
    assert ten.network_flags() == 1 << int(flags.STRONGLY_TYPED)
    assert rtx.vendor.network_flags() == 0
    assert flavour.APIS["tensorrt", 11].network_flags == ()


def test_a_builder_that_takes_no_gpu_by_name_says_so(rtx: TensorRt) -> None:
    eleven = Vendor("tensorrt", "11.4.0", rtx.vendor.module, flavour.APIS["tensorrt", 11], rtx.vendor.log)
    with pytest.raises(CompileError, match="tensorrt builds for the GPU that is here only; tensorrt-rtx"):
        TensorRt(eleven, None).build_engine(dense().SerializeToString(), compute_capability=ADA)


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX")
def test_a_timing_cache_is_kept_and_read_again(rtx: TensorRt, tmp_path: Path) -> None:
    measuring = Api(timing_cache=True, names_gpus=True)
    vendor = Vendor("tensorrt-rtx", rtx.vendor.version, rtx.vendor.module, measuring, rtx.vendor.log)
    kept = tmp_path / "timing"
    settings = BuildSettings(batch=(1, 1, 1), shapes={}, compute_capability=ADA)
    for _ in range(2):
        building.build(vendor, read("tensorrt-rtx", dense().SerializeToString(), "float32"), settings, kept)
        assert len(kept.read_bytes()) > 100
        assert [path.name for path in tmp_path.glob("timing*")] == ["timing"]
