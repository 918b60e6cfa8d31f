"""The goodput of a link: weighted median of the rates of recent transfers, how sure that is, and changes. Pure.

Transfers are trains: messages that queued behind each other count as one, as the round trip's jitter spoils each
train only once (packet train dispersion: Jain & Routhier 1986; Dovrolis et al. 2001). A train's weight is the inverse
variance of its log rate, s² + (n/t)²: s the spread of single transfers, n the round trip's jitter, t its duration.
The relative standard error of a weighted median is sqrt(π/2) / sqrt(sum of weights) at normal noise.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from nodes.link_change import DurationTest, stall_s
from nodes.round_trips import RoundTrips

RECENT = 32
RECENT_S, LEAST_RECENT = 4.0, 5  # older trains are left out as soon as so many newer ones are there
TRAIN_S = 0.005
TOGETHER_S = 0.0005  # messages sent within so long cross back to back
AGAIN = 1.5  # a bound that has moved by this factor is news
NEWS = 1.2  # a change by less than this factor is none to tell of
UNSURE = 1.0  # relative standard deviation of what is only a bound


@dataclass(slots=True)
class Train:
    """Bytes that crossed back to back. A first one that found the link idle spent a round trip besides."""

    nbytes: int
    from_s: float
    through_s: float
    idle: bool
    sent_s: float  # the last of them
    round_trip_s: float | None = None  # frozen, when the link's own has become another since

    def took_s(self, round_trip_s: float) -> float:
        """Seconds that the bytes themselves took; may be below zero if the round trip was shorter than usual."""
        given_s = round_trip_s if self.round_trip_s is None else self.round_trip_s
        return self.through_s - self.from_s - (given_s if self.idle else 0.0)


@dataclass(slots=True)
class Goodput:
    """Recent trains of one direction, and what they say."""

    changes: int = 0
    bytes_per_s: float | None = None
    bounded: bool = False  # goodput is at most `bytes_per_s`: from what is under way, nothing newer came through
    _recent: deque[Train] = field(default_factory=lambda: deque(maxlen=RECENT))
    _open: Train | None = None
    _test: DurationTest = field(default_factory=DurationTest)
    _weight: float = 0.0

    def through(self, nbytes: int, sent_s: float, last_s: float, now_s: float, trips: RoundTrips) -> None:
        """`nbytes` sent at `sent_s` were through at `now_s`, what was ahead of them at `last_s`."""
        queued = last_s >= sent_s + trips.expected_s
        train = self._open
        if train is not None:
            behind = (queued and train.through_s == last_s) or sent_s - train.sent_s < TOGETHER_S
            if behind and train.took_s(trips.expected_s) < TRAIN_S:
                train.nbytes += nbytes
                train.through_s, train.sent_s = max(train.through_s, now_s), sent_s
                return
            self._add(train, trips)
        self._open = Train(nbytes, last_s if queued else sent_s, now_s, not queued, sent_s)

    def refresh(self, trips: RoundTrips) -> None:
        """Count the last train too, and work out anew what to expect; costs a sort, so once for many messages."""
        if self._open is not None:
            train, self._open = self._open, None
            self._add(train, trips)
            if not self._test.uneasy:  # else the change would become what is expected, unnoticed
                self._believe(trips)

    def _add(self, train: Train, trips: RoundTrips) -> None:
        if self.bytes_per_s is not None and not self.bounded and len(self._recent) > 2:
            self._test.note(
                train.took_s(trips.expected_s), train.nbytes / self.bytes_per_s, trips.noise_s,
                began_s=train.from_s, known=len(self._recent), late_s=stall_s(trips.expected_s), certain=train.idle,
            )  # fmt: skip
        self._recent.append(train)
        while len(self._recent) > LEAST_RECENT and self._recent[0].through_s < train.through_s - RECENT_S:
            self._recent.popleft()
        few = len(self._recent) < LEAST_RECENT and not self._test.uneasy
        if self.bounded or self.bytes_per_s is None or few:
            before = self.bytes_per_s
            self._believe(trips)
            if self.bounded:
                self.bounded = False
                self._tell_if_news(before)

    def _believe(self, trips: RoundTrips) -> None:
        """The weighted median of what is held."""
        if not self._recent:
            return
        rates = []
        for train in self._recent:
            took_s = train.took_s(trips.expected_s)
            expected_s = (
                max(took_s, 0.0) if self.bytes_per_s is None or self.bounded else train.nbytes / self.bytes_per_s
            )
            noise = trips.noise_s / max(expected_s, trips.noise_s / 4)
            weight = 1 / (self._test.spread**2 + noise**2)
            rates.append((train.nbytes / max(took_s, trips.noise_s / 4), weight))
        self.bytes_per_s, self._weight = weighted_median(rates)

    def judge(self, now_s: float, trips: RoundTrips) -> bool:
        """Whether goodput is another; older trains are forgotten then."""
        since_s = self._test.changed_since_s(now_s)
        if since_s is None:
            return False
        before = self.bytes_per_s
        self._test.restart()
        self._recent = deque((train for train in self._recent if train.from_s >= since_s - 1e-9), maxlen=RECENT)
        self._believe(trips)
        return self._tell_if_news(before)

    def under_way(self, nbytes: int, from_s: float, now_s: float, trips: RoundTrips) -> bool:
        """`nbytes` have been crossing since `from_s`, the usual round trip left out; whether that is a change."""
        elapsed_s = now_s - from_s
        if self.bytes_per_s is None or elapsed_s <= 0:
            return False
        at_most = nbytes / elapsed_s
        if self.bounded:
            if at_most * AGAIN > self.bytes_per_s:
                return False
        elif not self._test.overdue(
            elapsed_s, nbytes / self.bytes_per_s, trips.noise_s,
            known=len(self._recent), round_trip_s=trips.expected_s,
        ):  # fmt: skip
            return False
        self._recent.clear()
        self._open = None
        self._test.restart()
        self.bytes_per_s, self.bounded = at_most, True
        self.changes += 1
        return True

    def round_trip_changed(self, since_s: float, before_s: float, trips: RoundTrips) -> None:
        """The round trip has been another since: what was measured before that keeps the old one."""
        for train in self._recent:
            if train.from_s < since_s and train.round_trip_s is None:
                train.round_trip_s = before_s
        self._test.restart()
        self._believe(trips)

    def _tell_if_news(self, before: float | None) -> bool:
        news = (
            before is not None
            and self.bytes_per_s is not None
            and (abs(math.log(self.bytes_per_s / before)) > math.log(NEWS))
        )
        self.changes += news
        return news

    def relative_std(self, trips: RoundTrips) -> float | None:
        """The relative standard error of the estimate, that of the usual round trip in it; None while there is none."""
        if self.bytes_per_s is None:
            return None
        if self.bounded or not self._recent:
            return UNSURE
        typical_s = median(train.nbytes for train in self._recent) / self.bytes_per_s
        shift = trips.noise_s / typical_s if any(train.idle for train in self._recent) else 0.0
        return min(UNSURE, math.sqrt(math.pi / 2 * (1 / self._weight + shift**2 / max(trips.known, 1))))

    @property
    def suspects(self) -> bool:
        """Whether half the evidence for a change is there."""
        return self.bounded or self._test.suspects


def weighted_median(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The value at which half of the weight is reached (between two, their geometric mean); and all the weight."""
    pairs.sort()
    total, half = sum(weight for _, weight in pairs), 0.0
    for index, (value, weight) in enumerate(pairs):
        half += weight
        if half > total / 2 * (1 + 1e-9):
            return value, total
        if half >= total / 2 * (1 - 1e-9) and index + 1 < len(pairs):
            return math.sqrt(value * pairs[index + 1][0]), total
    return pairs[-1][0], total
