"""`isthmus jobs`: what is wrong usage, and how a job is told."""

from pathlib import Path

import pytest

from isthmus.verbs.jobs import progress_line
from orchestrator.jobs.terms import JobStatus, JobTerms
from tests.isthmus.conftest import Isthmus


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["data", "--output", "out.npz"], "--deployment NAME or --spec FILE"),
        (["data", "--deployment", "a", "--spec", "b.yaml", "--output", "out.npz"], "one of them"),
        (["data", "--deployment", "a"], "somewhere to put"),
        (["script.py", "--output", "out.npz"], "a script takes no"),
        (["data", "--deployment", "a", "--output", "out.npz", "--", "x"], "only a script"),
        (["data", "--deployment", "a", "--output", "out.npz", "--in-flight", "0"], "--in-flight"),
    ],
)
def test_words_that_do_not_go_together_are_wrong_usage(isthmus: Isthmus, words: list[str], why: str) -> None:
    ended = isthmus("jobs", "submit", *words)
    assert ended.code == 2
    assert why in " ".join(ended.err.replace("│", " ").split())


@pytest.mark.parametrize("words", [["list"], ["status", "a"], ["logs", "a"], ["stop", "a"], ["delete", "a"]])
def test_where_nothing_runs_a_line_says_so(isthmus: Isthmus, words: list[str]) -> None:
    ended = isthmus("jobs", *words)
    assert ended.code == 1 and "nothing runs on this machine; start with: isthmus deploy SPEC" in ended.line


def test_nothing_is_started_for_a_job_where_nothing_runs(isthmus: Isthmus, tmp_path: Path) -> None:
    ended = isthmus("jobs", "submit", tmp_path, "--deployment", "a", "--output", tmp_path / "out.npz")
    assert ended.code == 1 and "nothing runs on this machine" in ended.line


def status(state: str = "RUNNING", **more: object) -> JobStatus:
    given: dict[str, object] = {"name": "a", "state": state, "why": "", "terms": JobTerms(name="a"), "submitted_s": 0.0}
    return JobStatus(**given | more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("eta_s", "told"),
    [(59.6, "1 min 0 s left"), (7.2, "7 s left"), (3700.0, "1 h 1 min left"), (125.0, "2 min 5 s left")],
)
def test_progress_tells_items_rate_and_what_is_left(eta_s: float, told: str) -> None:
    at_work = status(total=100, done=40, failed=2, rate_per_s=12.345, eta_s=eta_s)
    assert progress_line(at_work) == f"RUNNING, 40 of 100 items, 2 failed, 12.3 a second, {told}"


def test_a_job_that_is_over_has_nothing_left_and_one_that_has_not_begun_no_items() -> None:
    assert progress_line(status("STOPPED", total=100, done=40, eta_s=3.0)) == "STOPPED, 40 of 100 items"
    assert progress_line(status("PENDING")) == "PENDING"
