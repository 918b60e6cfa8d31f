"""Claims about benchmarks/leaks.py: after a few switches nothing is left behind, and what is left behind is seen."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import pytest
from kit.census import SHARED, Holding, holding, kind_of, look, median, shared_files, slope

from tests.benchmarks.quick import figures

HOLDS = "import sys; held = open(sys.argv[1]); print(flush=True); sys.stdin.read()"


@pytest.fixture
def shared() -> Iterator[Path]:
    path = SHARED / f"isthmus-test-{uuid4()}"
    path.write_bytes(bytes(4096))
    yield path
    path.unlink()


def now() -> Holding:
    found = holding(os.getpid())
    assert found is not None
    return found


@pytest.mark.slow
def test_switches_leave_nothing_behind() -> None:
    found = figures("leaks")
    assert {name: one["value"] for name, one in found.items() if not one["holds"]} == {}
    assert found["epochs that came and went"]["value"] >= found["switches"]["value"] == 20
    assert found["requests answered meanwhile"]["value"] > 100


def test_a_thread_and_descriptors_that_stay_are_counted(tmp_path: Path) -> None:
    before, over = now(), Event()
    thread = Thread(target=over.wait)
    (tmp_path / "kept").touch()
    with ExitStack() as kept:
        thread.start()
        for _ in range(3):
            kept.enter_context((tmp_path / "kept").open())
        after = now()
        over.set()
    thread.join()
    assert (after.threads - before.threads, after.descriptors - before.descriptors) == (1, 3)
    assert after.kinds[str(tmp_path / "kept")] == 3


def test_memory_that_stays_is_counted() -> None:
    before = now().resident_bytes
    with mmap(-1, 64 << 20, flags=MAP_PRIVATE | MAP_ANONYMOUS) as kept:  # fresh pages, whatever malloc had left
        for at in range(0, len(kept), PAGESIZE):
            kept[at] = 1
        assert now().resident_bytes - before >= len(kept)


def test_a_process_that_has_ended_holds_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert holding(ended.pid) is None


@pytest.mark.slow
def test_shared_memory_is_ours_if_we_have_it_or_nobody_has(shared: Path) -> None:
    assert shared_files([])[shared.name] == 4096
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(shared)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert shared.name not in shared_files([os.getpid()])
    assert shared.name in shared_files([process.pid])
    process.communicate()


def test_descriptors_are_told_apart_by_kind_and_not_by_number() -> None:
    assert [kind_of(one) for one in ("socket:[77]", "anon_inode:[eventpoll]", "/dev/null")] == [
        "socket",
        "eventpoll",
        "/dev/null",
    ]


def test_one_odd_look_moves_no_median() -> None:
    looks = [look({"me": os.getpid()}, [os.getpid()] * count) for count in (1, 1, 9)]
    assert median(looks).processes == 1


def test_the_slope_is_the_rise_per_switch() -> None:
    assert slope([(10, 105.0), (20, 110.0), (30, 115.0)]) == pytest.approx(0.5)
    assert slope([(10, 105.0)]) == 0.0
