"""Whether a stream is alive: dead only if nothing at all came back for longer than what was sent ahead can explain.

Pure. A ping passes a message under way between two of its parts, and waits behind what the kernel already holds.
On a link that has just become slow that takes longer than any fixed timeout, while a link that is down looks the
same, but for this: bytes that come back, of whatever kind, prove life; and the ping cannot have arrived before the
bytes written ahead of it. What is believed of a link that has fallen silent sinks by the second, so what was believed
when something last came back counts.
"""

from dataclasses import dataclass
from math import inf

DROP = 20.0  # how many times slower than believed a link may have become between two looks
SLOWEST_BYTES_PER_S = 2000.0  # 16 kbit/s: what a link of which nothing is believed is granted
MOST_S = 90.0  # whatever was sent ahead


@dataclass(slots=True)
class Pulse:
    """The life of one stream: look often, ping when it wants that. `timeout_s` is for a ping with nothing ahead.

    What was sent since the look before the last sign of life counts as ahead of the ping.
    """

    timeout_s: float
    every_s: float = 1.0  # between two pings
    _received_bytes: int = 0
    _looked_bytes: int = 0  # sent by the last look
    _answered_bytes: int = 0  # sent by the look before the last sign of life
    _pinged_s: float = -inf
    _since_s: float | None = None  # when the ping was sent since which nothing came
    _allowed_s: float = 0.0
    _believed_bytes_per_s: float = 0.0  # at the last sign of life

    def looked(self, received_bytes: int, sent_bytes: int, believed_bytes_per_s: float | None = None) -> None:
        """The stream's counters now, which only grow, and what is believed of its link."""
        if received_bytes != self._received_bytes:
            self._believed_bytes_per_s = believed_bytes_per_s or 0.0
            self._received_bytes, self._answered_bytes, self._since_s = received_bytes, self._looked_bytes, None
        self._looked_bytes = sent_bytes

    def rest(self) -> None:
        """Nothing is awaited: silence means nothing."""
        self._since_s = None

    def wants_ping(self, now_s: float) -> bool:
        """Whether to send a ping now. Call `pinged` after it."""
        return self._since_s is None and now_s - self._pinged_s >= self.every_s

    def pinged(self, now_s: float, believed_bytes_per_s: float | None) -> None:
        """A ping was sent; from now on something must come back."""
        slowest = max(SLOWEST_BYTES_PER_S, max(believed_bytes_per_s or 0.0, self._believed_bytes_per_s) / DROP)
        ahead_s = (self._looked_bytes - self._answered_bytes) / slowest
        self._since_s = self._pinged_s = now_s
        self._allowed_s = min(self.timeout_s + ahead_s, MOST_S)

    def left_s(self, now_s: float) -> float:
        """Seconds until the stream counts as dead; 0 from then on, infinity while nothing is awaited."""
        return inf if self._since_s is None else max(0.0, self._since_s + self._allowed_s - now_s)
