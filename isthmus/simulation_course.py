"""How far simulations are, on a terminal: simulated time, how much faster than real, and how long it will take still.

In a pipe nothing is said.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from isthmus.terminal import errors


class Course:
    """Runs by their length in simulated seconds, and how far each has come. Time comes in as an argument."""

    def __init__(self, lengths_s: Sequence[float], began_s: float) -> None:
        """Nothing is simulated yet."""
        self._lengths_s, self._began_s = tuple(lengths_s), began_s
        self._reached_s = [0.0] * len(lengths_s)

    def reached(self, run: int, at_s: float) -> None:
        """That run has come to that simulated second."""
        self._reached_s[run] = at_s

    def told(self, now_s: float) -> str:
        """In a line, `now_s` by the clock that `began_s` was read from."""
        done_s, all_s, took_s = sum(self._reached_s), sum(self._lengths_s), now_s - self._began_s
        ended = sum(at_s >= length_s for at_s, length_s in zip(self._reached_s, self._lengths_s, strict=True))
        line = f"{done_s:,.0f} of {all_s:,.0f} s simulated, {ended} of {len(self._lengths_s)} runs"
        if done_s <= 0 or took_s <= 0:
            return line
        faster = done_s / took_s
        return f"{line}, {_rate(faster)} × real time, {_clock((all_s - done_s) / faster)} left"


@contextmanager
def on_course(lengths_s: Sequence[float]) -> Iterator[Callable[[int, float], None] | None]:
    """Whom to tell that a run has come to a simulated second; None in a pipe."""
    if not errors.is_terminal:
        yield None
        return
    course = Course(lengths_s, time.monotonic())
    with errors.status("simulating") as status:

        def reached(run: int, at_s: float) -> None:
            course.reached(run, at_s)
            status.update(course.told(time.monotonic()))

        yield reached


def _rate(faster: float) -> str:
    return f"{faster:,.0f}" if faster >= 100 else f"{faster:.3g}"


def _clock(seconds: float) -> str:
    """Such as 0:07 or 1:02:30."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
