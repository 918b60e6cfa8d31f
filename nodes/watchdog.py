"""Notices a stage whose run never comes back, from the runs before it, and ends the worker if nothing else can.

A thread that is stuck in an engine cannot be stopped from outside, and it may hold a device for ever. So a worker with
a hung stage tells what it can, then ends itself; its host starts another. Here it is decided when a run counts as
hung; what is told is stage_runner.py's business.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import TypeVar

from nodes import json_log
from nodes.log_ring import LOGGER

LEAST_S = 3.0  # whatever runs took before: a busy machine stops for a moment
FIRST_S = 30.0  # for the first run: engines do much lazily
MEDIANS, LONGEST = 20.0, 3.0
RECENT = 32
LOOK_S = 0.5
GRACE_S = 1.0  # for the loop to tell routers and watchers
EXIT_HUNG = 70
T = TypeVar("T")


class Patience:
    """How long a run may take: 20 times the median of the last 32, 3 times the longest of them, never under 3 s.

    Before the first has come back that is 20 times what is `expected_s`, or 30 s if nothing is.
    """

    def __init__(self, *, expected_s: float | None = None, least_s: float = LEAST_S, first_s: float = FIRST_S) -> None:
        self._least_s = least_s
        self._first_s = first_s if expected_s is None else MEDIANS * expected_s
        self._runs_s: deque[float] = deque(maxlen=RECENT)

    def took(self, run_s: float) -> None:
        """A run came back after so many seconds."""
        self._runs_s.append(run_s)

    @property
    def limit_s(self) -> float:
        """Seconds after which a run counts as hung."""
        runs_s = list(self._runs_s)  # at once: a run may end meanwhile
        if not runs_s:
            return max(self._least_s, self._first_s)
        return max(self._least_s, MEDIANS * median(runs_s), LONGEST * max(runs_s))


class Watchdog:
    """Watches one stage's runs from a thread of its own, so that a run in the event loop is watched as well.

    `on_hung` is called in that thread with one line that says so, once; `end` a second later with the same line.
    """

    def __init__(
        self,
        name: str,
        on_hung: Callable[[str], None],
        *,
        patience: Patience,
        end: Callable[[str], None],
        look_s: float = LOOK_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._name, self._on_hung, self._end = name, on_hung, end
        self._patience, self._look_s, self._grace_s = patience, look_s, grace_s
        self._since_s: float | None = None
        self._slept_s = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)
        self._thread.start()

    def watched(self, job: Callable[[], T]) -> T:
        """The job's result; it runs here and now, one at a time."""
        self._slept_s = 0.0
        started_s = self._since_s = time.monotonic()
        try:
            return job()
        finally:
            self._since_s = None
            self._patience.took(time.monotonic() - started_s - self._slept_s)

    def sleep(self, seconds: float) -> None:
        """Sleep within a job, as a slower machine would work: that is no part of the run, and never hangs."""
        began_s, since_s = time.monotonic(), self._since_s
        self._since_s = None
        time.sleep(seconds)
        slept_s = time.monotonic() - began_s
        self._slept_s += slept_s
        self._since_s = None if since_s is None else since_s + slept_s

    def close(self) -> None:
        """Stop watching as soon as no run is under way; one that never ends is still noticed."""
        self._closing.set()

    def _watch(self) -> None:
        looked_s = fair_s = time.monotonic()
        while not (self._closing.is_set() and self._since_s is None):
            self._pace()
            now_s, began_s, limit_s = time.monotonic(), self._since_s, self._patience.limit_s
            if now_s - looked_s > 2 * self._look_s:
                fair_s = now_s  # this thread was held up as well: the whole process or machine stood still
            looked_s = now_s
            if began_s is not None and now_s - max(began_s, fair_s) > limit_s:
                line = f"{self._name} is hung: a run has taken {now_s - began_s:.1f} s, "
                self._bark(line + f"at most {limit_s:.1f} s were expected; the worker ends so that another takes over")
                return

    def _pace(self) -> None:
        if self._closing.is_set():
            time.sleep(self._look_s)  # a set event no longer waits
        else:
            self._closing.wait(self._look_s)

    def _bark(self, line: str) -> None:
        self._on_hung(line)
        time.sleep(self._grace_s)
        self._end(line)


def end_process(line: str) -> None:
    """Say why on stderr and end this process at once; a hung thread would keep an orderly end waiting for ever."""
    if json_log.is_asked_for():
        line = json_log.line(time.time(), "critical", LOGGER, line, {})
    else:
        line = f"isthmus worker: {line}"
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    os._exit(EXIT_HUNG)
