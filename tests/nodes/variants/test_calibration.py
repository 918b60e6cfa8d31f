"""Calibration data: arrays become feeds that fit, and what doesn't is told what the model takes."""

from pathlib import Path

import numpy as np
import pytest

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.variants.calibration import digest, read, split

X = TensorSpec("x", "float32", (1, 4))
N = TensorSpec("n", "int64", (2,))


def ones(*shape: int, times: float = 1.0) -> Array:
    return np.full(shape, times, np.float32)


@pytest.mark.parametrize("shape", [(1, 4), (5, 4), (5, 1, 4)])
def test_arrays_are_split_into_feeds_that_fit(shape: tuple[int, ...]) -> None:
    feeds = split({"x": ones(*shape)}, [X])
    assert len(feeds) == (1 if shape == (1, 4) else 5)
    assert {feed["x"].shape for feed in feeds} == {(1, 4)}


def test_inputs_of_one_archive_go_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ones(3, 4), n=np.arange(6).reshape(3, 2))
    feeds = read(tmp_path / "a.npz", [X, N])
    assert [feed["n"].tolist() for feed in feeds] == [[0, 1], [2, 3], [4, 5]]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name, value in (("b.npy", 2.0), ("a.npy", 1.0)):
        np.save(tmp_path / name, ones(2, 4, times=value))
    (tmp_path / "notes.txt").write_text("none")
    assert [float(np.asarray(feed["x"]).max()) for feed in read(tmp_path, [X])] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": ones(1, 4)}, r"missing 'x'; the model takes x float32\[1, 4\]"),
        ({"x": ones(1, 4), "y": ones(1)}, r"surplus 'y'; the model takes x"),
        ({"x": np.ones((1, 4))}, r"'x' is float64\[1, 4\]; the model takes x float32\[1, 4\], or several"),
        ({"x": ones(3, 5)}, r"'x' is float32\[3, 5\]; the model takes"),
        ({"x": ones(0, 4)}, r"'x' is empty, of shape \[0, 4\]"),
    ],
)
def test_what_does_not_fit_is_told_what_the_model_takes(arrays: dict[str, Array], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        split(arrays, [X])


def test_numbers_that_disagree_are_told() -> None:
    with pytest.raises(BadInput, match="inputs differ in number: 3 of x, 1 of n"):
        split({"x": ones(3, 4), "n": np.arange(2)}, [X, N])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.npy", b"no array", "cannot be read as NumPy arrays"), ("a.txt", b"1", r"no \.npy or \.npz file")],
)
def test_a_file_that_is_no_data_is_told_in_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said) as caught:
        read(tmp_path / name, [X])
    assert "\n" not in str(caught.value)


def test_an_empty_folder_holds_no_data(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no calibration data"):
        read(tmp_path, [X])


def test_one_array_does_not_serve_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ones(1, 4))
    with pytest.raises(BadInput, match=r"the model has 2 inputs; give a \.npz with x, n"):
        read(tmp_path / "a.npy", [X, N])


def test_the_digest_covers_names_shapes_and_values() -> None:
    several = [{"x": ones(4)}, {"y": ones(4)}, {"x": ones(2, 2)}, {"x": ones(4, times=2.0)}]
    assert len({digest([feed]) for feed in several} | {digest(several)}) == 5
