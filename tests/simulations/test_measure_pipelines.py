"""The command line of scripts.measure_pipelines; what it measures takes minutes and is tried by hand."""

import sys

import pytest

from scripts import measure_pipelines


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [("--help", 0, "efficientnet_lite0, minilm, ocr_detect"), ("yolo", 2, "no model 'yolo'; there are efficient")],
)
def test_help_and_models_that_are_none_are_answered_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, code: int, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure_pipelines", given])
    with pytest.raises(SystemExit) as ended:
        measure_pipelines.main()
    assert ended.value.code == code
    assert said in " ".join("".join(capsys.readouterr()).split())
