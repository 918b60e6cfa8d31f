"""A job's ledger: every item ends once, whatever is killed when; states go by their table."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import IllegalTransition
from orchestrator.jobs import lock
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.ledger import End, Ledger, LedgerFull
from orchestrator.jobs.packing import packed, unpacked
from orchestrator.jobs.terms import JobTerms
from orchestrator.states import JOB, JOB_ENDS
from tests.eventually import eventually
from tests.orchestrator.jobs.ledgers import answered, begun

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from pathlib import Path
from orchestrator.jobs.ledger import Ledger
from tests.orchestrator.jobs.ledgers import answered
with Ledger(Path(sys.argv[1])) as ledger:
    for position, _ in ledger.left():
        ledger.end([answered(position), answered(max(0, position - 1))])
        print(position, flush=True)
"""


def test_an_item_that_ended_does_not_end_again(tmp_path: Path) -> None:
    with begun(tmp_path, 3) as ledger:
        assert ledger.end([answered(1)]) == 1
        assert ledger.end([End(1, None, "late"), answered(2)]) == 1
        assert ledger.left() == [(0, "0000")]
        assert [item for _, item, _ in ledger.answers()] == ["0001", "0002"]
        assert ledger.counts() == (3, 2, 0)


def test_failures_are_counted_and_told_in_order(tmp_path: Path) -> None:
    with begun(tmp_path, 3) as ledger:
        ledger.end([End(2, None, "no picture"), answered(1), End(0, None, "no file")])
        assert ledger.failures() == [("0000", "no file"), ("0002", "no picture")]
        assert ledger.failures(1) == [("0000", "no file")]
        assert ledger.counts() == (3, 3, 2)


@pytest.mark.slow
def test_a_writer_killed_again_and_again_leaves_each_item_ended_once(tmp_path: Path) -> None:
    count, kills = 1500, 0
    begun(tmp_path, count).close()
    while True:
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(200 + 7 * kills):  # so that it is killed at other points of its work each time
                if not writer.stdout.readline():
                    break
            else:
                writer.kill()
                kills += 1
                continue
        assert writer.returncode == 0
        break
    with Ledger(tmp_path) as ledger:
        found = [(position, unpacked(data)["y"].tolist()) for position, _, data in ledger.answers()]
        assert found == [(position, [position, position + 1]) for position in range(count)]
        assert ledger.left() == []
    assert kills >= 3


def test_what_is_noted_in_part_is_not_noted_at_all(tmp_path: Path) -> None:
    with begun(tmp_path, 3) as ledger:
        with pytest.raises(JobError, match="cannot be used"):
            ledger.end([answered(0), End("one", None, "no number")])  # type: ignore[arg-type]
        assert ledger.counts() == (3, 0, 0)


def test_a_full_disk_is_told_from_a_broken_ledger(tmp_path: Path) -> None:
    with begun(tmp_path, 300) as ledger:
        ledger._db.execute("PRAGMA max_page_count = 24")
        with pytest.raises(LedgerFull, match="disk is full"):
            ledger.end([End(position, bytes(4000), None) for position in range(300)])
        assert ledger.counts() == (300, 0, 0)


def test_a_ledger_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=str(tmp_path)):
        Ledger(tmp_path)
    (tmp_path / "job.sqlite").write_text("this is no database" * 100)
    with pytest.raises(JobError, match=r"job\.sqlite"):
        Ledger(tmp_path)


def test_states_are_those_of_ray_jobs_and_ends_have_no_way_on() -> None:
    assert {state for state, _ in JOB} | set(JOB.values()) == {"PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"}
    assert not {state for state, _ in JOB} & set(JOB_ENDS)


def test_a_job_that_is_over_cannot_begin_again_and_says_its_story(tmp_path: Path) -> None:
    with begun(tmp_path) as ledger:
        ledger.step("start", "a new driver")
        ledger.step("succeed", "3 items")
        with pytest.raises(IllegalTransition, match=r"'start' is not possible when 'SUCCEEDED'.*start at .* RUNNING"):
            ledger.step("start")
        assert ledger.is_over


def test_terms_of_another_version_are_read(tmp_path: Path) -> None:
    terms = JobTerms(name="a", kind="script", script="/s.py", arguments=("-x", "1"), folder="/")
    assert JobTerms.from_json(terms.to_json()) == terms
    assert JobTerms.from_json('{"name": "a", "colour": "blue"}') == JobTerms(name="a")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_tensors_are_unpacked_as_they_were_packed(dtype: str) -> None:
    given = {
        "y": np.arange(6).reshape(1, 2, 3).astype(dtype),
        "none": np.zeros((0, 4), dtype),
        "one": np.ones((), dtype),
    }
    found = unpacked(packed(given))
    assert list(found) == list(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_a_lock_is_its_holders_until_that_dies_however(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from orchestrator.jobs import lock\n"
        "with lock.held(Path(sys.argv[1])) as ours:\n print(ours, flush=True); time.sleep(60)"
    )
    assert lock.holder(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"True\n"
        assert lock.holder(tmp_path) == other.pid
        with lock.held(tmp_path) as ours:
            assert not ours
        os.kill(other.pid, signal.SIGKILL)
    eventually(lambda: lock.holder(tmp_path) is None, what="the lock is free")
    with lock.held(tmp_path) as ours:
        assert ours


def test_others_read_while_one_writes(tmp_path: Path) -> None:
    with begun(tmp_path, 2) as writer, Ledger(tmp_path) as reader:
        writer._db.execute("BEGIN IMMEDIATE")
        writer._db.execute("INSERT INTO ended VALUES (0, ?, NULL, 'x')", (time.time(),))
        assert reader.counts() == (2, 0, 0)
        writer._db.execute("COMMIT")
        assert reader.counts() == (2, 1, 1)
        assert isinstance(reader._db, sqlite3.Connection)
