"""What a link is worth, estimated from the acknowledgements of ordinary messages. Pure; one estimator a direction.

The receiver tells how long it held each message before acknowledging it, so only durations cross the link and
clocks are never compared. Messages queue behind each other on a link, so a message's own transfer began when it
was sent or when the one before it was through, whichever came later.

What it cannot tell apart: a link, and whatever delays acknowledgements on their way back.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from nodes.goodput import Goodput
from nodes.round_trips import RoundTrips

LARGE_BYTES = 8192  # below, propagation and software outweigh the bytes; above, the bytes tell of goodput
MAX_PENDING = 4096  # unacknowledged messages remembered; a peer that never acknowledges costs no more than this
PLACED = -1  # bytes of a message that shared memory carried: it tells of no link, whenever it is acknowledged
LOOKED_AT = 64  # of the oldest of these, for one that is overdue


# Parts as large as a hundredth of a second holds: a cancel or ping waits no longer, and on a link that has become fifty
# times slower they still tell twice a second that bytes go through. On loopback, parts of 1 MiB are fastest, 64 KiB
# take 1.6 times as long (`benchmarks/hop.py`).
PART_S = 0.01
FIRST_PART_BYTES, LEAST_PART_BYTES, MOST_PART_BYTES = 256 << 10, 16 << 10, 1 << 20


def part_bytes(goodput_bytes_per_s: float | None) -> int:
    """How large the parts of a large message should be on a link of this goodput, None if it isn't known yet."""
    if goodput_bytes_per_s is None:
        return FIRST_PART_BYTES
    return max(LEAST_PART_BYTES, min(int(goodput_bytes_per_s * PART_S), MOST_PART_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """Goodput and round trip of one direction; None until messages have told.

    `goodput_std` is the relative standard error of the goodput, 1 where that is only a bound; `rtt_s` the least round
    trip of late and `rtt_std_s` how much they vary; `queueing_s` what a message sent now would wait behind others;
    `changes` counts detected changes, `at_s` is when the newest measurement was made, by the sender's clock.
    `by_probes`: for a while nothing but probes has told.
    """

    goodput_bytes_per_s: float | None = None
    goodput_std: float | None = None
    rtt_s: float | None = None
    rtt_std_s: float | None = None
    queueing_s: float = 0.0
    bytes_in_flight: int = 0
    samples: int = 0
    changes: int = 0
    at_s: float | None = None
    by_probes: bool = False


class _Sent(NamedTuple):
    nbytes: int
    sent_s: float
    alone: bool  # nothing large was ahead of it
    message: int = 0  # that it is a part of


@dataclass(slots=True)
class LinkEstimator:
    """Fed with what was sent and acknowledged, in order of time; `refresh` after each lot of news."""

    _goodput: Goodput = field(default_factory=Goodput)
    _trips: RoundTrips = field(default_factory=RoundTrips)
    _pending: dict[int, _Sent] = field(default_factory=dict)
    _parts: dict[int, list[int]] = field(default_factory=dict)  # of a message, those not acknowledged
    _parts_told: bool = False  # the peer acknowledges parts
    _in_flight_bytes: int = 0
    _through_s: float = float("-inf")  # when the newest large one was
    _heard_s: float | None = None
    large_s: float = float("-inf")  # when the newest large one was sent
    _samples: int = 0

    def sent(self, number: int, nbytes: int, now_s: float, message: int = 0) -> None:
        """Message `number`, or a part of `message` under that number, was given to the link; the last word counts."""
        if message:
            self._parts.setdefault(message, []).append(number)
        else:
            self._forget(number)
            if nbytes >= LARGE_BYTES:
                self._in_flight_bytes += nbytes
                self.large_s = now_s
        if len(self._pending) >= MAX_PENDING:
            self._forget(next(iter(self._pending)))
        self._pending[number] = _Sent(nbytes, now_s, self._in_flight_bytes == 0, message)

    def withdrawn(self, number: int) -> None:
        """Message `number` was never given to the link, whatever was said."""
        self._forget(number)

    def _forget(self, number: int) -> _Sent | None:
        sent = self._pending.pop(number, None)
        if sent is None:
            return None
        if not sent.message:
            for part in self._parts.pop(number, ()):
                self._pending.pop(part, None)
            if sent.nbytes >= LARGE_BYTES:
                self._in_flight_bytes -= sent.nbytes
        return sent

    def acknowledged(self, number: int, held_s: float, now_s: float) -> float | None:
        """The peer held message `number` for `held_s` before answering; the round trip, None if never sent."""
        parted = number in self._parts
        sent = self._forget(number)
        through_s = now_s - held_s
        if sent is None or held_s < 0 or through_s < sent.sent_s:  # not held so long
            return None
        if sent.nbytes == PLACED:
            return through_s - sent.sent_s
        self._heard_s = now_s
        if sent.message:
            self._parts_told = True
            self._shrink(sent.message, number, sent.nbytes)
        else:
            self._samples += 1
        if sent.nbytes >= LARGE_BYTES:
            self._goodput.through(sent.nbytes, sent.sent_s, self._through_s, through_s, self._trips)
            self._through_s = max(self._through_s, through_s)
        elif not sent.message and not parted:
            waited = self._waited(sent.sent_s, through_s)
            self._trips.add(through_s - sent.sent_s, sent.sent_s, now_s, alone=sent.alone, waited=waited)
        return through_s - sent.sent_s

    def _waited(self, sent_s: float, through_s: float) -> bool:
        """Whether a small message was on its way behind a large one: then the two come right after each other."""
        since_s = through_s - self._through_s
        return self._through_s > sent_s + self._trips.expected_s and since_s < 6 * self._trips.noise_s

    def _shrink(self, message: int, part: int, nbytes: int) -> None:
        """A part is through: less of its message is under way, and its last acknowledgement tells of less."""
        whole = self._pending.get(message)
        if whole is None:
            return
        left = max(0, whole.nbytes - nbytes)
        self._parts[message].remove(part)
        if whole.nbytes >= LARGE_BYTES:
            self._in_flight_bytes -= whole.nbytes - (left if left >= LARGE_BYTES else 0)
        self._pending[message] = whole._replace(nbytes=left)

    def refresh(self, now_s: float, *, before: int | None = None) -> bool:
        """Take stock of the news, and of what is overdue by now; whether the link has changed.

        Messages from number `before` on have not been given to the link yet, whatever was said.
        """
        changes = self.changes
        self._goodput.refresh(self._trips)
        trip_s = self._trips.expected_s
        self._trips.refresh(now_s)
        since_s = self._trips.judge(now_s)
        if since_s is not None:
            self._goodput.round_trip_changed(since_s, trip_s, self._trips)
        self._goodput.judge(now_s, self._trips)
        self._overdue(now_s, before)
        return self.changes != changes

    def _overdue(self, now_s: float, before: int | None) -> None:
        large = small = False
        for index, (number, sent) in enumerate(self._pending.items()):
            if index >= LOOKED_AT or (large and small):
                return
            if (before is not None and number >= before) or sent.message:
                continue
            if sent.nbytes >= LARGE_BYTES and not large:
                large = True
                self._crossing(number, sent, now_s)
            elif PLACED < sent.nbytes < LARGE_BYTES and not small and number not in self._parts:
                small = True
                if sent.alone and self._through_s <= sent.sent_s:
                    self._trips.under_way(sent.sent_s, now_s)

    def _crossing(self, number: int, sent: _Sent, now_s: float) -> None:
        parts = self._parts.get(number)
        if parts and self._parts_told and parts[0] in self._pending:
            sent = self._pending[parts[0]]
        from_s = max(sent.sent_s + self._trips.expected_s, self._through_s)
        self._goodput.under_way(sent.nbytes, from_s, now_s, self._trips)

    @property
    def changes(self) -> int:
        """How many changes were detected."""
        return self._goodput.changes + self._trips.changes

    @property
    def waiting(self) -> bool:
        """Whether anything has not been acknowledged, or not been taken in."""
        return bool(self._pending) or self._trips.unfinished

    @property
    def suspects(self) -> bool:
        """Whether the next message will say if the link has changed: worth a probe on an idle one."""
        return self._goodput.suspects or self._trips.suspects

    @property
    def goodput_bytes_per_s(self) -> float | None:
        """What the estimate says, without the work of making one."""
        return self._goodput.bytes_per_s

    @property
    def estimate(self) -> LinkEstimate:
        """What the recent messages say, as of the last `refresh`."""
        rate = self._goodput.bytes_per_s
        behind_s = self._in_flight_bytes / rate if rate else 0.0
        return LinkEstimate(
            goodput_bytes_per_s=rate,
            goodput_std=self._goodput.relative_std(self._trips),
            rtt_s=self._trips.least_s,
            rtt_std_s=self._trips.std_s,
            queueing_s=max(behind_s, self._trips.queueing_s),
            bytes_in_flight=self._in_flight_bytes,
            samples=self._samples,
            changes=self.changes,
            at_s=self._heard_s,
        )
