"""Claims about the lab's check of its journals: sound ones pass, and one decision changed is found and named."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from isthmus.verbs.replay import replay_journal
from tests.lab.journals import all_replay, check, fault, journals_below
from tests.orchestrator.incident import record

Told = Callable[[Path], str]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "head" / ".local" / "journal.sqlite"
    path.parent.mkdir(parents=True)
    record(path, seed=3, events=20)
    return path


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def replayed(path: Path) -> str:
        replay_journal(path, from_seq=0, deployment=None, as_json=True)
        return capsys.readouterr().out

    return replayed


def corrupted(sound: Path) -> tuple[Path, int]:
    """A copy in which one search was asked for another reason, and the number of that record."""
    path = sound.with_name("20260101T000000-journal.sqlite")
    shutil.copy(sound, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        asked = "SELECT seq, instructions FROM records WHERE instructions LIKE '%FindPlan%' ORDER BY seq DESC"
        seq, text = db.execute(asked).fetchone()
        given = json.loads(text)
        next(one for one in given if one["is"] == "FindPlan")["reason"] = "on a whim"
        db.execute("UPDATE records SET instructions = ? WHERE seq = ?", (json.dumps(given), seq))
    return path, seq


def test_a_sound_journal_has_no_fault(sound: Path, told: Told) -> None:
    assert fault(sound, [told(sound)] * 2) is None


def test_one_changed_decision_is_named_with_its_journal_and_both_sides(sound: Path, told: Told) -> None:
    path, seq = corrupted(sound)
    found = fault(path, [told(path)] * 2)
    assert found is not None
    assert f"{path}: 1 of " in found and f"the first is {seq}, " in found
    assert "on a whim" in found.split("decided  ")[0] and "on a whim" not in found.split("decided  ")[1]


def test_replays_that_differ_are_a_fault_though_neither_diverges_from_the_record(sound: Path, told: Told) -> None:
    one, other = told(sound), json.loads(told(sound))
    other["records"][4]["event"]["is"] = "Tick"
    found = fault(sound, [one, json.dumps(other)])
    assert found is not None and found.endswith("first at record 5")


def test_journals_put_aside_are_found_and_where_there_is_none_that_is_said(sound: Path, tmp_path: Path) -> None:
    path, _ = corrupted(sound)
    assert journals_below([tmp_path]) == [path, sound]
    with pytest.raises(AssertionError, match="no journal was written"), all_replay(tmp_path / "camera"):
        pass


@pytest.mark.slow
def test_two_processes_replay_a_journal_that_is_still_open(sound: Path) -> None:
    with closing(sqlite3.connect(sound)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        check([sound])
        path, _ = corrupted(sound)
        with pytest.raises(AssertionError, match=r"1 of \d+ records are decided otherwise"):
            check([sound, path])
