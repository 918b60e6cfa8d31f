"""When an attempt is better begun anew: it was overtaken, or a new epoch would be faster. Pure rules on seconds.

Silence alone proves nothing: on a link that became a hundred times slower a healthy attempt is silent for a minute,
and sending it again would only add to the queue. So these rules want evidence that sending again is right. Hung
stages are their workers' to notice (nodes/watchdog.py), dead streams the router's (orchestrator/pulse.py).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

RECENT = 32
OVERTAKERS = 3  # a batch may let one pass
LEAST_S, FACTOR = 1.0, 8.0  # an attempt is not overdue before either
LEAST_REST = 0.1  # part of its time that the head of a queue still takes, however long it has been under way


@dataclass(slots=True)
class Pace:
    """The latest answers of one epoch: the serial number of the attempt and its seconds."""

    recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _overdue_s: float | None = None  # not known since the latest answer

    def answered(self, serial: int, took_s: float) -> None:
        """An attempt came back. Serial numbers grow in the order of sending."""
        self.recent.append((serial, took_s))
        self._overdue_s = None

    def overdue_s(self) -> float | None:
        """How long an attempt must have been out before `overtaken` is worth a look; None while nothing came back.

        It is asked for every request in hand, time and again, so it is worked out once after each answer.
        """
        if self._overdue_s is None and self.recent:
            self._overdue_s = max(LEAST_S, FACTOR * max(took_s for _, took_s in self.recent))
        return self._overdue_s

    def overtaken(self, serial: int, out_s: float) -> bool:
        """Whether an attempt, out for `out_s`, is lost on its way or in a stage.

        Stages of a chain and streams between them keep their order. So an attempt is lost if three that were sent
        after it have come back, and it has been out for eight times the longest of the epoch's latest answers; on
        a link that slows down nothing overtakes, and nothing is sent twice.
        """
        due_s = self.overdue_s()
        return due_s is not None and out_s >= due_s and sum(s > serial for s, _ in self.recent) >= OVERTAKERS


def moved(out_s: Sequence[float], old_s: float, new_s: float, *, min_gain: float = 0.15) -> tuple[int, ...]:
    """Which of the requests in an old epoch are answered sooner if cancelled and sent into the new one.

    `out_s` are the seconds that each has been out, in the order of sending; `old_s` and `new_s` what a request takes
    in either epoch under today's links, alone. Each epoch is taken as a queue that answers one after the other, the
    worst case for both. From the head on, each request joins the queue that answers it first (list scheduling), the
    new one only if that saves `min_gain` of its time. Positions of those to move, ascending. ValueError for seconds
    below 0.
    """
    if old_s < 0 or new_s < 0:
        raise ValueError(f"a request cannot take {min(old_s, new_s):g} s")
    going: list[int] = []
    until_s = 0.0  # when the old epoch has answered those that stay
    for position, out in enumerate(out_s):
        rest_s = max(LEAST_REST * old_s, old_s - out) if until_s == 0 else old_s
        if (len(going) + 1) * new_s < (1 - min_gain) * (until_s + rest_s):
            going.append(position)
        else:
            until_s += rest_s
    return tuple(going)
