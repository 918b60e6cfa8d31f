"""A run that never comes back is noticed, and a slow one is not taken for it."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from nodes.watchdog import EXIT_HUNG, Patience, Watchdog

WAIT_S = 10.0


@dataclass
class Kennel:
    """Watchdogs that look often and end nothing."""

    told: "queue.Queue[str]" = field(default_factory=queue.Queue)
    ended: "queue.Queue[str]" = field(default_factory=queue.Queue)
    gates: list[threading.Event] = field(default_factory=list)

    def watchdog(self, patience: Patience) -> Watchdog:
        return Watchdog(
            "stage 's1'", self.told.put, patience=patience, end=self.ended.put, look_s=0.01, grace_s=0.01
        )  # fmt: skip

    def hang(self, watchdog: Watchdog) -> Callable[[], None]:
        """A run that ends when what is returned is called."""
        gate = threading.Event()
        self.gates.append(gate)
        threading.Thread(target=lambda: watchdog.watched(lambda: gate.wait(WAIT_S))).start()
        return gate.set


@pytest.fixture
def kennel() -> Iterator[Kennel]:
    held = Kennel()
    yield held
    for gate in held.gates:
        gate.set()


def test_the_limit_follows_the_runs_before() -> None:
    patience = Patience(least_s=1.0, first_s=30.0)
    assert patience.limit_s == 30.0
    patience.took(0.001)
    assert patience.limit_s == 1.0
    for _ in range(31):
        patience.took(0.5)
    assert patience.limit_s == 10.0
    patience.took(100.0)  # one that compiled something, say
    assert patience.limit_s == 300.0
    for _ in range(32):
        patience.took(0.5)
    assert patience.limit_s == 10.0


def test_the_first_run_has_twenty_times_what_is_expected() -> None:
    assert Patience(expected_s=0.4).limit_s == 8.0
    assert Patience(expected_s=0.001).limit_s == 3.0


def test_a_hung_run_is_told_and_then_the_end_comes(kennel: Kennel) -> None:
    kennel.hang(kennel.watchdog(Patience(least_s=0.05, first_s=0.05)))
    line = kennel.told.get(timeout=WAIT_S)
    assert line.startswith("stage 's1' is hung: a run has taken 0.")
    assert "at most 0.1 s were expected; the worker ends so that another takes over" in line
    assert kennel.ended.get(timeout=WAIT_S) == line


def test_a_slow_run_is_left_alone(kennel: Kennel) -> None:
    watchdog = kennel.watchdog(Patience(least_s=60.0))
    finish = kennel.hang(watchdog)
    with pytest.raises(queue.Empty):
        kennel.told.get(timeout=0.1)
    finish()


def test_emulated_slowness_is_no_part_of_a_run(kennel: Kennel) -> None:
    patience = Patience(least_s=0.05, first_s=0.05)
    watchdog = kennel.watchdog(patience)
    watchdog.watched(lambda: watchdog.sleep(0.3))
    assert kennel.told.empty()
    assert patience.limit_s == 0.05  # three times the longest run at the least, had it been one of 0.3 s


def test_a_run_that_hangs_after_emulated_slowness_is_told(kennel: Kennel) -> None:
    watchdog = kennel.watchdog(Patience(least_s=0.05, first_s=0.05))
    gate = threading.Event()
    kennel.gates.append(gate)

    def job() -> None:
        watchdog.sleep(0.01)
        gate.wait(WAIT_S)

    threading.Thread(target=watchdog.watched, args=(job,)).start()
    assert "is hung" in kennel.told.get(timeout=WAIT_S)


def test_a_closed_watchdog_ends_when_nothing_runs(kennel: Kennel) -> None:
    watchdog = kennel.watchdog(Patience())
    watchdog.close()
    watchdog._thread.join(WAIT_S)
    assert not watchdog._thread.is_alive()


def test_a_stage_closed_while_its_run_hangs_is_noticed_all_the_same(kennel: Kennel) -> None:
    watchdog = kennel.watchdog(Patience(least_s=0.2, first_s=0.2))
    kennel.hang(watchdog)
    watchdog.close()
    assert kennel.ended.get(timeout=WAIT_S)


def test_what_a_job_raises_is_raised_and_its_time_counts(kennel: Kennel) -> None:
    patience = Patience(least_s=0.0, first_s=30.0)
    with pytest.raises(ZeroDivisionError):
        kennel.watchdog(patience).watched(lambda: 1 / 0)
    assert patience.limit_s < 30.0


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["", "json"])
def test_a_run_that_hangs_in_the_process_s_only_thread_ends_it_with_a_clear_line(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_LOG", asked)
    code = (
        "import threading; from nodes.watchdog import *\n"
        "dog = Watchdog('stage s1', lambda line: None, patience=Patience(least_s=0.2, first_s=0.2), end=end_process)\n"
        "dog.watched(threading.Event().wait)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == EXIT_HUNG
    said = f"isthmus worker: {json.loads(done.stderr)['message']}" if asked else done.stderr
    assert said.startswith("isthmus worker: stage s1 is hung: a run has taken")
