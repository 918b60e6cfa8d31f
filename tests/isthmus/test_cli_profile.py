"""`isthmus profile --tuner`: what can't be is said in one line, before anything is measured."""

import sys
from pathlib import Path

import pytest

from tests.isthmus.conftest import Isthmus
from tests.isthmus.given import model_file, topology_file
from tests.nodes.onnx_models import dense


def test_a_tuner_without_time_is_wrong_usage(isthmus: Isthmus, tmp_path: Path) -> None:
    model, topology = model_file(tmp_path, dense()), topology_file(tmp_path)
    ended = isthmus("profile", model, "-T", topology, "--tuner", "optuna")
    assert ended.code == 2 and "--tuner: needs --tune SECONDS" in ended.err


@pytest.mark.parametrize(
    ("tuner", "way_out"), [("optuna", 'pip install "isthmus[tune]"'), ("grid", "there are learned, optuna")]
)
def test_a_tuner_that_is_not_there_names_the_way_to_it(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuner: str, way_out: str
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    model, topology = model_file(tmp_path, dense()), topology_file(tmp_path)
    ended = isthmus("profile", model, "-T", topology, "--tune", 5, "--tuner", tuner)
    assert ended.code == 1 and way_out in ended.line
