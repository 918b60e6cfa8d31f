"""`isthmus export`: a folder for a board, or one line that says what stands in the way."""

import json
from pathlib import Path

import pytest

from tests.isthmus.conftest import Isthmus
from tests.nodes.boards import needs
from tests.nodes.onnx_models import dense, saved

pytest.importorskip("tvm")


def test_an_unknown_core_is_refused_with_the_known_ones(isthmus: Isthmus, tmp_path: Path) -> None:
    ended = isthmus("export", saved(dense(), tmp_path), "--target", "cortex-x9", "-o", tmp_path / "board")
    assert ended.code == 1 and "cortex-x9" in ended.line and "cortex-a72" in ended.line
    assert not (tmp_path / "board").exists()


def test_a_folder_that_holds_something_is_left_alone(isthmus: Isthmus, tmp_path: Path) -> None:
    ended = isthmus("export", saved(dense(), tmp_path), "--target", "cortex-a72", "-o", tmp_path)
    assert ended.code == 1 and "is not an empty folder" in ended.line


@pytest.mark.slow
def test_a_free_shape_is_given_and_the_folder_runs_by_itself(isthmus: Isthmus, tmp_path: Path) -> None:
    needs("aarch64-linux-gnu-g++")
    model, board = saved(dense("batch"), tmp_path), tmp_path / "board"
    ended = isthmus("export", model, "--target", "cortex-a72", "-o", board, "--shape", "x=3,8", "--json")
    told = json.loads(ended.out)
    assert ended.code == 0 and told["inputs"] == [["x", "float32", [3, 8]]]
    assert {"lib.so", "runner", "README"} <= {path.name for path in board.iterdir()}
    assert told["bytes"] == sum(path.stat().st_size for path in board.iterdir())
