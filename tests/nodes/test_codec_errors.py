"""What codecs do to a model's outputs: per tensor, by label, and all at once against what a plan promises."""

import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isthmus.zoo.photos import photos
from nodes.backend import Array
from nodes.codec_errors import codec_errors, codec_figures, error_together
from nodes.normalise import normalise
from partitioner.errors import InvalidModel
from tests.contracts.backend_models import zoo_model
from tests.nodes.onnx_models import info, model_of, node, random_weight, weight
from tests.nodes.pictures import imagenet, picture

IMAGE_CODECS = ("uint8", "jpeg95", "jpeg85")


def classifier(folder: Path) -> Path:
    """x [1, 3, 16, 16] → conv → relu → conv → flatten → y [1, 6]: class scores of a picture."""
    nodes = [
        node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"], "cut_off"),
        node("Conv", ["b", "w2"], ["c"], "second", pads=[1, 1, 1, 1]),
        node("Flatten", ["c"], ["d"], "flatten"),
        node("MatMul", ["d", "w3"], ["y"], "scores"),
    ]
    weights = [random_weight("w1", 8, 3, 3, 3), random_weight("w2", 8, 8, 3, 3), random_weight("w3", 2048, 6)]
    model = model_of(nodes, [info("x", 1, 3, 16, 16)], [info("y", 1, 6)], weights)
    return normalise(model).save(folder / "classifier.onnx")


def feeds(count: int = 4) -> list[Mapping[str, Array]]:
    return [{"x": imagenet(picture(16, 16, seed=seed)[None])} for seed in range(count)]


def test_image_codecs_have_figures_on_image_inputs_only(tmp_path: Path) -> None:
    figures = codec_errors(classifier(tmp_path), ["x", "first"], feeds(1), ("raw", "fp16", *IMAGE_CODECS))
    assert set(figures["x"]) == {"fp16", *IMAGE_CODECS}
    assert set(figures["first"]) == {"fp16"}
    assert figures["x"]["uint8"].error < 1e-5
    assert 1e-3 < figures["x"]["jpeg95"].error < figures["x"]["jpeg85"].error


def test_without_pillow_jpeg_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert set(codec_errors(classifier(tmp_path), ["x"], feeds(1), ("uint8", "jpeg95"))["x"]) == {"uint8"}
    assert set(codec_figures(np.ones((1, 64, 8, 8), np.float32), ("fp16", "jpeg95"))) == {"fp16"}


def test_image_codecs_are_timed_on_a_picture() -> None:
    """On the sample, which is none, they'd send raw: nothing, beside what fp16 takes."""
    figures = codec_figures(np.ones((1, 64, 128, 128), np.float32), ("fp16", "uint8", "jpeg95"))
    assert min(figures[name].encode_s_per_byte for name in ("uint8", "jpeg95")) > figures["fp16"].encode_s_per_byte / 20


def test_zstd_changes_bytes_and_nothing_else(tmp_path: Path) -> None:
    figures = codec_errors(classifier(tmp_path), ["first"], feeds(2), ("int8", "int8+zstd", "raw+zstd"))["first"]
    assert figures["int8"].error == figures["int8+zstd"].error > 0 == figures["raw+zstd"].error
    assert figures["int8"].ratio != figures["int8+zstd"].ratio


def test_labels_that_turn_are_counted(tmp_path: Path) -> None:
    """int8 makes the two best scores of the second input one, and the first of them then counts as the label."""
    model = model_of(
        [node("MatMul", ["x", "w"], ["y"], "out")], [info("x", 1, 3)], [info("y", 1, 3)], [weight("w", np.eye(3))]
    )
    path = normalise(model).save(tmp_path / "scores.onnx")
    given = [{"x": np.array([row], np.float32)} for row in ((1.0, 2.0, -3.0), (1.0, 1.001, -3.0))]
    figures = codec_errors(path, ["x"], given, ("fp16", "int8-tensor"))["x"]
    assert figures["int8-tensor"].label_agreement == 0.5
    assert figures["fp16"].label_agreement == 1.0


def test_a_model_without_class_scores_has_no_labels(tmp_path: Path) -> None:
    model = model_of([node("Relu", ["x"], ["y"], "out")], [info("x", 1, 3, 4)], [info("y", 1, 3, 4)])
    path = normalise(model).save(tmp_path / "plain.onnx")
    given = [{"x": np.ones((1, 3, 4), np.float32)}]
    assert codec_errors(path, ["x"], given, ("fp16",))["x"]["fp16"].label_agreement is None


@pytest.mark.parametrize("codec", ["fp16", "int8", "int8-tensor", "int8-token", "int8-token+zstd"])
def test_together_they_err_by_no_more_than_the_sum_of_each(tmp_path: Path, codec: str) -> None:
    path, tensors = classifier(tmp_path), ["x", "first", "cut_off", "second", "y"]
    alone = codec_errors(path, tensors, feeds(), [codec])
    together = error_together(path, dict.fromkeys(tensors, codec), feeds())
    worst = max(alone[name][codec].error for name in tensors)
    assert 0.3 * worst < together <= sum(alone[name][codec].error for name in tensors)


def test_one_alone_errs_as_its_figure_says(tmp_path: Path) -> None:
    path = classifier(tmp_path)
    for tensor in ("x", "cut_off", "y"):
        alone = codec_errors(path, [tensor], feeds(), ["int8"])[tensor]["int8"].error
        assert error_together(path, {tensor: "int8"}, feeds()) == pytest.approx(alone)


def test_an_unknown_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="no activation 'z'"):
        error_together(classifier(tmp_path), {"z": "fp16"}, feeds(1))


def crops() -> list[Mapping[str, Array]]:
    """Squares out of real photographs, as EfficientNet-Lite is fed."""
    found: list[Mapping[str, Array]] = []
    for data in photos().values():
        image = Image.open(BytesIO(data)).convert("RGB")
        side = min(image.size)
        pixels = np.asarray(image.crop((0, 0, side, side)).resize((224, 224), Image.Resampling.BICUBIC))
        scaled = (np.moveaxis(pixels, 2, 0)[None].astype(np.float32) - 127) / np.float32(128)
        found.append({"input": np.ascontiguousarray(scaled)})
    return found


@pytest.mark.slow
def test_a_real_models_outputs_err_by_no_more_than_is_promised() -> None:
    path, given = zoo_model("efficientnet_lite0"), crops()
    inner = ["block2_expand", "block6_expand", "block9_add", "block13_project"]
    alone = codec_errors(path, ["input", *inner, "logits"], given, ("fp16", "int8", "int8-tensor", "uint8", "jpeg95"))
    for chosen in (
        dict.fromkeys(inner, "int8"),
        dict.fromkeys((*inner, "logits"), "int8-tensor"),
        {"input": "uint8", "block2_expand": "int8", "block9_add": "fp16", "logits": "int8"},
        {"input": "jpeg95", "block6_expand": "int8"},
    ):
        promised = sum(alone[name][codec].error for name, codec in chosen.items())
        assert 0.2 * promised < error_together(path, chosen, given) <= promised
