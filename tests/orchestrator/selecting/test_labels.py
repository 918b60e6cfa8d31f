"""The task's right answers: read, split with the samples, held against every cell's scores."""

import json
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.selecting.exchange import Request, Said, save_tensors
from orchestrator.selecting.accuracy import accuracy_of
from orchestrator.selecting.asked import Asked
from orchestrator.selecting.comparison import Comparison, compare, comparison_to_json
from orchestrator.selecting.labels import load_labels
from orchestrator.selecting.samples import samples_of
from tests.isthmus.given import model_file
from tests.nodes.onnx_models import info, model_of, node, weight
from tests.orchestrator.selecting.given import HALF, ORT, OV, Engines, ran

X = TensorSpec("x", "float32", (1, 8))
CLASSES = 8


def scores(classes: int = CLASSES) -> ModelProto:
    """y = x · 1: what is fed are the scores."""
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    return model_of(nodes, [info("x", 1, 8)], [info("y", 1, classes)], [weight("w", np.eye(8, classes))])


def one_hot(classes: list[int], *, second: int = 0) -> Array:
    """Samples that score these classes highest, and `second` next."""
    found = np.zeros((len(classes), CLASSES), np.float32)
    found[:, second] = 0.5
    found[np.arange(len(classes)), classes] = 1.0
    return found


class Answering(Engines):
    """Answers as the model would: its samples. Of bfloat16 every fourth answer is class 7."""

    def __call__(self, request: Request, limit_s: float) -> Said:
        found = super().__call__(request, limit_s)
        if request.outputs:
            with np.load(request.samples) as held:
                fed = [{"y": held[f"{i}/x"].copy()} for i in range(len(held.files))]
            for one in fed[::4] if request.cell == HALF else ():
                one["y"][0, 7] = 9.0
            save_tensors(Path(request.outputs), fed)
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model_file(tmp_path, scores())
    return tmp_path


def compared(site: Path, right: list[int], fed: list[int], engines: Engines | None = None, **more: Any) -> Comparison:
    np.save(site / "data.npy", one_hot(fed)[:, None, :])
    np.save(site / "labels.npy", np.array(right))
    asked = Asked(
        model=site / "model.onnx", data=site / "data.npy", labels=site / "labels.npy", batches=(1,), threads=(1,),
        backends=("onnxruntime", "openvino"), variants=("float32",), **more,
    )  # fmt: skip
    stand_in = engines or Answering({ORT: ran(0.02), OV: ran(0.01), HALF: ran(0.005)})
    return compare(asked, clock=monotonic, say=lambda _: None, ask_process=stand_in)


def top1(found: Comparison) -> dict[str, tuple[float, float]]:
    held = {row.cell.name: row.figures.accuracy for row in found.rows if row.figures is not None}
    return {name: (one.top1 or 0.0, one.top1_loss or 0.0) for name, one in held.items() if one is not None}


def test_top_1_is_of_every_cell_by_the_labels_of_the_judged(site: Path) -> None:
    fed = [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2]  # of which the judged, every other, are all 1
    found = compared(site, [1, 6, 1, 6, 1, 6, 1, 6, 1, 6, 1, 6, 3, 6, 3, 6], fed)
    assert found.labels == 8
    assert top1(found) == {
        "onnxruntime float32 ×1": (0.75, 0.0),
        "openvino float32 ×1": (0.75, 0.0),
        "openvino bfloat16 ×1": (0.5, 0.25),
    }


@pytest.mark.parametrize(("most", "chosen"), [(24.9, "openvino float32 ×1"), (25.0, "openvino bfloat16 ×1")])
def test_the_fastest_that_loses_no_more_of_top_1_is_taken(site: Path, most: float, chosen: str) -> None:
    found = compared(site, [1] * 16, [1] * 16, max_loss=most, max_error=1.0)
    assert found.choice.row is not None and found.choice.row.cell.name == chosen
    assert f"that ran lose at most {most:g} points of top-1" in found.choice.reason


def test_if_all_lose_more_the_least_is_named(site: Path) -> None:
    slow = Answering({ORT: ran(0.02), OV: ran(0.01), HALF: ran(0.005)})
    found = compared(site, [1] * 16, [1] * 16, slow, precisions=("bfloat16",), max_loss=1.0, max_error=1.0)
    assert found.choice.row is None
    assert found.choice.reason == (
        "none of 1 that ran lose at most 1 points of top-1; the least is openvino bfloat16 ×1 with 9 and 25 points"
    )


def test_labels_are_in_the_json(site: Path) -> None:
    told = json.loads(json.dumps(comparison_to_json(compared(site, [1] * 4, [1] * 4, max_loss=30.0))))
    accuracy = next(one for one in told["rows"] if one["recommended"])["figures"]["accuracy"]
    assert (told["labels"], told["max_loss"], accuracy["top1"], accuracy["top5"]) == (2, 30.0, 1.0, 1.0)


def test_top_5_needs_six_classes() -> None:
    six, five = np.array([[6.0, 5, 4, 3, 2, 1]]), np.array([[5.0, 4, 3, 2, 1]])
    fifth, sixth = (accuracy_of([{"y": six}], [{"y": six}], [label]) for label in (4, 5))
    assert (fifth.top1, fifth.top5, sixth.top5) == (0.0, 1.0, 0.0)
    assert accuracy_of([{"y": five}], [{"y": five}], [4]).top5 is None


@pytest.mark.parametrize(
    ("name", "save"),
    [("a.npy", np.save), ("a.npz", np.savez), ("a.txt", lambda path, held: np.savetxt(path, held, "%d"))],
)
def test_labels_are_read_from_each_kind_of_file(tmp_path: Path, name: str, save: Any) -> None:
    save(tmp_path / name, np.array([3, 1, 2]))
    assert load_labels(tmp_path / name, 3).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (np.array([1, 2]), r"2 labels of int64\[2\] for 3 samples; give one a sample"),
        (np.array([1.0, 2.0, 3.0]), r"3 labels of float64\[3\] for 3 samples; labels are integers"),
        (np.array(["cat", "dog"]), r"2 labels of str.*\[2\] for 3 samples; labels are integers"),
        (np.array([True, False, True]), r"3 labels of bool\[3\] for 3 samples; labels are integers"),
    ],
)
def test_another_number_or_dtype_is_refused_with_both_counts(tmp_path: Path, held: Array, told: str) -> None:
    np.save(tmp_path / "labels.npy", held)
    np.save(tmp_path / "rows.npy", np.zeros((3, 8), np.float32))
    with pytest.raises(BadInput, match=told):
        samples_of(tmp_path / "rows.npy", (X,), tmp_path / "labels.npy")


@pytest.mark.parametrize(("text", "told"), [("1 2.5 3", "3 labels of float64"), ("cat dog", "not one array of labels")])
def test_words_that_are_no_classes_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(BadInput, match=told):
        load_labels(tmp_path / "labels.txt", 3)


@pytest.mark.parametrize("label", [8, -1])
def test_a_label_that_is_no_class_of_the_model_is_refused(site: Path, label: int) -> None:
    with pytest.raises(BadInput, match=f"label {label}, and the model scores classes 0 to 7"):
        compared(site, [1, 1, label, 1], [1] * 4)


def test_a_model_without_scores_has_no_labels(site: Path) -> None:
    model_file(site, scores(1))
    with pytest.raises(BadInput, match=r"no output is scores, floats of \[rows, classes\]; there are y \[1, 1\]"):
        compared(site, [1] * 4, [1] * 4)


def test_more_samples_are_judged_where_there_are_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((300, 8), np.float32))
    np.save(tmp_path / "labels.npy", np.arange(300))
    with_labels = samples_of(tmp_path / "rows.npy", (X,), tmp_path / "labels.npy")
    assert (len(with_labels.judged), len(with_labels.calibration)) == (128, 32)
    assert with_labels.labels == tuple(range(0, 256, 2))
    assert len(samples_of(tmp_path / "rows.npy", (X,)).judged) == 32
