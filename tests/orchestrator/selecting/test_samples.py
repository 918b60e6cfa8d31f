"""Half of the data calibrates, the other half judges."""

from pathlib import Path

import numpy as np
import pytest

from nodes.backend import TensorSpec
from nodes.errors import BadInput
from orchestrator.selecting.samples import Feeds, Samples, samples_of

X = TensorSpec("x", "float32", (1, 3))
PICTURE = TensorSpec("picture", "uint8", (2, 2, 3))


def values(feeds: tuple[Feeds, ...]) -> list[float]:
    return [float(one["x"].flat[0]) for one in feeds]


def test_no_sample_is_in_both_halves(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(15, dtype=np.float32).reshape(5, 3))
    found = samples_of(tmp_path / "rows.npy", (X,))
    assert (values(found.judged), values(found.calibration)) == ([0.0, 6.0, 12.0], [3.0, 9.0])


def test_a_single_sample_is_in_both_and_that_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.ones((1, 3), np.float32))
    found = samples_of(tmp_path / "one.npz", (X,))
    assert values(found.judged) == values(found.calibration) == [1.0]
    assert found.told.endswith("which forms were calibrated by too")


def test_seeded_samples_are_the_same_each_time_and_differ_from_each_other() -> None:
    first, second = samples_of(None, (X,)), samples_of(None, (X,))
    assert values(first.judged) == values(second.judged)
    assert len({*values(first.judged), *values(first.calibration)}) == 16


def test_a_folder_may_hold_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in ("a.png", "b.png"):
        image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    found: Samples = samples_of(tmp_path, (PICTURE,))
    assert [one["picture"].shape for one in found.judged] == [(2, 2, 3)]


def test_an_input_without_a_shape_needs_a_real_sample() -> None:
    with pytest.raises(BadInput, match=r"input x uint8\[\?\] needs a real sample; give one by --data"):
        samples_of(None, (TensorSpec("x", "uint8", (None,)),))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is an empty folder; put"):
        samples_of(tmp_path, (X,))
