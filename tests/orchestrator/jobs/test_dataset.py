"""What a job reads: items with ids that stay, and one line for what can't be read."""

import json
import wave
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow.parquet import write_table

from nodes.backend import TensorSpec
from nodes.errors import BadInput
from orchestrator.jobs.dataset import open_dataset
from orchestrator.jobs.errors import JobError

X = (TensorSpec("x", "float32", (1, 3)),)
FRAME = (TensorSpec("frame", "uint8", (4, 6, 3)),)
FILE = (TensorSpec("file", "uint8", (None,)),)
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def picture(path: Path, shade: int = 7) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full((4, 6, 3), shade, np.uint8)).save(path)
    return path


def test_a_folder_s_items_are_its_pictures_by_their_paths(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.png", ".hidden.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    dataset = open_dataset(tmp_path)
    assert dataset.ids() == ["a/c.png", "b.png"]
    dataset.check(FRAME)
    np.testing.assert_array_equal(dataset.feeds("b.png", FRAME)["frame"], np.full((4, 6, 3), 7, np.uint8), strict=True)


def test_a_deployment_that_decodes_gets_the_file_s_bytes(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg")
    found = open_dataset(tmp_path).feeds("a.jpg", FILE)["file"]
    assert found.tobytes() == path.read_bytes()


def test_a_file_that_is_not_what_its_suffix_says_is_the_item_s_fault(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("this is no picture")
    (tmp_path / "bad.wav").write_text("this is no recording")
    dataset = open_dataset(tmp_path)
    with pytest.raises(BadInput, match=r"bad\.png is no picture"):
        dataset.feeds("bad.png", FRAME)
    with pytest.raises(BadInput, match=r"bad\.wav is no recording"):
        dataset.feeds("bad.wav", X)
    with pytest.raises(BadInput, match="no file"):
        dataset.feeds("gone.png", FRAME)


def test_recordings_are_samples_with_channels_averaged(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.array([[16384, 0], [-16384, -16384]], "<i2").tobytes())
    dataset, spec = open_dataset(tmp_path), TensorSpec("audio", "float32", (1, None))
    dataset.check((spec,))
    np.testing.assert_array_equal(dataset.feeds("a.wav", (spec,))["audio"], np.array([[0.25, -0.5]], np.float32))
    assert dataset.feeds("a.wav", (TensorSpec("audio", "float32", (None,)),))["audio"].shape == (2,)


def test_pictures_for_a_model_that_takes_none_are_refused_at_once(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(JobError, match=r"takes x: float32.*give a \.npz"):
        open_dataset(tmp_path).check(X)


def wrote(folder: Path, kind: str) -> Path:
    path = folder / f"rows{kind}"
    match kind:
        case ".npz":
            np.savez(path, allow_pickle=False, x=ROWS)
        case ".jsonl":
            path.write_text("".join(json.dumps({"x": row.tolist()}) + "\n\n" for row in ROWS))
        case _:
            write_table(pyarrow.table({"x": ROWS.tolist()}), path, row_group_size=1)
    return path


@pytest.mark.parametrize("kind", [".npz", ".jsonl", ".parquet"])
def test_a_row_is_an_item(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(wrote(tmp_path, kind))
    dataset.check(X)
    assert list(dataset.ids()) == ["0", "1"]
    for row in (1, 0):
        np.testing.assert_array_equal(dataset.feeds(str(row), X)["x"], ROWS[row][None], strict=True)


@pytest.mark.parametrize("kind", [".npz", ".jsonl", ".parquet"])
def test_a_file_of_rows_that_is_not_what_its_suffix_says_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows{kind}"
    path.write_text("neither rows nor columns")
    with pytest.raises(JobError, match=rf"rows\{kind} cannot be read as \{kind}: .*is it what its suffix says"):
        open_dataset(path)


def test_a_dataset_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("x")
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "rows.csv").touch()
    np.savez(tmp_path / "none.npz", allow_pickle=False, x=np.zeros((0, 3)))
    for name, why in {
        "empty": "is an empty folder",
        "texts": r"holds no picture or recording, only notes\.txt",
        "rows.jsonl": "holds no row",
        "none.npz": "holds no row",
        "rows.csv": r"no reader for '\.csv' files",
        "gone": "no dataset",
    }.items():
        with pytest.raises(JobError, match=why):
            open_dataset(tmp_path / name)


def test_a_row_that_does_not_fit_is_the_item_s_fault(tmp_path: Path) -> None:
    lines = ['{"x": [1, 2', "[1, 2, 3]", '{"y": [1]}', '{"x": [[1], [1, 2]]}', '{"x": "text"}', '{"x": [1, 2, 3]}']
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(['{"x": [0, 0, 0]}', *lines]))
    dataset = open_dataset(path)
    for row, why in enumerate(["no JSON", "no JSON object", "x is missing", "different lengths", "text"], start=1):
        with pytest.raises(BadInput, match=why):
            dataset.feeds(str(row), X)
    assert dataset.feeds("6", X)["x"].tolist() == [[1, 2, 3]]


def test_numbers_that_an_input_cannot_hold_are_refused_not_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": [1, 300]}\n{"x": [1.5, 2]}\n{"x": [1, 2]}\n')
    dataset, spec = open_dataset(path), (TensorSpec("x", "uint8", (2,)),)
    with pytest.raises(BadInput, match="from 1 to 300"):
        dataset.feeds("0", spec)
    with pytest.raises(BadInput, match="float64, wants uint8"):
        dataset.feeds("1", spec)
    assert dataset.feeds("2", spec)["x"].dtype == np.uint8


def test_a_file_that_lacks_an_input_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="lacks z, which the deployment takes"):
        open_dataset(wrote(tmp_path, ".npz")).check((*X, TensorSpec("z", "float32", (1,))))


def test_a_changed_file_has_another_mark(tmp_path: Path) -> None:
    path = wrote(tmp_path, ".jsonl")
    before = open_dataset(path).mark
    path.write_text(path.read_text() + '{"x": [9, 9, 9]}\n')
    assert open_dataset(path).mark != before
