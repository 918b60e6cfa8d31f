"""The thread that a stage computes in, and when work is small enough not to need it.

Jobs run one at a time in the order given, their results come back in the event loop. A stage whose runs take less
than a thread's wake-up costs runs in the loop itself.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

INLINE_S = 0.0005  # two thread switches cost 0.1–0.2 ms; a loop held up longer than this delays other streams
RECENT = 9  # the median of so many runs decides: one run that was pre-empted must not
T = TypeVar("T")


class Lane(Generic[T]):
    """Runs jobs one after the other; `pending` counts those given and not yet answered."""

    def __init__(self, name: str, *, may_inline: bool) -> None:
        self.pending = 0
        self._may_inline = may_inline
        self._recent: deque[bool] = deque([False] * RECENT, RECENT)  # which of the last runs were short
        self._short = 0
        self._jobs: SimpleQueue[tuple[Callable[[], T], Callable[[T], None]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Run `job`, which must not raise, in the thread and call `done` with its result in the event loop."""
        self.pending += 1
        self._jobs.put((job, done))

    def is_quick(self) -> bool:
        """Whether a job may run here and now, in the event loop: none is under way, and they take no time."""
        return self._may_inline and not self.pending and self._short > RECENT // 2

    def run_here(self, job: Callable[[], T]) -> T:
        """Run a job in the event loop, only while `is_quick`."""
        return self._timed(job)

    def close(self) -> None:
        """End the thread after the job it is at; what waits is dropped."""
        self._may_inline = False
        self._jobs.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False if it still runs."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _timed(self, job: Callable[[], T]) -> T:
        started_s = time.monotonic()
        result = job()
        short = time.monotonic() - started_s < INLINE_S
        self._short += short - self._recent[0]
        self._recent.append(short)
        return result

    def _finish(self, done: Callable[[T], None], result: T) -> None:
        self.pending -= 1
        done(result)

    def _run(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Wait for a job and run it; whether others may follow. While it waits, nothing holds what the last one had."""
        entry = self._jobs.get()
        if entry is None:
            return False
        job, done = entry
        result = self._timed(job)
        try:
            self._loop.call_soon_threadsafe(self._finish, done, result)
        except RuntimeError:  # the loop is gone, and with it whoever wanted the result
            return False
        return True
