"""Variants are made once, measured, and found again; what cannot be made is refused by name."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from nodes.backend import load_backend
from nodes.cache import Cache
from nodes.errors import BadInput, CompileError, EngineMissing, NodesError
from nodes.variants import forms, registry
from nodes.variants.errors import NotPossible, UnknownForm
from nodes.variants.errors_of import Errors
from nodes.variants.forms import FORMS
from nodes.variants.registry import measured, variant
from partitioner.errors import InvalidModel
from tests.nodes.onnx_models import info, model_of, node, pictured, weight
from tests.nodes.variants.models import Feeds, convolutional, on_disk, pictures, texts, textual

FAR = {"float16": 50.0, "bfloat16": 35.0, "int8": 25.0, "int8-static": 25.0, "weights8": 35.0, "weights4": 10.0}


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(name="picture_model")
def _picture_model(tmp_path: Path) -> Path:
    return on_disk(convolutional(), tmp_path)


def errors(path: Path, form: str, feeds: Feeds, cache: Cache, **more: Any) -> Errors:
    with variant(path, form, feeds=feeds, judged_on=feeds[:4], cache=cache, **more) as made:
        assert made.figures is not None
        return made.figures.errors


@pytest.mark.parametrize("form", FAR)
def test_every_form_of_a_convolutional_net_answers_nearly_the_same(
    picture_model: Path, form: str, cache: Cache
) -> None:
    found = errors(picture_model, form, pictures(8), cache)
    assert found.sqnr_db is None or found.sqnr_db > FAR[form]


@pytest.mark.parametrize("form", ["float16", "bfloat16", "int8", "int8-dynamic", "weights8"])
def test_every_form_of_a_stack_of_products_answers_nearly_the_same(tmp_path: Path, form: str, cache: Cache) -> None:
    assert errors(on_disk(textual(), tmp_path), form, texts(4), cache).cosine > 0.99


@pytest.mark.parametrize("form", ["int8-static", "weights8", "weights4", "bfloat16", "float16"])
def test_openvino_reads_a_form_and_answers_as_onnx_runtime(picture_model: Path, form: str, cache: Cache) -> None:
    try:
        backend = load_backend("openvino")
    except EngineMissing as error:
        pytest.skip(str(error))
    with variant(picture_model, form, feeds=pictures(8), cache=cache) as made:
        scores: list[Any] = [
            one.compile(made.path).run(pictures(1)[0])["scores"] for one in (backend, load_backend("onnxruntime"))
        ]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.05)


def test_a_second_call_makes_nothing(picture_model: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = errors(picture_model, "int8", pictures(8), cache)
    monkeypatch.setattr(registry, "Pieces", None)
    assert errors(picture_model, "int8", pictures(8), cache) == first


@pytest.mark.parametrize("change", [{"feeds": pictures(8, seed=1)}, {"options": {"per_channel": False}}])
def test_other_calibration_or_options_make_another_file(
    picture_model: Path, cache: Cache, change: Mapping[str, Any]
) -> None:
    paths = []
    for given in ({"feeds": pictures(8)}, {"feeds": pictures(8), **change}):
        with variant(picture_model, "int8-static", cache=cache, **given) as made:
            paths.append(made.path)
    assert paths[0] != paths[1]
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_a_damaged_variant_is_made_again(picture_model: Path, cache: Cache) -> None:
    with variant(picture_model, "weights8", cache=cache) as made:
        whole = made.path.read_bytes()
        made.path.write_bytes(whole[:-1])
    with variant(picture_model, "weights8", cache=cache) as made:
        assert made.path.read_bytes() == whole


def test_a_variant_tells_its_size_recipe_and_ranges(picture_model: Path, cache: Cache) -> None:
    with variant(picture_model, "int8", feeds=pictures(8), cache=cache) as made:
        assert made.name == "model.int8"
        assert made.nbytes == made.path.stat().st_size
        assert "onnxruntime" in str(made.recipe["made_by"])
        assert made.figures is not None
        assert made.figures.ranges["relu0"].lowest == 0.0
        assert made.figures.ranges["x"].highest == max(float(feed["x"].max()) for feed in pictures(8))


def test_without_inputs_nothing_is_measured(picture_model: Path, cache: Cache) -> None:
    with variant(picture_model, "float16", cache=cache) as made:
        assert made.figures is None


def test_labels_give_the_share_of_right_ones(picture_model: Path, cache: Cache) -> None:
    scores = [load_backend("onnxruntime").compile(picture_model).run(feed)["scores"] for feed in pictures(4)]
    right = [int(one.argmax()) for one in scores]
    found = errors(picture_model, "bfloat16", pictures(8), cache, labels=[*right[:3], (right[3] + 1) % 5])
    assert (found.reference_top1, found.agreement) == (0.75, 1.0)


def test_registered_functions_stay_around_a_changed_model(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(pictured(), path)
    with variant(path, "weights8", cache=cache) as made:
        kinds = [one.op_type for one in onnx.load(made.path).graph.node]
    assert kinds[:3] == ["decode_jpeg", "resize", "normalise"] or "DequantizeLinear" in kinds[:4]
    assert {"decode_jpeg", "resize", "normalise", "DequantizeLinear"} <= set(kinds)


def test_quantisers_print_and_log_nothing(
    picture_model: Path, cache: Cache, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = list(logging.getLogger().handlers)
    with variant(picture_model, "int8", feeds=pictures(8), options={"calibration": "entropy"}, cache=cache):
        assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger().handlers == before


def test_measured_judges_any_file_of_the_same_kind(picture_model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = on_disk(convolutional(gain=2.0), tmp_path / "other")
    assert measured(picture_model, picture_model, pictures(2)).largest == 0.0
    assert measured(picture_model, other, pictures(2)).relative < 1e-5  # twice as large, then half


@pytest.mark.parametrize(
    ("form", "given", "kind", "said"),
    [
        ("int9", {}, UnknownForm, r"no form 'int9'; there are float16, bfloat16, int8, .*weights4"),
        ("int8-static", {}, BadInput, "int8-static needs calibration inputs"),
        ("int8", {}, BadInput, "needs calibration inputs"),
        (
            "weights8",
            {"options": {"bits": 3}},
            CompileError,
            "the form weights8 has no option 'bits'; it has keep_float, tables",
        ),
        ("int8", {"feeds": [{"y": np.zeros(1)}]}, BadInput, r"missing 'x'.*takes x float32\[1, 3, 8, 8\]"),
        ("int8", {"feeds": [{"x": np.zeros((1, 3, 8, 8))}]}, BadInput, "'x' is float64, must be float32"),
        ("int8", {"feeds": [{"x": np.zeros((1, 3, 9, 8), "f4")}]}, BadInput, r"has shape \[1, 3, 9, 8\], must be"),
        ("int8-static", {"feeds": pictures(2), "options": {"keep_float": "conv9"}}, NotPossible, "no operator 'conv9'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    picture_model: Path, cache: Cache, form: str, given: Mapping[str, Any], kind: type[NodesError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught, variant(picture_model, form, cache=cache, **given):
        pass
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(InvalidModel, match="no such file"):
        variant(tmp_path / "absent.onnx", "float16", cache=cache).__enter__()
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidModel, match="not an ONNX file"):
        variant(tmp_path / "bad.onnx", "float16", cache=cache).__enter__()
    assert cache.size_bytes() == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_model_without_weights_has_nothing_to_change(tmp_path: Path, cache: Cache, form: str) -> None:
    path = on_disk(model_of([node("Relu", ["x"], ["y"], "cut_off")], [info("x", 1, 4)], [info("y", 1, 4)]), tmp_path)
    feeds = [{"x": np.ones((1, 4), np.float32)}]
    with pytest.raises(NotPossible, match=r"nothing to quantise|no float32 weights"):
        variant(path, form, feeds=feeds, cache=cache).__enter__()


def test_a_form_that_answers_nan_is_refused(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(
        [node("MatMul", ["x", "w"], ["y"], "product")], [info("x", 1, 8)], [info("y", 1, 8)], [weight("w", np.eye(8))]
    )
    path = on_disk(model, tmp_path)

    def broken(core: onnx.ModelProto, *_: object) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(core)
        made.graph.node[0].op_type = "Div"
        made.graph.initializer[0].CopyFrom(weight(made.graph.initializer[0].name, np.zeros(8)))
        return made

    monkeypatch.setattr(forms.Form, "maker", lambda _: broken)
    with pytest.raises(NotPossible, match="bfloat16 answers NaN or infinity in 'y'"):
        errors(path, "bfloat16", ({"x": np.zeros((1, 8), np.float32)},), cache)
