"""What a link is worth, estimated from the acknowledgements of ordinary messages. Pure; one estimator a direction.

The receiver tells how long it held each message before acknowledging it, so only durations cross the link and
clocks are never compared. Messages queue behind each other on a link, so a message's own transfer began when it
was sent or when the one before it was through, whichever came later.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

LARGE_BYTES = 8192  # below, propagation and software outweigh the bytes; above, the bytes tell of goodput
RECENT_LARGE = 7  # a median over these notices a drop after four messages and ignores three outliers
RECENT_SMALL = 32
MAX_PENDING = 4096  # unacknowledged messages remembered; a peer that never acknowledges costs no more than this


# Parts as large as a twentieth of a second holds: a cancel or ping waits no longer. On loopback, parts of 1 MiB are
# fastest, 64 KiB take 1.6 times as long (`benchmarks/hop.py`).
PART_S = 0.05
FIRST_PART_BYTES, LEAST_PART_BYTES, MOST_PART_BYTES = 256 << 10, 16 << 10, 1 << 20


def part_bytes(goodput_bytes_per_s: float | None) -> int:
    """How large the parts of a large message should be on a link of this goodput, None if it isn't known yet."""
    if goodput_bytes_per_s is None:
        return FIRST_PART_BYTES
    return max(LEAST_PART_BYTES, min(int(goodput_bytes_per_s * PART_S), MOST_PART_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """Goodput and round trip of one direction; None until messages have told."""

    goodput_bytes_per_s: float | None = None
    rtt_s: float | None = None
    samples: int = 0


@dataclass(slots=True)
class LinkEstimator:
    """Fed with what was sent and acknowledged; median goodput of large messages, least round trip of small ones."""

    _pending: dict[int, tuple[int, float]] = field(default_factory=dict)
    _rates: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_LARGE))
    _round_trips: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_SMALL))
    _through_s: float = float("-inf")
    _samples: int = 0

    def sent(self, number: int, nbytes: int, now_s: float) -> None:
        """Message `number` was given to the link."""
        if len(self._pending) >= MAX_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._pending[number] = (nbytes, now_s)

    def acknowledged(self, number: int, held_s: float, now_s: float) -> float | None:
        """The peer held message `number` for `held_s` before answering; the round trip, None if never sent."""
        nbytes, sent_s = self._pending.pop(number, (0, None))
        if sent_s is None or held_s < 0:
            return None
        through_s = now_s - held_s
        round_trip_s = through_s - sent_s
        if nbytes < LARGE_BYTES:
            self._round_trips.append(round_trip_s)
        else:
            self._large(nbytes, sent_s, through_s)
        self._through_s = max(self._through_s, through_s)
        self._samples += 1
        return round_trip_s

    def _large(self, nbytes: int, sent_s: float, through_s: float) -> None:
        rtt_s = min(self._round_trips, default=0.0)
        transfer_s = through_s - max(sent_s + rtt_s, self._through_s)
        if transfer_s > 0:
            self._rates.append(nbytes / transfer_s)

    @property
    def estimate(self) -> LinkEstimate:
        """What the recent messages say."""
        return LinkEstimate(
            goodput_bytes_per_s=median(self._rates) if self._rates else None,
            rtt_s=min(self._round_trips, default=None),
            samples=self._samples,
        )
