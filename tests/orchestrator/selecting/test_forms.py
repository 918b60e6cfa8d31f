"""A model as artifacts, alone and for batches."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from nodes import rebatch
from nodes.artifact import read
from nodes.backend import Array
from nodes.functions import function
from nodes.normalise import normalise
from nodes.program import Program
from nodes.variants.errors import UnknownForm
from orchestrator.selecting.forms import Form, forms_of
from tests.nodes.onnx_models import dense, info, model_of, node, pictured


def say(_: str) -> None:
    """Nobody listens."""


def normalised(folder: Path, model: onnx.ModelProto | None = None) -> Path:
    return normalise(model or dense()).save(folder / "model.onnx")


def feeds(count: int = 4) -> list[dict[str, Array]]:
    return [{"x": np.random.default_rng(i).random((1, 8), np.float32)} for i in range(count)]


def only(folder: Path, name: str, *batches: int, path: Path | None = None) -> Form:
    found, impossible = forms_of(path or normalised(folder), [name], feeds(), batches, folder, say)
    assert impossible == {}
    assert next(iter(found)) == "float32"
    return found[name]


def test_a_batch_has_as_many_rows(tmp_path: Path) -> None:
    form = only(tmp_path, "float32", 1, 2, 4)
    shapes = {size: read(Path(folder)).inputs[0].shape for size, folder in form.batches.items()}
    assert shapes == {"2": (2, 8), "4": (4, 8)}
    assert read(form.folder).inputs[0].shape == (1, 8)


@pytest.mark.parametrize(("name", "most"), [("int8", 0.05), ("float16", 0.002)])
def test_a_variant_answers_nearly_the_same_alone_and_in_batches(tmp_path: Path, name: str, most: float) -> None:
    held = feeds(2)
    form, plain = only(tmp_path, name, 2), only(tmp_path, "float32")
    assert form.sha256 != plain.sha256
    exact, alone, both = (Program.load(Path(folder)) for folder in (plain.folder, form.folder, form.batches["2"]))
    wanted, found = (np.array([run.run(one)["hidden"][0] for one in held], np.float64) for run in (exact, alone))
    batch = both.run({"x": np.concatenate([one["x"] for one in held])})["hidden"].astype(np.float64)
    assert 0 < np.abs(found - wanted).max() <= most * np.abs(wanted).max()
    assert 0 < np.abs(batch - wanted).max() <= most * np.abs(wanted).max()


def test_what_was_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = only(tmp_path, "float32", 2)
    monkeypatch.delattr(rebatch, "rebatched")
    assert only(tmp_path, "float32", 2) == first


def test_a_variant_that_the_model_can_not_take_is_told_and_the_others_are_made(tmp_path: Path) -> None:
    relu = model_of([node("Relu", ["x"], ["y"], "one")], [info("x", 1, 8)], [info("y", 1, 8)])
    found, impossible = forms_of(normalised(tmp_path, relu), ["int8"], feeds(), (), tmp_path, say)
    assert list(found) == ["float32"]
    assert "nothing to quantise" in impossible["int8"]


def test_an_unknown_variant_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownForm, match="there is no form 'int7'; there are float16"):
        forms_of(normalised(tmp_path), ["int7"], (), (), tmp_path, say)


def test_a_model_with_functions_takes_one_request_at_a_time(tmp_path: Path) -> None:
    (photo,) = function("encode_jpeg").run({"quality": 90}, np.zeros((8, 8, 3), np.uint8))
    path = normalise(pictured(), samples={"photo": photo}).save(tmp_path / "pictured.onnx")
    found, _ = forms_of(path, ["float16"], [{"photo": photo}], (2,), tmp_path, say)
    assert [dict(form.batches) for form in found.values()] == [{}, {}]
    assert found["float16"].batch_note == "a model with functions of its own takes one request at a time"
    assert Program.load(found["float16"].folder).run({"photo": photo})["y"].shape == (1, 2)
