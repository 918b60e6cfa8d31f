"""Claims about `isthmus replay`: what it prints, what it exits with, and that it only reads."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.control import Control
from orchestrator.journal import Journal
from tests.builders import deploy_requested
from tests.isthmus.conftest import Isthmus
from tests.orchestrator.incident import Recorded, record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """An incident with a snapshot in the middle."""
    record(tmp_path / "j.db", seed=3, snapshot_after=20)
    return tmp_path / "j.db"


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that decides otherwise than the one that wrote the journal."""
    monkeypatch.setattr("orchestrator.replay.Control", lambda: Control(min_gain=0.999))


def test_every_event_is_shown_with_what_was_decided_and_why(isthmus: Isthmus, journal: Path) -> None:
    done = isthmus("replay", journal)
    assert (done.code, done.err) == (0, "")
    assert "go on from a snapshot after record" in done.out
    assert "LinkObserved source=camera target=cloud goodput=" in done.out
    assert "FindPlan deployment=" in done.out and ": link camera → cloud went from" in done.out
    assert ", 0 of them otherwise" in done.out


def test_a_deployment_s_story_can_be_told_alone_from_a_record_on(isthmus: Isthmus, journal: Path) -> None:
    told = json.loads(isthmus("replay", journal, "--json", "--deployment", "read", "--from", "90").out)
    assert told["decided_again"] > len(told["records"]) > 0
    for step in told["records"]:
        assert step["seq"] >= 90
        assert "read" in [each.get("deployment") for each in (step["event"], *step["recorded"])]


@pytest.mark.usefixtures("stubborn")
def test_a_divergence_is_marked_and_shown_whatever_was_asked_for(isthmus: Isthmus, journal: Path) -> None:
    done = isthmus("replay", journal, "--from", "100000")
    assert done.code == 1
    assert "≠ recorded: OpenEpoch" in done.out and "≠ now:      KeepEpoch" in done.out
    assert "written by this very version" in done.out


@pytest.mark.usefixtures("stubborn")
def test_another_version_s_divergences_are_told_and_no_failure(isthmus: Isthmus, tmp_path: Path) -> None:
    record(tmp_path / "j.db", seed=3, events=30, version="0.0.9+wire0")
    done = isthmus("replay", tmp_path / "j.db")
    assert done.code == 0
    assert "were written by another version, which may decide otherwise" in done.out
    assert json.loads(isthmus("replay", tmp_path / "j.db", "--json").out)["divergences"] > 0


def test_a_live_journal_is_replayed_and_its_writer_is_not_disturbed(isthmus: Isthmus, tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    with Journal(path, reserve_bytes=1) as journal:
        cluster = Recorded(journal)
        cluster.tell(deploy_requested())
        assert json.loads(isthmus("replay", path, "--json").out)["decided_again"] == 1
        cluster.settle()
        assert json.loads(isthmus("replay", path, "--json").out)["decided_again"] > 3


def test_nothing_is_written_beside_it(isthmus: Isthmus, journal: Path) -> None:
    journal.chmod(0o444)
    before = sorted(path for path in journal.parent.iterdir() if path.name != "home")
    assert isthmus("replay", journal).code == 0
    assert sorted(path for path in journal.parent.iterdir() if path.name != "home") == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file"),
        (b"", "this file is not a journal"),
        (b"SQLite format 3\0" + b"torn" * 4000, "is torn|is not a journal"),
    ],
)
def test_what_is_no_journal_is_refused_in_one_line(
    isthmus: Isthmus, tmp_path: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "x.db").write_bytes(content)
    done = isthmus("replay", tmp_path / "x.db")
    assert done.code == 1
    assert done.line.startswith(f"journal {tmp_path / 'x.db'}: ")
    assert any(one in done.line for one in why.split("|"))


def test_what_can_be_told_is_told_before_the_record_that_can_not(isthmus: Isthmus, journal: Path) -> None:
    db = sqlite3.connect(journal, isolation_level=None)
    (last,) = db.execute("SELECT max(seq) FROM records").fetchone()
    impossible = '[{"is": "DropStage", "deployment": "read", "epoch": 999, "stage": "s", "node": "mec"}]'
    db.execute("UPDATE records SET instructions = ?, code_version = '0.0.9' WHERE seq = ?", (impossible, last))
    db.close()
    done = isthmus("replay", journal)
    assert done.code == 1
    assert f"record {last}, written by 0.0.9, cannot be followed" in done.line
    assert "FindPlan" in done.out


@pytest.mark.slow
def test_two_hash_seeds_print_the_same(journal: Path) -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-m", "isthmus", "replay", str(journal), *how],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for how in ([], ["--json"])
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[2] == outputs[3]
    assert outputs[0].count("OpenEpoch") > 10
