"""Claims about replaying: the same code decides the same, another's differences are found, and only where they are."""

from pathlib import Path

import pytest

from nodes.code_version import code_version
from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.instructions import KeepEpoch
from orchestrator.recording import read_recording
from orchestrator.replay import Step, replay
from tests.orchestrator.incident import record


def replayed(path: Path, control: Control | None = None) -> list[Step]:
    return list(replay(read_recording(path), control))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("snapshot_after", [0, 25])
def test_the_same_code_decides_the_same(tmp_path: Path, seed: int, snapshot_after: int) -> None:
    record(tmp_path / "j.db", seed=seed, snapshot_after=snapshot_after)
    steps = replayed(tmp_path / "j.db")
    assert len(steps) > 50
    assert [step for step in steps if step.diverges] == []


def test_a_core_that_wants_more_gain_diverges_where_a_plan_was_weighed_and_nowhere_else(tmp_path: Path) -> None:
    record(tmp_path / "j.db", seed=1)
    steps = [step for step in replayed(tmp_path / "j.db", Control(min_gain=0.999)) if step.diverges]
    assert 0 < len(steps) < 50
    assert all(isinstance(step.decided[0], KeepEpoch) for step in steps)


def test_only_what_this_very_version_wrote_is_a_failure(tmp_path: Path) -> None:
    record(tmp_path / "ours.db", seed=1)
    record(tmp_path / "theirs.db", seed=1, version="0.0.9+wire0")
    ours, theirs = (
        [step for step in replayed(tmp_path / f"{whose}.db", Control(min_gain=0.999)) if step.diverges]
        for whose in ("ours", "theirs")
    )
    assert ours[0].record.code_version == code_version()
    assert [step.is_failure for step in ours] == [True] * len(theirs)
    assert not any(step.is_failure for step in theirs)


def test_an_event_that_this_version_refuses_is_a_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "j.db", seed=1, events=5)

    def refuse(*_: object) -> None:
        raise JournalError("no such thing")

    monkeypatch.setattr(Control, "handle", refuse)
    steps = replayed(tmp_path / "j.db")
    assert all(step.diverges and step.error == "no such thing" for step in steps)


def test_a_record_that_can_not_be_followed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "j.db", seed=1, events=5, version="0.0.9+wire0")

    def refuse(*_: object) -> None:
        raise AssertionError("an epoch that is gone")

    monkeypatch.setattr(Control, "fold", refuse)
    with pytest.raises(JournalError, match=r"j\.db: record 1, written by 0\.0\.9\+wire0, cannot be followed by"):
        replayed(tmp_path / "j.db")
