"""The round trip of a link: what it is without queues, how much it varies, and whether it has changed. Pure.

Least of the recent ones for what the link itself takes, their median for what to expect, 1.4826 times the median
absolute deviation (of the median) for how much they vary: none of the three moves for an outlier or ten.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter
from statistics import median

from nodes.link_change import DurationTest, stall_s

RECENT = 64
BLOCK_S = 0.1  # the least of so long counts as one: neighbours meet the same queues and say the same again
NOISE_S = 0.001  # of event loops and timers at both ends
NOW = 5  # the round trip now is the median of this many
MAD_TO_STD = 1.4826  # of a normal distribution
CAUTION = 1.25  # the deviation of a few may be too small by as much
AGAIN = 1.5  # a bound that has moved by this factor is news


@dataclass(slots=True)
class _Block:
    """The least round trip of a short while; one that waited only where there is none that did not."""

    until_s: float
    sent_s: float
    round_trip_s: float
    waited: bool
    alone: bool


@dataclass(slots=True)
class RoundTrips:
    """Recent round trips of small messages that waited behind nothing of ours."""

    changes: int = 0
    bound_s: float | None = None  # it takes longer than this: from what is still under way, nothing newer came
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))  # sent_s, round trip
    _now: deque[float] = field(default_factory=lambda: deque(maxlen=NOW))
    _test: DurationTest = field(default_factory=DurationTest)
    _expected_s: float | None = None
    _std_s: float | None = None
    _block: "_Block | None" = None
    _at_most: bool = False  # all that there is waited behind other messages

    def add(self, round_trip_s: float, sent_s: float, now_s: float, *, alone: bool, waited: bool) -> None:
        """One round trip; `waited` if messages of ours were ahead of it, which can only have made it longer.

        `alone` if none can have been, as nothing large was under way.
        """
        if self._block is not None and now_s - self._block.until_s >= 0:
            self._end_block()
        if self._block is None:
            self._block = _Block(now_s + BLOCK_S, sent_s, round_trip_s, waited, alone)
            if self._expected_s is None:  # anything is better than nothing
                self._end_block()
        elif (waited, round_trip_s) < (self._block.waited, self._block.round_trip_s):
            self._block = _Block(self._block.until_s, sent_s, round_trip_s, waited, alone)

    def _end_block(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        round_trip_s, sent_s = block.round_trip_s, block.sent_s
        self._now.append(round_trip_s)
        if block.waited and self._recent and round_trip_s >= min(self._recent, key=itemgetter(1))[1]:
            return
        if self.bound_s is not None or (self._at_most and not block.waited):
            self.bound_s = self._expected_s = None
            self._recent.clear()
        self._at_most = block.waited and (self._at_most or not self._recent)
        if self._expected_s is not None and len(self._recent) > 1:
            late_s = stall_s(self._expected_s) if block.alone else math.inf
            self._test.note(
                round_trip_s, self._expected_s, NOISE_S,
                began_s=sent_s, known=len(self._recent), late_s=late_s, certain=True,
            )  # fmt: skip
        self._recent.append((sent_s, round_trip_s))
        if self._expected_s is None or (len(self._recent) < NOW and not self._test.uneasy):
            self._expect()

    def refresh(self, now_s: float) -> None:
        """Take in what is old enough and work out anew what to expect; costs two sorts, so once for many messages."""
        if self._block is not None and now_s >= self._block.until_s:
            self._end_block()
        if self._recent and not self._test.uneasy:  # else the change would become what is expected, unnoticed
            self._expect()

    def _expect(self) -> None:
        held = [round_trip_s for _, round_trip_s in self._recent]
        self._expected_s = middle_s = median(held)
        enough = len(held) >= NOW - 1
        self._std_s = MAD_TO_STD * median([abs(each_s - middle_s) for each_s in held]) if enough else None

    def judge(self, now_s: float) -> float | None:
        """Since when the round trip is another; then older ones are forgotten. None if it is not."""
        since_s = self._test.changed_since_s(now_s)
        if since_s is None:
            return None
        self._test.restart()
        self._recent = deque((pair for pair in self._recent if pair[0] >= since_s), maxlen=RECENT)
        self._now.clear()
        self._now.extend(round_trip_s for _, round_trip_s in list(self._recent)[-NOW:])
        self._expect()
        self.changes += 1
        return since_s

    def under_way(self, sent_s: float, now_s: float) -> bool:
        """A small message has been on its way since; whether that says that the round trip is longer now."""
        elapsed_s, expected_s = now_s - sent_s, self._expected_s
        if expected_s is None:
            return False
        if self.bound_s is not None:
            if elapsed_s < AGAIN * self.bound_s:
                return False
        elif not self._test.overdue(elapsed_s, expected_s, NOISE_S, known=len(self._recent), round_trip_s=expected_s):
            return False
        self.bound_s = elapsed_s
        self._test.restart()
        self.changes += 1
        return True

    @property
    def least_s(self) -> float | None:
        """What the link itself takes, there and back; a lower bound while that is all that is known."""
        return self.bound_s or min((round_trip_s for _, round_trip_s in self._recent), default=None)

    @property
    def expected_s(self) -> float:
        """The typical round trip, 0 while none is known."""
        return self.bound_s or self._expected_s or 0.0

    @property
    def std_s(self) -> float | None:
        """How much round trips vary; None before the fourth."""
        return self._std_s

    @property
    def noise_s(self) -> float:
        """How uncertain a single one is, whether known already or not."""
        return max(NOISE_S, self.expected_s / 4 if self._std_s is None else CAUTION * self._std_s)

    @property
    def queueing_s(self) -> float:
        """The round trip now over the least."""
        least_s = self.least_s
        return max(0.0, median(self._now) - least_s) if self._now and least_s is not None else 0.0

    @property
    def known(self) -> int:
        """How many round trips stand behind what is expected."""
        return len(self._recent)

    @property
    def unfinished(self) -> bool:
        """Whether something was told that has not been taken in."""
        return self._block is not None

    @property
    def suspects(self) -> bool:
        """Whether half the evidence for a change is there."""
        return self._test.suspects
