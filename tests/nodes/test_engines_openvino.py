"""OpenVINO: its devices and options, many inferences at once, int8, contradicting shapes, and what it keeps."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array, Option, load_backend
from nodes.backends.openvino import OpenVino, load
from nodes.backends.openvino_session import OpenVinoSession
from nodes.backends.openvino_settings import OPTIONS
from nodes.cache import engine_cache
from nodes.errors import BadInput, CompileError, RunError
from tests.nodes import quantised_models as models
from tests.nodes.onnx_models import INT64, dense, info, model_of, node

pytest.importorskip("openvino")

MODEL = dense().SerializeToString()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenVino:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return load()


def batch(count: int) -> list[dict[str, Array]]:
    random = np.random.default_rng(4)
    return [{"x": random.normal(size=(1, 8)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "throughput"},
        {"mode": "latency", "streams": 2},
        {"device": "AUTO"},
        {"device": "AUTO:CPU"},
        {"device": "HETERO:CPU"},
        {"device": "MULTI:CPU"},
        {"device": "cpu", "cache": True},
        {"device": "HETERO:CPU", "cache": True},
    ],
    ids=str,
)
def test_every_option_leaves_the_answer_as_it_is(engine: OpenVino, options: dict[str, Option]) -> None:
    model = models.float_cnn().SerializeToString()
    want = load_backend("onnxruntime").compile(model).run(models.picture())["y"]
    for _ in range(2):
        session = engine.compile(model, threads=2, options=options)
        assert models.error(session.run(models.picture())["y"], want) <= 1e-5
        assert session.devices == ("cpu",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": 2}, "openvino has no option 'stream'; it has mode, streams, device, cache"),
        ({"mode": "fast"}, "option mode is 'fast', must be one of latency, throughput"),
        ({"device": "TPU"}, "no device 'TPU' is here; there are CPU"),
        ({"device": "HETERO:GPU.7,CPU"}, "no device 'GPU.7' is here"),
        ({"device": "AUTO:CPU", "cache": True}, "keeps no model compiled for AUTO:CPU; name one device"),
    ],
)
def test_what_is_not_there_is_refused(engine: OpenVino, options: dict[str, Option], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        engine.compile(MODEL, options=options)


def test_every_option_is_explained(engine: OpenVino) -> None:
    for name in OPTIONS:
        with pytest.raises(CompileError, match=f"option {name} is"):
            engine.compile(b"", options={name: -1.5})
    assert engine.capabilities().options == OPTIONS


@pytest.mark.parametrize(
    ("options", "threads", "streams"),
    [({}, 2, 1), ({"mode": "throughput"}, 2, 2), ({"mode": "throughput", "streams": 1}, 2, 1)],
    ids=str,
)
def test_mode_and_streams_are_told_to_the_engine(
    engine: OpenVino, monkeypatch: pytest.MonkeyPatch, options: dict[str, Option], threads: int, streams: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(OpenVinoSession, "__init__", lambda _, compiled, **__: asked.append(compiled))
    engine.compile(MODEL, threads=threads, options=options)
    assert asked[0].get_property("NUM_STREAMS") == streams
    assert asked[0].get_property("PERFORMANCE_HINT") == str(options.get("mode", "latency")).upper()
    assert asked[0].get_property("INFERENCE_NUM_THREADS") == threads


def test_the_precision_is_what_every_device_behind_a_name_was_told(engine: OpenVino) -> None:
    if "bfloat16" not in engine.capabilities().precisions:
        pytest.skip("this CPU has no bfloat16")
    want = engine.compile(MODEL).run(batch(1)[0])["hidden"]
    narrow = engine.compile(MODEL, precision="bfloat16", options={"device": "HETERO:CPU"}).run(batch(1)[0])["hidden"]
    assert 1e-4 < models.error(narrow, want) < 0.05


def test_many_at_once_come_back_in_their_order(engine: OpenVino) -> None:
    session = engine.compile(MODEL, threads=2, options={"mode": "throughput"})
    many = session.run_many(batch(60))
    for feeds, made in zip(batch(60), many, strict=True):
        np.testing.assert_array_equal(made["hidden"], session.run(feeds)["hidden"])


def test_many_at_once_keep_outputs_of_their_own(engine: OpenVino) -> None:
    session = engine.compile(MODEL, threads=2, options={"mode": "throughput"})
    first = session.run_many(batch(4))
    before = [made["hidden"].copy() for made in first]
    session.run_many(batch(9)[4:])
    session.close()
    assert all(
        np.array_equal(made["hidden"], kept) and made["hidden"].flags.writeable
        for made, kept in zip(first, before, strict=True)
    )


def test_many_of_which_one_does_not_fit_run_not_at_all(engine: OpenVino) -> None:
    with pytest.raises(BadInput, match="missing 'x'"):
        engine.compile(MODEL).run_many([*batch(3), {}])


def test_none_at_once_give_none(engine: OpenVino) -> None:
    assert engine.compile(MODEL).run_many([]) == []


def reshaping() -> bytes:
    """x [6] in the shape that a second input says: only running shows whether that shape holds six."""
    model = model_of(
        [node("Reshape", ["x", "shape"], ["y"], "fold")],
        [info("x", 6), info("shape", 2, dtype=INT64)],
        [info("y", "rows", "columns")],
    )
    return model.SerializeToString()


def test_an_inference_that_fails_among_many_is_told_and_harms_no_later_ones(engine: OpenVino) -> None:
    session = engine.compile(reshaping(), options={"streams": 2})
    x = np.arange(6, dtype=np.float32)
    good, bad = ({"x": x, "shape": np.array(shape, np.int64)} for shape in ((2, 3), (4, 4)))
    with pytest.raises(RunError) as caught:
        session.run_many([good, good, bad, good, good])
    assert "\n" not in str(caught.value) and not isinstance(caught.value, BadInput)
    assert [made["y"].shape for made in session.run_many([good, good, good])] == [(2, 3)] * 3


def test_a_closed_session_runs_not_many_either(engine: OpenVino) -> None:
    session = engine.compile(MODEL)
    session.close()
    with pytest.raises(RunError, match="closed"):
        session.run_many(batch(1))


def test_free_shapes_that_contradict_each_other_are_refused(engine: OpenVino) -> None:
    model = model_of([node("Add", ["x", "z"], ["y"])], [info("x", "m"), info("z", "n")], [info("y", "k")])
    session = engine.compile(model.SerializeToString())
    three, four = np.zeros(3, np.float32), np.zeros(4, np.float32)
    for run in (session.run, lambda feeds: session.run_many([feeds])):
        with pytest.raises(RunError, match=r"shapes x \[3\], z \[4\] do not go together: .*inconsistent"):
            run({"x": three, "z": four})
    assert session.run({"x": four, "z": four})["y"].shape == (4,)


def test_a_quantised_cnn_keeps_its_bound(engine: OpenVino) -> None:
    made = engine.compile(models.static_cnn().SerializeToString()).run(models.picture())
    want = engine.compile(models.float_cnn().SerializeToString()).run(models.picture())
    assert 1e-3 < models.error(made["y"], want["y"]) <= 0.05


def test_a_quantised_cnn_runs_in_integers(engine: OpenVino, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(OpenVinoSession, "__init__", lambda _, compiled, **__: asked.append(compiled))
    engine.compile(models.static_cnn().SerializeToString())
    told = [kernel.get_rt_info() for kernel in asked[0].get_runtime_model().get_ops()]
    kinds = [one["runtimePrecision"].astype(str) for one in told if one["layerType"].astype(str) == "Convolution"]
    assert kinds and set(kinds) <= {"u8", "i8"}


def test_a_dynamically_quantised_product_keeps_its_bound(engine: OpenVino) -> None:
    made = engine.compile(models.dynamic_product().SerializeToString()).run(models.rows())
    assert 1e-4 < models.error(made["y"], models.rows()["x"] @ models.table()) <= 0.02


def test_what_is_kept_is_not_compiled_again(engine: OpenVino, monkeypatch: pytest.MonkeyPatch) -> None:
    want = engine.compile(MODEL, options={"cache": True}).run(batch(1)[0])
    monkeypatch.setattr(engine, "_core", Uncompiling(engine._core))
    made = engine.compile(MODEL, options={"cache": True}).run(batch(1)[0])
    np.testing.assert_array_equal(made["hidden"], want["hidden"])
    with pytest.raises(CompileError, match="compiles no more"):
        engine.compile(MODEL, threads=2, options={"cache": True})


class Uncompiling:
    """A Core that imports but no longer compiles."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def compile_model(self, *_: object) -> None:
        raise RuntimeError("it compiles no more")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


def test_a_kept_model_with_free_shapes_still_refuses_contradictions(engine: OpenVino) -> None:
    model = model_of([node("Add", ["x", "z"], ["y"])], [info("x", "m"), info("z", "n")], [info("y", "k")])
    for _ in range(2):
        session = engine.compile(model.SerializeToString(), options={"cache": True})
    with pytest.raises(RunError, match="do not go together"):
        session.run({"x": np.zeros(3, np.float32), "z": np.zeros(4, np.float32)})


def test_a_kept_model_that_was_damaged_is_made_anew(engine: OpenVino, caplog: pytest.LogCaptureFixture) -> None:
    want = engine.compile(MODEL, options={"cache": True}).run(batch(1)[0])
    (kept,) = engine_cache().root.rglob("model.blob")
    kept.write_bytes(kept.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        made = engine.compile(MODEL, options={"cache": True}).run(batch(1)[0])
    np.testing.assert_array_equal(made["hidden"], want["hidden"])
    assert "damaged" in caplog.text
