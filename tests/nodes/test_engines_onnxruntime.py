"""ONNX Runtime: its distributions, which operators it has, its options, int8, and what it keeps."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.defs
import pytest

from nodes.backend import Option
from nodes.backends import onnxruntime as backend
from nodes.backends.onnxruntime_package import check_distributions
from nodes.backends.onnxruntime_settings import OPTIONS, Settings
from nodes.cache import engine_cache
from nodes.errors import CompileError, EngineMissing, UnsupportedOperator
from tests.contracts.backend_models import normalised_transformer, tokens
from tests.nodes import quantised_models as models
from tests.nodes.onnx_models import dense


@pytest.fixture(autouse=True)
def cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_two_distributions_at_once_are_refused_with_the_way_out() -> None:
    with pytest.raises(EngineMissing, match="pip uninstall onnxruntime onnxruntime-gpu"):
        check_distributions(["onnxruntime-gpu", "onnxruntime"])


@pytest.mark.parametrize("installed", [["onnxruntime"], ["onnxruntime-gpu"], []])
def test_one_distribution_is_fine(installed: list[str]) -> None:
    check_distributions(installed)


def test_without_either_both_install_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineMissing, match=r"isthmus\[cpu\].*isthmus\[gpu\]"):
        backend.load()


def test_an_emptied_package_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(EngineMissing, match="not installed"):
        backend.load()


@pytest.mark.parametrize(
    ("message", "operator", "op_type"),
    [
        (
            'This is an invalid model. In Node, ("n1", Foo, "", -1) : … , Error No Op registered for Foo with',
            "n1",
            "Foo",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : Fatal error: a.b:Foo(-1) is not a registered function/op", "", "a.b:Foo"),
        ("Could not find an implementation for Foo(13) node with name 'n2'", "n2", "Foo"),
    ],
)
def test_an_unsupported_operator_is_read_from_the_message(message: str, operator: str, op_type: str) -> None:
    error = backend.compile_error(message)
    assert isinstance(error, UnsupportedOperator)
    assert (error.operator, error.op_type, error.backend) == (operator, op_type, "onnxruntime")


def test_its_operators_are_known_before_a_model_is_there() -> None:
    operators = backend.load().capabilities().operators
    assert operators is not None
    assert {"Conv", "MatMul", "LayerNormalization", "Constant", "HardSwish"} <= operators
    assert not {"Adam", "ImageDecoder", "Foo"} & operators


def test_operators_that_onnx_makes_of_others_count_as_its_own() -> None:
    operators = backend.load().capabilities().operators or frozenset()
    made = {one.name for one in onnx.defs.get_all_schemas_with_history() if not one.domain and one.has_function}
    newest = {one.name for one in onnx.defs.get_all_schemas_with_history() if not one.domain and one.since_version > 24}
    assert made - operators <= newest


@pytest.mark.parametrize(
    "options",
    [
        *({"level": level} for level in ("disable", "basic", "extended", "layout", "all")),
        {"spinning": True},
        {"execution": "parallel", "inter_op_threads": 2},
        {"io_binding": True},
        {"cache": True},
    ],
    ids=str,
)
def test_every_option_leaves_the_answer_as_it_is(options: dict[str, Option]) -> None:
    model = normalised_transformer().proto.SerializeToString()
    want = backend.load().compile(model).run(tokens())
    made = backend.load().compile(model, options=options).run(tokens())
    assert models.error(made["embedding"], want["embedding"]) <= 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levle": "all"}, "onnxruntime has no option 'levle'; it has level, spinning"),
        ({"level": "most"}, "option level is 'most', must be one of disable, basic"),
        ({"cpu_fallback": False}, "no option 'cpu_fallback'"),
    ],
)
def test_an_option_it_does_not_have_is_refused(options: dict[str, Option], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        backend.load().compile(dense().SerializeToString(), options=options)


def test_threads_and_how_they_wait_are_told_to_the_engine() -> None:
    given: dict[str, Option] = {"spinning": True, "execution": "parallel", "inter_op_threads": 3}
    module = backend.load().module
    made = Settings.read("onnxruntime", given).session_options(module, 2)
    assert (made.intra_op_num_threads, made.inter_op_num_threads) == (2, 3)
    assert made.execution_mode == module.ExecutionMode.ORT_PARALLEL
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    quiet = Settings.read("onnxruntime", {}).session_options(module, 1)
    assert quiet.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_every_option_is_explained() -> None:
    for name in OPTIONS:
        with pytest.raises(CompileError, match=f"option {name} is"):
            backend.load().compile(b"", options={name: -1.5})
    assert backend.load().capabilities().options == OPTIONS


def test_a_level_is_how_far_the_graph_is_optimised(cache_home: Path) -> None:
    counts = []
    for level in ("disable", "extended"):
        backend.load().compile(models.static_cnn().SerializeToString(), options={"level": level, "cache": True})
        (kept,) = set(cache_home.rglob("model.onnx"))
        counts.append(len(onnx.load(kept, load_external_data=False).graph.node))
        kept.unlink()
    assert counts[1] < counts[0]


def test_bound_buffers_give_fresh_outputs_each_time() -> None:
    session = backend.load().compile(dense().SerializeToString(), options={"io_binding": True})
    first = session.run({"x": np.ones((1, 8), np.float32)})["hidden"]
    before = first.copy()
    second = session.run({"x": np.zeros((1, 8), np.float32)})["hidden"]
    assert np.array_equal(first, before) and not second.any() and first.flags.writeable


def test_binding_needs_fixed_shapes() -> None:
    with pytest.raises(CompileError, match=r"io_binding needs .* x float32\[\?, 8\] is not"):
        backend.load().compile(dense("batch").SerializeToString(), options={"io_binding": True})


def test_what_is_kept_is_not_optimised_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = models.float_cnn().SerializeToString()
    engine = backend.load()
    want = engine.compile(model, options={"cache": True}).run(models.picture())
    opened: list[str] = []
    real = engine.module.InferenceSession

    def watched(source: str | bytes, options: object, **rest: object) -> object:
        opened.append(str(options.graph_optimization_level) if isinstance(source, str) else "anew")  # type: ignore[attr-defined]
        return real(source, options, **rest)

    monkeypatch.setattr(engine.module, "InferenceSession", watched)
    made = engine.compile(model, options={"cache": True}).run(models.picture())
    assert opened == ["GraphOptimizationLevel.ORT_DISABLE_ALL"]
    np.testing.assert_array_equal(made["y"], want["y"])


def test_another_level_is_kept_apart() -> None:
    for level in ("basic", "all", "basic"):
        backend.load().compile(dense().SerializeToString(), options={"cache": True, "level": level})
    assert len([path for path in engine_cache().root.iterdir() if path.is_dir()]) == 2


def test_a_kept_model_that_was_damaged_is_made_anew(cache_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = dense().SerializeToString()
    backend.load().compile(model, options={"cache": True})
    (kept,) = cache_home.rglob("model.onnx")
    kept.write_bytes(b"damage")
    with caplog.at_level(logging.WARNING):
        made = backend.load().compile(model, options={"cache": True}).run({"x": np.ones((1, 8), np.float32)})
    want = backend.load().compile(model).run({"x": np.ones((1, 8), np.float32)})
    np.testing.assert_array_equal(made["hidden"], want["hidden"])
    assert "damaged" in caplog.text


def test_a_statically_quantised_cnn_keeps_its_bound() -> None:
    made = backend.load().compile(models.static_cnn().SerializeToString()).run(models.picture())
    want = backend.load().compile(models.float_cnn().SerializeToString()).run(models.picture())
    assert 1e-3 < models.error(made["y"], want["y"]) <= 0.05


def test_a_statically_quantised_cnn_runs_in_integers(cache_home: Path) -> None:
    backend.load().compile(models.static_cnn().SerializeToString(), options={"cache": True, "level": "extended"})
    (kept,) = cache_home.rglob("model.onnx")
    kinds = [one.op_type for one in onnx.load(kept, load_external_data=False).graph.node]
    assert kinds.count("QLinearConv") == 2 and "Conv" not in kinds


def test_a_dynamically_quantised_product_keeps_its_bound() -> None:
    made = backend.load().compile(models.dynamic_product().SerializeToString()).run(models.rows())
    assert 1e-4 < models.error(made["y"], models.rows()["x"] @ models.table()) <= 0.02
