"""A journal on a file system that really fills up: a few records more, then a clear word; with room it goes on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.events import Tick
from orchestrator.journal import Journal, recover
from orchestrator.recorder import Recorder
from tests.builders import deploy_requested

ROOT = Path(__file__).resolve().parents[2]
DISK_BYTES = 2 << 20
RESERVE_BYTES = 256 << 10
DYING = """
import os, sys
from pathlib import Path
from orchestrator.control import Control
from orchestrator.journal import Journal
from orchestrator.recorder import Recorder
from tests.builders import deploy_requested
from tests.orchestrator.test_full_disk import RESERVE_BYTES, fill
disk = Path(sys.argv[1])
control = Control()
recorder = Recorder(control, Journal(disk / "j.db", reserve_bytes=RESERVE_BYTES))
recorder.take(deploy_requested("first"), 1.0)
fill(disk)
number = 0
while recorder.fault is None:
    before = len(control.snapshot()["deployments"])
    recorder.take(deploy_requested(f"d{number}"), 1.0)
    number += 1
print(before, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    tried = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(tried, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes up all that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


def append_until_full(journal: Journal) -> int:
    """How many records were written before the journal took no more."""
    for count in range(10_000):
        try:
            journal.append(deploy_requested(), (), 1.0)
        except JournalError as error:
            assert "the disk is full; free some space" in str(error)
            return count
    raise AssertionError("the disk never filled up")


def test_the_reserve_takes_some_records_more_and_none_is_lost(disk: Path) -> None:
    with (
        Journal(disk / "j.db", reserve_bytes=RESERVE_BYTES) as journal,
        Journal(disk / "k.db", reserve_bytes=1) as bare,
    ):
        bare.append(Tick(), (), 1.0)
        journal.append(Tick(), (), 1.0)
        fill(disk)
        without = append_until_full(bare)
        written = append_until_full(journal)
        assert written > without + 10
        assert len(list(journal.read())) == 1 + written


def test_with_room_again_it_goes_on_and_keeps_a_reserve(disk: Path) -> None:
    with Journal(disk / "j.db", reserve_bytes=RESERVE_BYTES) as journal:
        filler = fill(disk)
        written = append_until_full(journal)
        assert journal.is_short
        filler.unlink()
        assert journal.append(Tick(), (), 2.0) == written + 1
        journal.snapshot(Control(), 3.0)
        assert not journal.is_short


def test_a_controller_s_state_is_the_journal_s_when_the_disk_is_full_and_after(disk: Path) -> None:
    control = Control()
    with Journal(disk / "j.db", reserve_bytes=RESERVE_BYTES) as journal:
        recorder = Recorder(control, journal)
        filler = fill(disk)
        names = (f"d{number}" for number in range(10_000))
        while recorder.fault is None:
            given = recorder.take(deploy_requested(next(names)), 1.0)
        assert given == ()
        filler.unlink()
        assert [type(each).__name__ for each in recorder.take(Tick(), 2.0)] == ["FindPlan"]
    assert recover(disk / "j.db").snapshot() == control.snapshot()


@pytest.mark.slow
def test_a_controller_that_dies_on_a_full_disk_is_recovered_there_and_goes_on_with_room(disk: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", DYING, str(disk)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert dead.returncode == -9, dead.stderr
    recovered = recover(disk / "j.db")
    assert len(recovered.snapshot()["deployments"]) == int(dead.stdout)
    (disk / "filler").unlink()
    with Journal(disk / "j.db", reserve_bytes=RESERVE_BYTES) as journal:
        assert Recorder(recovered, journal).take(deploy_requested("last"), 2.0)
        assert not journal.is_short
    assert "last" in recover(disk / "j.db").snapshot()["deployments"]
