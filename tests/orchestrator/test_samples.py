"""Files as inputs: what fits is read, what does not is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.backend import TensorSpec
from nodes.errors import BadInput
from orchestrator.samples import MOST, load_inputs, load_samples

X = TensorSpec("x", "float32", (1, 8))
FRAME = TensorSpec("frame", "uint8", (4, 6, 3))
PHOTO = TensorSpec("photo", "uint8", (None,))


def picture(path: Path, width: int = 6, height: int = 4) -> Path:
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    Image.fromarray(pixels).save(path)
    return path


def test_an_npy_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 8), np.float32))
    assert load_inputs(tmp_path / "x.npy", (X,))["x"].shape == (1, 8)


def test_an_npz_names_its_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", a=np.zeros(2), b=np.ones(3))
    assert set(load_inputs(tmp_path / "all.npz", (X,))) == {"a", "b"}


def test_a_picture_is_bytes_or_pixels_as_the_input_wants(tmp_path: Path) -> None:
    path = picture(tmp_path / "photo.png")
    assert load_inputs(path, (PHOTO,))["photo"].tobytes() == path.read_bytes()
    assert load_inputs(path, (FRAME,))["frame"].shape == (4, 6, 3)


def test_a_picture_of_another_size_is_fitted(tmp_path: Path) -> None:
    assert load_inputs(picture(tmp_path / "large.png", 60, 40), (FRAME,))["frame"].shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("absent.npy", None, "no file"),
        ("x.txt", b"1 2 3", "no reader for '.txt' files; give a .npz, .npy or image file"),
        ("x.npy", b"not an array", "x.npy cannot be read"),
        ("x.npy", b"", "x.npy cannot be read"),
        ("x.npz", b"not an archive", "x.npz cannot be read"),
        ("x.png", b"not a picture", "how pixels become that is not known"),
    ],
)
def test_a_file_that_cannot_be_an_input_is_named(tmp_path: Path, name: str, data: bytes | None, told: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput) as refused:
        load_inputs(tmp_path / name, (X,))
    assert told in str(refused.value) and str(tmp_path / name) in str(refused.value)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(BadInput, match=r"x\.png is no picture"):
        load_inputs(tmp_path / "x.png", (FRAME,))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="cannot be read"):
        load_inputs(tmp_path / "x.npy", (X,))


def test_one_file_for_two_inputs_must_name_them(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(1))
    with pytest.raises(BadInput, match=r"2 inputs; give a \.npz with x, frame"):
        load_inputs(tmp_path / "x.npy", (X, FRAME))


def test_samples_of_a_folder_are_its_files_in_order_and_bounded(tmp_path: Path) -> None:
    for index in range(MOST + 4):
        np.save(tmp_path / f"{index:03}.npy", np.full((1, 8), index, np.float32))
    samples = load_samples({"x": tmp_path}, (X,))
    assert [sample["x"][0, 0] for sample in samples] == list(range(MOST))


def test_samples_that_are_missing_or_of_no_input_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="is an empty folder"):
        load_samples({"x": tmp_path / "empty"}, (X,))
    with pytest.raises(BadInput, match="samples of z: the model has no such input"):
        load_samples({"z": tmp_path}, (X,))


def test_without_samples_there_is_one_empty_feed() -> None:
    assert load_samples({}, (X,)) == ({},)


def test_an_archive_without_the_inputs_array_is_named_with_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", a=np.zeros(2))
    with pytest.raises(BadInput, match=r"samples of x: .*all.npz holds no array of that name, only a"):
        load_samples({"x": tmp_path / "all.npz"}, (X,))
