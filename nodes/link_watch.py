"""Looks at one stream's link while something is under way on it, and says when it has changed.

Messages only note: digested in bulk, the arithmetic is off their path. The clock and timers around nodes/links.py;
what is sent and when is nodes/connection.py's business.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace

from nodes.links import FIRST_PART_BYTES, LARGE_BYTES, MAX_PENDING, LinkEstimate, LinkEstimator, part_bytes

MAX_NOTES = 512
WATCH_S = 0.05  # how often the link is looked at
BUSY_S = 0.05  # a look that comes later than that says that this process was slow, not that the link is
FAST_BYTES_PER_S = 100e6  # above, a part holds up the acknowledgement it carries less than a frame of its own costs
IDLE_S = 1.0  # without large messages; then a probe may be due
TRAFFIC_S = 5.0  # since the last large message: then probes alone speak for the link
PROBED_SHARE, PROBE_S = 0.05, 0.05  # of a link's time at most; and seconds that one takes


class LinkWatch:
    """What a connection's messages tell of its link. Belongs to one event loop.

    `on_change` is called soon after a change was detected. `held_back` gives the number from which on messages have
    not been given to the link yet, None if all were. `fixed_part_bytes` overrides what suits the goodput.
    """

    def __init__(
        self, on_change: Callable[[], None], held_back: Callable[[], int | None], fixed_part_bytes: int | None
    ) -> None:
        self.part_bytes = fixed_part_bytes or FIRST_PART_BYTES
        self.carrying_bytes = LARGE_BYTES  # smaller messages carry acknowledgements
        self._on_change, self._held_back, self._fixed_part_bytes = on_change, held_back, fixed_part_bytes
        self._estimator = LinkEstimator()
        self._notes: list[
            tuple[bool, int, float, float, int]
        ] = []  # is it sent, number, bytes or held_s, at_s, part of
        self._messages: set[int] = set()  # under way: whole ones that are no probes
        self._through, self._transfer_s = 0, 0.0
        self._traffic_s = -math.inf  # when the last large message was sent that was no probe
        self._loop = asyncio.get_running_loop()
        self._look_at: asyncio.TimerHandle | None = None

    def sent(self, number: int, nbytes: int, now_s: float, message: int = 0, *, is_probe: bool = False) -> None:
        """A message of so many bytes, or PLACED, or a part of `message` was given to the link; the last word counts."""
        if nbytes >= LARGE_BYTES and not is_probe:
            self._traffic_s = now_s
        self._notes.append((True, number, nbytes, now_s, message))
        if not (message or is_probe) and len(self._messages) < MAX_PENDING:
            self._messages.add(number)
        if self._look_at is None:
            self._look_at = self._loop.call_later(WATCH_S, self._look, now_s + WATCH_S)

    def acknowledged(self, number: int, held_s: float, now_s: float) -> None:
        """The peer has had a message for `held_s`."""
        self._notes.append((False, number, held_s, now_s, 0))
        if len(self._notes) > MAX_NOTES:
            self._digest()

    def withdrawn(self, number: int) -> None:
        """A message was taken back before any of it was given to the link."""
        self._digest()
        self._messages.discard(number)
        self._estimator.withdrawn(number)

    @property
    def estimate(self) -> LinkEstimate:
        """What all this has told."""
        now_s = time.monotonic()
        self._take_stock(now_s, before=0)
        return replace(self._estimator.estimate, by_probes=now_s - self._traffic_s > TRAFFIC_S)

    @property
    def transfers(self) -> tuple[int, float]:
        """Messages that came through, and what they took from being given to the link to the peer's word, in all."""
        return self._through, self._transfer_s

    @property
    def is_looking(self) -> bool:
        """Whether a timer runs."""
        return self._look_at is not None

    def probe_bytes(self, most_bytes: int, idle_s: float = IDLE_S) -> int | None:
        """How large a probe the link wants now; None if nothing large was sent for less than `idle_s`.

        Probes take a twentieth of a second or `most_bytes`, and a twentieth of the link's time; the next one is due at
        once where the last messages hint at a change. None is while anything is under way.
        """
        now_s = time.monotonic()
        self._take_stock(now_s, before=0)
        rate = self._estimator.goodput_bytes_per_s
        nbytes = most_bytes if rate is None else max(LARGE_BYTES, min(most_bytes, int(rate * PROBE_S)))
        pause_s = 0.0 if self._estimator.suspects else max(idle_s, nbytes / rate / PROBED_SHARE if rate else 0.0)
        return None if self._estimator.waiting or now_s - self._estimator.large_s < pause_s else nbytes

    def close(self) -> None:
        """Look no more."""
        if self._look_at is not None:
            self._look_at.cancel()
            self._look_at = None

    def _look(self, due_s: float) -> None:
        """What has not arrived tells as well; unless it has, and this process was too busy to read it."""
        now_s = time.monotonic()
        self._look_at = None
        self._take_stock(now_s, before=0 if now_s - due_s > BUSY_S else self._held_back())
        if self._look_at is None and self._estimator.waiting:
            self._look_at = self._loop.call_later(WATCH_S, self._look, now_s + WATCH_S)

    def _take_stock(self, now_s: float, before: int | None) -> None:
        self._digest()
        changed = self._estimator.refresh(now_s, before=before)
        goodput = self._estimator.goodput_bytes_per_s
        self.part_bytes = self._fixed_part_bytes or part_bytes(goodput)
        self.carrying_bytes = self.part_bytes if goodput and goodput > FAST_BYTES_PER_S else LARGE_BYTES
        if changed:
            self._loop.call_soon(self._on_change)

    def _digest(self) -> None:
        notes, self._notes = self._notes, []
        for is_sent, number, value, at_s, message in notes:
            if is_sent:
                self._estimator.sent(number, int(value), at_s, message)
            else:
                took_s = self._estimator.acknowledged(number, value, at_s)
                if number in self._messages:
                    self._messages.remove(number)
                    self._through += took_s is not None
                    self._transfer_s += took_s or 0.0
