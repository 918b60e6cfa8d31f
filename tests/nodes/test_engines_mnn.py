"""MNN: what its converter gets wrong is refused, what it made is kept, and what MNN lacks is named."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from nodes.backend import Array, load_backend
from nodes.backends import mnn, mnn_conversion, mnn_engine, mnn_source, mnn_verdict, onnxruntime
from nodes.backends.mnn_verdict import Trial, difference, judge
from nodes.cache import engine_cache
from nodes.errors import BadInput, CompileError, EngineMissing, UnsupportedOperator
from nodes.length_names import extents_of, length_name
from nodes.normalise import normalise
from nodes.timing import sample_feeds
from partitioner.load import load as load_model
from tests.contracts.backend_models import compiled_reference, halves, zoo_model
from tests.nodes.onnx_models import (
    BOOL,
    INT64,
    UINT8,
    dense,
    info,
    model_of,
    node,
    random_weight,
    saved,
    two_inputs,
    weight,
)

X = {"x": np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def engine() -> mnn.Mnn:
    try:
        return mnn.load()
    except EngineMissing as error:
        pytest.skip(str(error))


def one(
    op_type: str, given: Sequence[Any], made: Sequence[Any], weights: Sequence[Any] = (), **attributes: Any
) -> bytes:
    """A model of one operator."""
    names = [entry.name for entry in [*given, *weights]]
    nodes = [node(op_type, names, [entry.name for entry in made], "it", **attributes)]
    return bytes(model_of(nodes, given, made, weights).SerializeToString())


def wide() -> ModelProto:
    """64 kB of weights, which a file's size shows."""
    nodes = [node("MatMul", ["x", "w"], ["y"], "project")]
    return model_of(nodes, [info("x", 1, 64)], [info("y", 1, 256)], [random_weight("w", 64, 256)])


def entries() -> list[Path]:
    return sorted(engine_cache().root.glob("*/conversion.json"))


def gru(**attributes: Any) -> bytes:
    """The converter takes the usual form of a GRU for the one with linear_before_reset."""
    weights = [random_weight("w", 1, 15, 3), random_weight("r", 1, 15, 5), random_weight("b", 1, 30)]
    return one("GRU", [info("x", 7, 1, 3)], [info("y", 7, 1, 1, 5)], weights, hidden_size=5, **attributes)


@pytest.mark.slow
def test_an_operator_that_the_converter_gets_wrong_is_refused_with_the_error(engine: mnn.Mnn) -> None:
    with pytest.raises(CompileError, match=r"answers wrong: 0\.\d+ of the largest .* ONNX Runtime.* 0\.001 is allowed"):
        engine.compile(gru())
    assert engine.compile(gru(linear_before_reset=1)).run({"x": np.zeros((7, 1, 3), np.float32)})["y"].any()


def test_an_output_that_others_read_is_wrong_unless_it_is_exposed(
    engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(mnn_source, "expose", lambda graph, outputs: outputs)
        with pytest.raises(CompileError, match="answers wrong"):
            engine.compile(dense().SerializeToString())
    assert not entries()
    made = engine.compile(dense().SerializeToString()).run({"x": -X["x"]})
    assert made["hidden"].min() < 0 == made["y"].min()


def test_another_models_file_is_refused(engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(proto: ModelProto, _: object, path: Path) -> None:
        if path.name == "source.onnx":
            proto.graph.initializer[0].CopyFrom(random_weight("w", 64, 256, seed=1))
        onnx.save(proto, path)

    monkeypatch.setattr(mnn_source, "write", write)
    with pytest.raises(CompileError, match="answers wrong"):
        engine.compile(wide().SerializeToString())


def saturated(gain: float) -> bytes:
    """The sigmoid of numbers that are all far below zero."""
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("Sub", ["z", "far"], ["low"]), node("Sigmoid", ["low"], ["y"])]
    weights = [weight("w", np.full((64, 4), gain)), weight("far", 1e4)]
    return bytes(model_of(nodes, [info("x", 1, 64)], [info("y", 1, 4)], weights).SerializeToString())


def test_a_sigmoid_hides_no_error_in_what_it_is_given(engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch) -> None:
    session = engine.compile(saturated(1))
    assert [spec.name for spec in session.outputs] == ["y"] and session.run(sample_feeds(session.inputs))[
        "y"
    ].max() < 1e-6

    def write(proto: ModelProto, _: object, path: Path) -> None:
        path.write_bytes(proto.SerializeToString() if path.name != "source.onnx" else exposed(saturated(9)))

    monkeypatch.setattr(mnn_source, "write", write)
    with pytest.raises(CompileError, match="answers wrong"):
        engine.compile(saturated(2))


def exposed(model: bytes) -> bytes:
    return bytes(mnn_source.read(model, mnn_conversion.operators()).proto.SerializeToString())


def test_a_warm_start_neither_converts_nor_verifies(engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch) -> None:
    first = engine.compile(dense().SerializeToString()).run(X)
    monkeypatch.setattr(mnn_conversion, "_in_a_process", None)
    monkeypatch.setattr(mnn_verdict, "trials", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    np.testing.assert_array_equal(engine.compile(dense().SerializeToString()).run(X)["y"], first["y"])


def test_without_onnx_runtime_the_reference_implementation_judges(
    engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(**_: object) -> None:
        raise EngineMissing("")

    monkeypatch.setattr(onnxruntime, "load", missing)
    engine.compile(two_inputs().SerializeToString())
    assert json.loads(entries()[0].read_text())["reference"] == "onnx.reference"


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "share"), [("float16", 0.6), ("int8", 0.35)])
def test_narrow_weights_make_smaller_files_and_answers_near_enough(engine: mnn.Mnn, weights: str, share: float) -> None:
    model = wide().SerializeToString()
    exact, coarse = (engine.compile(model, options={"weights": form}) for form in ("float32", weights))
    feeds = sample_feeds(exact.inputs)
    full, small = sorted((path.with_name("model.mnn").stat().st_size for path in entries()), reverse=True)
    assert small < share * full
    assert 1e-6 < difference(coarse.run(feeds), exact.run(feeds)) < mnn_verdict.BOUNDS[weights]


@pytest.mark.slow
def test_weights_too_coarse_for_a_model_are_refused(engine: mnn.Mnn) -> None:
    with pytest.raises(CompileError, match=r"int8 weights answers wrong.*use weights float32"):
        engine.compile(zoo_model("ocr_detect"), options={"weights": "int8"})


@pytest.mark.slow
def test_a_piece_that_random_activations_saturate_is_not_refused(engine: mnn.Mnn) -> None:
    model = load_model(normalise(zoo_model("ocr_detect")).proto)
    _, back, _ = halves(model, int(0.6 * len(model.graph.operators)))
    engine.compile(back).close()


def test_what_the_engine_has_not_is_named(engine: mnn.Mnn) -> None:
    with pytest.raises(CompileError, match="float64, which 'x' is"):
        engine.compile(one("Neg", [info("x", 2, dtype=TensorProto.DOUBLE)], [info("y", 2, dtype=TensorProto.DOUBLE)]))
    with pytest.raises(CompileError, match="no option 'bits'; it has weights"):
        engine.compile(dense().SerializeToString(), options={"bits": 8})
    with pytest.raises(CompileError, match="float16"):
        engine.compile(dense().SerializeToString(), options={"weights": "int4"})


def hardmax() -> bytes:
    return one("Hardmax", [info("x", 1, 4)], [info("y", 1, 4)])


def branching(op_type: str) -> bytes:
    """c ? x + x : op(x)"""
    doubled = helper.make_graph([node("Add", ["x", "x"], ["a"])], "then", [], [info("a", 1, 4)])
    other = helper.make_graph([node(op_type, ["x"], ["b"], "it")], "else", [], [info("b", 1, 4)])
    nodes = [node("If", ["c"], ["y"], "choose", then_branch=doubled, else_branch=other)]
    return bytes(model_of(nodes, [info("c", dtype=BOOL), info("x", 1, 4)], [info("y", 1, 4)]).SerializeToString())


@pytest.mark.parametrize("model", [hardmax, lambda: branching("Hardmax")])
def test_an_unsupported_operator_is_named_before_converting(
    engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch, model: Callable[[], bytes]
) -> None:
    listed = engine.capabilities().operators
    assert listed is not None and {"Conv", "If"} < listed and "Hardmax" not in listed
    monkeypatch.setattr(mnn_source, "write", None)
    with pytest.raises(UnsupportedOperator, match="Hardmax 'it'") as caught:
        engine.compile(model())
    assert (caught.value.operator, caught.value.op_type, caught.value.backend) == ("it", "Hardmax", "mnn")


def test_control_flow_runs_but_tells_no_times(engine: mnn.Mnn) -> None:
    session = engine.compile(branching("Neg"), profile=True)
    x = np.ones((1, 4), np.float32)
    assert [session.run({"c": np.array(choice), "x": x})["y"][0, 0] for choice in (True, False)] == [2, -1]
    assert session.operator_s() is None


def test_a_crash_of_the_converter_is_one_line(engine: mnn.Mnn) -> None:
    with pytest.raises(CompileError, match=r"^mnn: MNN's converter failed: it crashed \(SIG\w+\)$"):
        engine.compile(one("Cast", [info("x", 4)], [info("y", 4, dtype=UINT8)], to=UINT8))


def test_a_crash_of_the_converter_leaves_no_file(
    engine: mnn.Mnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    for folder in (here, temporary):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    with pytest.raises(CompileError, match="it crashed"):
        engine.compile(one("Cast", [info("x", 4)], [info("y", 4, dtype=UINT8)], to=UINT8))
    assert [*here.iterdir(), *temporary.iterdir(), *entries()] == []


def test_integers_beyond_32_bits_are_refused(engine: mnn.Mnn) -> None:
    session = engine.compile(one("Neg", [info("x", 2, dtype=INT64)], [info("y", 2, dtype=INT64)]))
    most = np.array([2**31 - 1, -(2**31) + 1])
    np.testing.assert_array_equal(session.run({"x": most})["y"], -most)
    with pytest.raises(BadInput, match="'x' has values beyond 32 bits"):
        session.run({"x": most + 1})


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "bool", "int32"])
def test_other_dtypes_go_in_and_come_out_as_onnx_runtime_gives_them(engine: mnn.Mnn, dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = [info("c", 6, dtype=BOOL), info("x", 6, dtype=kind), info("z", 6, dtype=kind)]
    op_type, given = ("And", given[1:]) if dtype == "bool" else ("Where", given)
    model = one(op_type, given, [info("y", 6, dtype=kind)]) if dtype not in ("uint8", "int8") else as_floats(kind)
    session = engine.compile(model)
    feeds = sample_feeds(session.inputs, seed=4)
    made, want = session.run(feeds), compiled_reference(model).run(feeds)
    assert made["y"].dtype == want["y"].dtype
    np.testing.assert_array_equal(made["y"], want["y"])


def as_floats(kind: int) -> bytes:
    return one("Cast", [info("x", 6, dtype=kind)], [info("y", 6)], to=TensorProto.FLOAT)


def test_one_free_dimension_with_two_sizes_is_named(engine: mnn.Mnn) -> None:
    session = engine.compile(one("Add", [info("x", "n"), info("z", "n")], [info("y", "n")]))
    with pytest.raises(BadInput, match="n is 2 in 'x' and 3 in 'z'"):
        session.run({"x": np.zeros(2, np.float32), "z": np.zeros(3, np.float32)})


def test_a_stage_of_several_lengths_is_verified_at_its_shortest_and_longest(
    engine: mnn.Mnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    real = mnn_verdict._feeds

    def feeds(*given: Any, **options: Any) -> dict[str, Array]:
        made = real(*given, **options)
        seen.append(made["x"].shape)
        return made

    monkeypatch.setattr(mnn_verdict, "_feeds", feeds)
    shape = ("rows", length_name((16, 48, 128)), 4)
    engine.compile(one("Relu", [info("x", *shape)], [info("y", *shape)]))
    assert seen == [(3, 16, 4), (3, 128, 4)]


@pytest.mark.parametrize("name", ["rows", "length", "length_", "length_s", "length_4_", "my_length_4_8"])
def test_other_names_of_dimensions_tell_no_lengths(name: str) -> None:
    assert extents_of(length_name((4, 8, 8))) == (4, 8, 8)
    assert extents_of(name) == ()


def test_no_rows_give_no_rows(engine: mnn.Mnn) -> None:
    made = engine.compile(dense("batch").SerializeToString()).run({"x": np.zeros((0, 8), np.float32)})
    assert made["y"].shape == (0, 4)


def test_a_one_dimensional_convolution_keeps_its_shape(engine: mnn.Mnn) -> None:
    weights = [random_weight("w", 3, 2, 3)]
    model = one("Conv", [info("x", 1, 2, 9)], [info("y", 1, 3, 7)], weights)
    feeds = sample_feeds(engine.compile(model).inputs)
    assert difference(engine.compile(model).run(feeds), compiled_reference(model).run(feeds)) < 1e-6


def test_an_lstm_may_leave_out_outputs(engine: mnn.Mnn) -> None:
    weights = [random_weight("w", 1, 20, 3), random_weight("r", 1, 20, 5), random_weight("b", 1, 40)]
    model = one("LSTM", [info("x", 7, 1, 3)], [info("y", 7, 1, 1, 5)], weights, hidden_size=5)
    feeds = sample_feeds(engine.compile(model).inputs)
    assert difference(engine.compile(model).run(feeds), compiled_reference(model).run(feeds)) < 1e-5


def test_weights_in_a_file_beside_the_model_are_found(engine: mnn.Mnn, tmp_path: Path) -> None:
    path = tmp_path / "beside.onnx"
    onnx.save(wide(), path, save_as_external_data=True, location="beside.weights", size_threshold=0)
    session = engine.compile(path)
    feeds = sample_feeds(session.inputs)
    want = compiled_reference(saved(wide(), tmp_path)).run(feeds)
    assert difference(session.run(feeds), want) < 1e-6


def test_kernels_bear_the_names_of_operators_or_tensors(engine: mnn.Mnn) -> None:
    session = engine.compile(dense("batch").SerializeToString(), profile=True)
    for rows in (1, 3):
        session.run({"x": np.zeros((rows, 8), np.float32)})
    told = session.operator_s()
    assert told is not None and {"hidden", "y"} & set(told)


@pytest.mark.slow
def test_the_engine_does_not_write_to_standard_output() -> None:
    model = dense().SerializeToString()
    code = f"from nodes.backend import load_backend; load_backend('mnn').compile({model!r}); print('{{}}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"


@pytest.mark.parametrize(("package", "way_out"), [("MNN", r"isthmus\[mnn\]"), ("onnx", "pip install onnx")])
def test_a_missing_package_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, package: str, way_out: str
) -> None:
    if package == "onnx":
        load_backend("mnn")
    mnn_engine.engine.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises((EngineMissing, CompileError), match=way_out):
        mnn.load().compile(dense().SerializeToString())
    mnn_engine.engine.cache_clear()


NAN = float("nan")


@pytest.mark.parametrize(
    ("have", "want", "error"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([1.0, NAN], [NAN, 1.0], np.inf),
        ([np.inf, 1.0], [1e30, 1.0], np.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([[1.0, 2.0]], [1.0, 2.0], np.inf),
        ([1, 2, 3, 5], [1, 2, 3, 4], 0.25),
    ],
)
def test_differences_are_relative_and_what_is_not_finite_must_agree(have: object, want: object, error: float) -> None:
    assert difference({"y": np.array(have)}, {"y": np.array(want)}) == error


@pytest.mark.parametrize(("spread", "bound"), [(0.0, 1e-3), (1e-3, 4e-3), (1.0, 5e-2)])
def test_where_rounding_decides_more_is_allowed_up_to_a_bound(spread: float, bound: float) -> None:
    answer: Callable[[float], dict[str, Array]] = lambda value: {"y": np.array([1.0, value])}  # noqa: E731
    trial = Trial({}, answer(0.0), spread, "a reference")
    assert judge([trial], [answer(0.99 * bound)], "float32").bound == bound
    with pytest.raises(CompileError, match="off a reference's answers"):
        judge([trial], [answer(1.01 * bound)], "float32")
