"""Profiles: times per operator that add up, and what codecs do to outputs."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.backend import Array, TensorSpec
from nodes.codec_errors import codec_errors, codec_figures
from nodes.errors import BadInput
from nodes.normalise import normalise
from nodes.profiler import profile_model
from nodes.timing import sample_feeds, summary, time_session, time_together
from partitioner.errors import InvalidModel
from partitioner.load import load
from partitioner.profile import EngineKey
from tests.contracts.backend_models import zoo_model
from tests.nodes.onnx_models import info, model_of, node, pictured, random_weight

ORT = EngineKey(node_class="here", backend="onnxruntime")
OPENVINO = EngineKey(node_class="here", backend="openvino")


def photo() -> Array:
    file = BytesIO()
    Image.effect_noise((40, 30), 90).convert("RGB").save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


def layered(folder: Path) -> Path:
    """x [1, 64] → widen [1, 4096] → relu → narrow [1, 4] → y [1, 64]: half a million multiplications."""
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], "widen"),
        node("Relu", ["a"], ["a_relu"], "relu"),
        node("MatMul", ["a_relu", "w2"], ["b"], "narrow"),
        node("MatMul", ["b", "w3"], ["y"], "out"),
    ]
    weights = [random_weight("w1", 64, 4096), random_weight("w2", 4096, 4, seed=1), random_weight("w3", 4, 64, seed=2)]
    model = model_of(nodes, [info("x", 1, 64)], [info("y", 1, 64)], weights)
    return normalise(model).save(folder / "layered.onnx")


def test_operators_add_up_to_the_whole_and_each_has_a_time(tmp_path: Path) -> None:
    path = layered(tmp_path)
    profile = profile_model(path, [ORT, OPENVINO], seconds=0.02)
    for key in (ORT, OPENVINO):
        engine = profile.engines[key]
        assert set(engine.operator_s) == {one.name for one in load(path).graph.operators}
        assert sum(engine.operator_s.values()) > 0 < engine.call_s


def test_functions_are_timed_by_themselves(tmp_path: Path) -> None:
    path = normalise(pictured(), samples={"photo": photo()}).save(tmp_path / "m.onnx")
    engine = profile_model(path, [ORT], feeds={"photo": photo()}, seconds=0.02).engines[ORT]
    assert {"decode_jpeg_1", "resize_1", "normalise_1"} <= set(engine.operator_s)
    assert engine.operator_s["decode_jpeg_1"] > engine.operator_s["flatten"]


def test_a_picture_function_wants_a_real_picture(tmp_path: Path) -> None:
    path = normalise(pictured(), samples={"photo": photo()}).save(tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="input 'photo' needs a real sample"):
        profile_model(path, [ORT])


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'x' has shape"):
        profile_model(layered(tmp_path), [ORT], feeds={"x": np.zeros((1, 3), np.float32)})


@pytest.mark.slow
def test_convolutions_take_most_of_a_real_models_time() -> None:
    path = zoo_model("efficientnet_lite0")
    shares = profile_model(path, [ORT], seconds=0.3).engines[ORT].operator_s
    convolutions = [one.name for one in load(path).graph.operators if one.op_type == "Conv"]
    assert sum(shares[name] for name in convolutions) > 0.7 * sum(shares.values())


def test_a_codecs_error_is_that_of_the_outputs(tmp_path: Path) -> None:
    """y is linear in b, so half a quantisation step of b bounds it through |w3|."""
    feeds = [{"x": np.random.default_rng(seed).normal(size=(1, 64)).astype(np.float32)} for seed in range(3)]
    figures = codec_errors(layered(tmp_path), ["narrow", "x"], feeds, ["raw", "fp16", "int8"])
    assert list(figures) == ["narrow", "x"]
    assert set(figures["narrow"]) == {"fp16", "int8"}
    assert 0 < figures["narrow"]["fp16"].error < 2**-10
    assert 0 < figures["x"]["fp16"].error < 2**-8
    assert figures["x"]["fp16"].ratio == 0.5


def test_an_outputs_own_error_counts(tmp_path: Path) -> None:
    feeds = [{"x": np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)}]
    figure = codec_errors(layered(tmp_path), ["y"], feeds, ["fp16"])["y"]["fp16"]
    assert 0 < figure.error < 2**-10


def test_the_worst_input_counts(tmp_path: Path) -> None:
    path = layered(tmp_path)
    feeds = [{"x": np.random.default_rng(seed).normal(size=(1, 64)).astype(np.float32)} for seed in range(3)]
    alone = [codec_errors(path, ["narrow"], [one], ["fp16"])["narrow"]["fp16"].error for one in feeds]
    assert codec_errors(path, ["narrow"], feeds, ["fp16"])["narrow"]["fp16"].error == pytest.approx(max(alone))


def test_what_functions_make_can_be_coded_too(tmp_path: Path) -> None:
    path = normalise(pictured(), samples={"photo": photo()}).save(tmp_path / "m.onnx")
    figures = codec_errors(path, ["photo", "normalise_1", "flatten"], [{"photo": photo()}], ["fp16"])
    assert figures["photo"]["fp16"].error == 0
    assert figures["normalise_1"]["fp16"].error == pytest.approx(figures["flatten"]["fp16"].error)


def test_an_unknown_activation_is_named(tmp_path: Path) -> None:
    feeds = [{"x": np.zeros((1, 64), np.float32)}]
    with pytest.raises(InvalidModel, match="no activation 'z'"):
        codec_errors(layered(tmp_path), ["z"], feeds, ["fp16"])


def test_codecs_are_timed_per_raw_byte() -> None:
    sample = np.random.default_rng(0).normal(size=(1, 8, 64, 64)).astype(np.float32)
    figures = codec_figures(sample, ["raw", "int8"])
    assert figures["int8"].encode_s_per_byte > figures["raw"].encode_s_per_byte > 0


def test_calls_are_timed_in_turn() -> None:
    called: list[str] = []
    timed = time_together({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, repeats=3)
    assert "".join(called) == "aabb" + "ab" * 3
    assert {timing.repeats for timing in timed.values()} == {3}


def test_the_median_stands_for_the_time() -> None:
    timing = summary([1.0, 2.0, 3.0, 4.0, 100.0])
    assert timing.median_s == 3.0
    assert timing.spread == pytest.approx(2 / 3)


def test_samples_fit_what_they_are_for() -> None:
    specs = (TensorSpec("a", "float32", (None, 3)), TensorSpec("b", "int64", ()), TensorSpec("c", "bool", (2,)))
    feeds = sample_feeds(specs)
    assert [(feeds[s.name].dtype.name, feeds[s.name].shape) for s in specs] == [
        ("float32", (1, 3)), ("int64", ()), ("bool", (2,)),
    ]  # fmt: skip


def test_a_timed_session_is_run_as_often_as_asked() -> None:
    class Counting:
        inputs: tuple[TensorSpec, ...] = ()
        outputs: tuple[TensorSpec, ...] = ()
        runs = 0

        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            self.runs += 1
            return {}

        def operator_s(self) -> None:
            return None

        def close(self) -> None:
            return None

    session = Counting()
    assert time_session(session, {}, repeats=7).repeats == 7
    assert session.runs == 7 + 2
