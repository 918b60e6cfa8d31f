"""`isthmus tune`: what it finds is kept, it goes on from there, and Ctrl-C loses nothing."""

import json
import sys
from pathlib import Path

import pytest

from isthmus.verbs.tune import _run, _summary
from nodes.errors import CompileError
from tests.isthmus.conftest import Isthmus
from tests.nodes.onnx_models import dense, saved

pytest.importorskip("tvm")

SAID = {"kernels": 3, "trials": 7, "failed": 0, "before_s": 0.02, "after_s": 0.01, "tuning_s": 4.0}


@pytest.mark.slow
def test_a_second_run_goes_on_where_the_first_ended(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = saved(dense("batch"), tmp_path)
    first, again, more = (
        isthmus("tune", model, "--shape", "x=3,8", "--trials", trials, "--json") for trials in ("2", "2", "3")
    )
    assert [ended.code for ended in (first, again, more)] == [0, 0, 0]
    assert [json.loads(ended.out)["trials"] for ended in (first, again, more)] == [3, 0, 1]
    assert list((tmp_path / "cache").rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--seconds", "0"], "give --trials, --seconds or both"),
        (["--target", "cortex-a72"], "run `isthmus tune` on the cortex-a72"),
        (["--target", "pentium"], "no target 'pentium'; it has host"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    isthmus: Isthmus, tmp_path: Path, options: list[str], told: str
) -> None:
    ended = isthmus("tune", saved(dense(), tmp_path), *options)
    assert ended.code == 1 and told in ended.line


def test_ctrl_c_ends_the_tuner_and_keeps_what_it_said() -> None:
    def pressed(_: str) -> None:
        raise KeyboardInterrupt

    script = f"import json, signal; print(json.dumps({SAID!r}), flush=True); signal.pause()"
    told, interrupted = _run([sys.executable, "-c", script], pressed)
    assert interrupted and told == SAID


def test_progress_is_told_trial_by_trial() -> None:
    heard: list[str] = []
    script = f"import json; print(json.dumps({SAID!r})); print(json.dumps({ {**SAID, 'trials': 8}!r}))"
    told, interrupted = _run([sys.executable, "-c", script], heard.append)
    assert heard == [_summary(SAID), _summary(told)] and told["trials"] == 8 and not interrupted


def test_a_tuner_that_fails_is_told_of_in_its_own_words() -> None:
    with pytest.raises(CompileError, match=r"^no such model$"):
        _run([sys.executable, "-c", "import sys; sys.exit('no such model')"], lambda _: None)
    with pytest.raises(CompileError, match="died of signal 9"):
        _run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], lambda _: None)


def test_the_summary_says_what_was_gained() -> None:
    assert _summary(SAID) == "3 kernels, 7 trials in 4 s: 20 → 10 ms a run"
    assert _summary({**SAID, "trials": 0}) == "nothing was left to try"
    assert _summary({**SAID, "after_s": 0.0}).endswith("none of which ran")
