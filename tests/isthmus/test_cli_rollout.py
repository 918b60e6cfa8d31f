"""`isthmus rollout` and `rollback`: terms from options, what is refused, and how versions and trials are shown."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from isthmus.render import rollout_line
from isthmus.verbs.rollout import history_table
from nodes.errors import BadInput
from orchestrator.rollout_terms import AB, CANARY, SHADOW, RolloutTerms, terms_of, told
from tests.isthmus.conftest import Isthmus

PLAIN: dict[str, Any] = {
    "canary": [], "ab": None, "shadow": None, "promotes": None, "max_error_rate": 0.01, "max_slowdown": 1.2,
    "max_drift": 0.1, "max_disagreement": -1.0, "min_requests": 100, "min_s": 10.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "mode", "weights", "promotes"),
    [
        ({}, CANARY, (0.1,), True),
        ({"canary": [1.0, 10.0, 50.0]}, CANARY, (0.01, 0.1, 0.5), True),
        ({"ab": 50.0}, AB, (0.5,), False),
        ({"shadow": 100.0, "promotes": True}, SHADOW, (1.0,), True),
    ],
)
def test_options_become_terms_and_only_a_canary_promotes_itself(
    given: dict[str, Any], mode: str, weights: tuple[float, ...], promotes: bool
) -> None:
    terms = terms_of(**PLAIN | given)
    assert (terms.mode, terms.weights, terms.promotes) == (mode, weights, promotes)
    assert (terms.max_drift, terms.max_disagreement) == (0.1, None)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--canary", "10", "--shadow", "20"], "give one of --canary, --ab and --shadow"),
        (["--canary", "50", "--canary", "10"], "must grow from step to step"),
        (["--canary", "100"], "nothing to compare it with"),
        (["--ab", "0"], "must be parts of the requests"),
    ],
)
def test_terms_that_cannot_be_are_refused_in_one_line(
    isthmus: Isthmus, tmp_path: Path, options: list[str], fault: str
) -> None:
    ended = isthmus("rollout", tmp_path / "spec.yaml", *options)
    assert ended.code == 1 and fault in ended.line


@pytest.mark.parametrize("words", [["history"], ["promote"], ["spec.yaml", "name"]])
def test_words_that_do_not_go_together_are_wrong_usage(isthmus: Isthmus, words: list[str]) -> None:
    assert isthmus("rollout", *words).code == 2


def test_terms_without_a_mode_of_their_own_are_refused() -> None:
    with pytest.raises(BadInput, match="known are canary, ab, shadow"):
        RolloutTerms(mode="blue")


def test_shares_are_told_in_words() -> None:
    assert told(CANARY, 0.1) == "10 % of the requests go to it"
    assert told(AB, 0.5) == "50 % of the keys go to it"
    assert (told(SHADOW, 1.0), told(SHADOW, 0.2)) == (
        "every request is also sent to it",
        "20 % of the requests are also sent to it",
    )


def test_history_has_a_row_for_all_that_became_of_a_version() -> None:
    steps = [
        {"at_s": 0.0, "state": "on trial", "why": "10 % of the requests go to it"},
        {"at_s": 60.0, "state": "rolled back", "why": "it is slower"},
    ]
    table = history_table([{"version": 2, "spec": "e" * 64, "state": "rolled back", "steps": steps}])
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    assert "2 (eeeeeeee)  1970-01-01 00:00:00  on trial" in lines[1]
    assert "1970-01-01 00:01:00  rolled back  it is slower" in lines[2]


def test_a_trial_is_told_in_a_line_with_both_versions_figures() -> None:
    new = {"answered": 40, "failed": {"fault": 1}, "median_s": 0.012}
    trial = {
        "version": 3, "mode": "canary", "weight": 0.1, "verdict": "wait", "reason": "41 of 100 requests",
        "new": new, "old": {"answered": 400, "failed": {}, "median_s": 0.01},
    }  # fmt: skip
    assert rollout_line(trial) == (
        "version 3 on trial (canary, 10%): 40 answered and 1 failed, 12.0 ms, against 400 and 0, 10.0 ms; "
        "wait: 41 of 100 requests"
    )
