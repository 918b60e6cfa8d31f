"""Claims about the journal: what was appended is there after any death, and recovering decides nothing."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.headers import VERSION
from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.events import Event, NodeLost, RouterJoined, Tick
from orchestrator.instructions import Instruction
from orchestrator.journal import Journal, recover
from orchestrator.recording import read_recording
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
SPLIT, DEVICE = plan_on("camera", "cloud", latency_s=0.05), plan_on("camera", latency_s=0.1)
APPENDING = """
import sys
from pathlib import Path
from orchestrator.instructions import Instruction
from orchestrator.journal import Journal
from tests.builders import uplink
journal = Journal(Path(sys.argv[1]))
while True:
    print(journal.append(uplink(10), (), 1.0), flush=True)
"""


class Recorded(Cluster):
    """A cluster whose controller keeps a journal."""

    journal: Journal

    def tell(self, event: Event) -> tuple[Instruction, ...]:
        given = super().tell(event)
        self.journal.append(event, given, self.now_s)
        return given


def recorded(path: Path) -> Recorded:
    """A deployment that runs its second epoch, all of it recorded."""
    cluster = Recorded(DEVICE)
    cluster.journal = Journal(path, code_version="0.1.0")
    cluster.tell(deploy_requested())
    cluster.tell(RouterJoined(deployment="classify", router="r1"))
    cluster.settle()
    cluster.now_s = 60.0
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    cluster.settle()
    return cluster


def test_records_are_read_back_as_they_were(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db", code_version="0.1.0") as journal:
        given = Control().handle(deploy_requested(), 1.5)
        journal.append(deploy_requested(), given, 1.5)
        (record,) = journal.read()
    assert (record.event, record.instructions, record.now_s) == (deploy_requested(), given, 1.5)
    assert (record.seq, record.code_version) == (1, "0.1.0")


def test_a_recovered_core_knows_what_the_old_one_knew(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    found = recover(tmp_path / "j.db")
    assert found.snapshot() == cluster.control.snapshot()
    assert found.status()["deployments"]["classify"]["epoch"] == 2


def test_recovery_follows_the_record_even_where_today_it_would_decide_otherwise(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    stubborn = Control(min_gain=0.99)
    assert recover(tmp_path / "j.db", stubborn).snapshot() == cluster.control.snapshot()


def test_a_snapshot_bounds_the_journal_and_recovers_the_same(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    last = [record.seq for record in cluster.journal.read()][-1]
    cluster.journal.snapshot(cluster.control, 70.0)
    assert list(cluster.journal.read()) == []
    cluster.tell(NodeLost(node="cloud"))
    assert [record.seq for record in cluster.journal.read()] == [last + 1]
    assert recover(tmp_path / "j.db").snapshot() == cluster.control.snapshot()


def test_the_newest_snapshot_is_the_one_that_counts(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    cluster.journal.snapshot(cluster.control, 70.0)
    cluster.tell(NodeLost(node="cloud"))
    cluster.journal.snapshot(cluster.control, 80.0)
    assert recover(tmp_path / "j.db").snapshot() == cluster.control.snapshot()


def test_what_was_ordered_and_not_answered_is_outstanding_after_recovery(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    cluster.plan = DEVICE
    cluster.tell(NodeLost(node="cloud"))
    cluster.tell(cluster.answers.popleft())
    outstanding = recover(tmp_path / "j.db").outstanding()
    assert [type(each).__name__ for each in outstanding] == ["LoadStage"]


@pytest.mark.slow
def test_every_append_that_returned_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().splitlines()]
    process.stdout.close()
    process.wait()
    with Journal(path) as journal:
        found = [record.seq for record in journal.read()]
        assert found[: len(told)] == told and len(found) <= len(told) + 1
        assert journal.append(Tick(), (), 2.0) == len(found) + 1


def test_a_full_disk_is_said_and_leaves_what_is_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.append(Tick(), (), 1.0)
    journal._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to run out of room
    with pytest.raises(JournalError, match=r"j\.db: the disk is full; free some space"):
        for _ in range(1000):
            journal.append(deploy_requested(), (), 1.0)
    assert next(iter(journal.read())).event == Tick()
    journal.close()


def test_every_record_says_which_code_wrote_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.append(Tick(), (), 1.0)
        journal.snapshot(Control(), 1.0)
        journal.append(Tick(), (), 2.0)
        snapshot, (record,) = journal.last_snapshot(), journal.read()
    assert snapshot is not None
    assert snapshot.code_version == record.code_version
    assert re.fullmatch(rf"\d[\w.]*\+wire{VERSION}", record.code_version)


def rewritten(path: Path, before: str, after: str) -> None:
    """Every record's event and instructions, with a piece of their text replaced, by version 0.0.9."""
    db = sqlite3.connect(path, isolation_level=None)
    for column in ("event", "instructions"):
        db.execute(f"UPDATE records SET {column} = replace({column}, ?, ?), code_version = '0.0.9'", (before, after))
    db.close()


def test_a_journal_of_the_version_before_is_folded(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    cluster.journal.close()
    rewritten(tmp_path / "j.db", '"load_s":0.5', '"was_called":"load"')  # lacks a field that has a default, has another
    stages = recover(tmp_path / "j.db").status()["deployments"]["classify"]["epochs"][0]["stages"]
    assert [stage["load_s"] for stage in stages] == [0.0, 0.0]


def test_a_snapshot_of_the_version_before_is_read(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    cluster.journal.snapshot(cluster.control, 70.0)
    db = cluster.journal._db
    (text,) = db.execute("SELECT knowledge FROM snapshots").fetchone()
    older = text.replace('"renewal":"","', '"mood":"fine","')  # lacks a field that has a default, has another
    assert older != text
    db.execute("UPDATE snapshots SET knowledge = ?, code_version = '0.0.9'", (older,))
    cluster.tell(NodeLost(node="cloud"))
    assert recover(tmp_path / "j.db").snapshot() == cluster.control.snapshot()


def test_an_event_of_another_version_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    recorded(tmp_path / "j.db").journal.close()
    rewritten(tmp_path / "j.db", '"is":"LinkObserved"', '"is":"LinkFelt"')
    with pytest.raises(
        JournalError, match=r"j\.db: record \d+, written by 0\.0\.9: 'LinkFelt' is not known"
    ) as refused:
        recover(tmp_path / "j.db")
    assert "\n" not in str(refused.value)


def test_a_journal_is_read_while_it_is_written_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    before = len(read_recording(tmp_path / "j.db").records)
    cluster.tell(uplink(401))
    assert len(read_recording(tmp_path / "j.db").records) == before + 1
    cluster.journal.close()
    there = sorted(tmp_path.iterdir())
    assert len(read_recording(tmp_path / "j.db").records) == before + 1
    assert sorted(tmp_path.iterdir()) == there


def test_a_journal_cut_off_in_the_middle_is_said_to_be_torn(tmp_path: Path) -> None:
    recorded(tmp_path / "j.db").journal.close()
    os.truncate(tmp_path / "j.db", (tmp_path / "j.db").stat().st_size // 2)
    with pytest.raises(JournalError, match=r"j\.db: it is torn"):
        recover(tmp_path / "j.db")


def test_a_journal_that_lacks_a_record_is_said_to_be_torn(tmp_path: Path) -> None:
    cluster = recorded(tmp_path / "j.db")
    cluster.journal._db.execute("DELETE FROM records WHERE seq = 3")
    with pytest.raises(JournalError, match="it is torn: record 3 is missing before record 4"):
        recover(tmp_path / "j.db")


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at" * 100])
def test_a_file_that_is_no_journal_is_not_read_as_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j.db").write_bytes(content)
    with pytest.raises(JournalError, match=r"j\.db: this file is not a journal"):
        read_recording(tmp_path / "j.db")


def test_another_writer_is_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.journal.BUSY_S", 0.01)
    with Journal(tmp_path / "j.db") as journal:
        other = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another controller is writing it"):
            journal.append(Tick(), (), 1.0)
        other.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(JournalError, match="this file is not a journal"):
        Journal(tmp_path / "j.db")


def test_recovering_from_nothing_says_that_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no such file"):
        recover(tmp_path / "j.db")


def test_a_journal_in_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="make its folder"):
        Journal(tmp_path / "none" / "j.db")
