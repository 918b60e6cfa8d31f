"""Claims about the journal: what was appended is there after any death, and recovering decides nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.events import Event, NodeLost, RouterJoined, Tick
from orchestrator.instructions import Instruction
from orchestrator.journal import Journal, recover
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
