"""Whether a stream is alive: dead only if nothing at all came back for longer than what was sent ahead can explain.

Pure. A ping passes a message under way between two of its parts, and waits behind what the kernel already holds.
On a link that has just become slow that takes longer than any fixed timeout, while a link that is down looks the
same, but for this: bytes that come back, of whatever kind, prove life; and the ping cannot have arrived before the
bytes written ahead of it.
"""

from dataclasses import dataclass
from math import inf

DROP = 20.0  # how many times slower than believed a link may have become between two looks
SLOWEST_BYTES_PER_S = 2000.0  # 16 kbit/s: what a link of which nothing is believed is granted
MOST_S = 90.0  # whatever was sent ahead


@dataclass(slots=True)
class Pulse:
    """The life of one stream, looked at every second or so while an answer is awaited. `timeout_s`: with nothing ahead.

    `received_bytes` and `sent_bytes` are the stream's counters; both only grow.
    """

    timeout_s: float
    _received_bytes: int = 0
    _sent_bytes: int = 0  # at the last sign of life
    _since_s: float | None = None  # when the ping without an answer was sent
    _allowed_s: float = 0.0

    def rest(self) -> None:
        """Nothing is awaited: silence means nothing."""
        self._since_s = None

    def wants_ping(self, received_bytes: int, sent_bytes: int) -> bool:
        """Whether to send a ping now: none is out, or something has come back since. Call `pinged` after it."""
        is_new = received_bytes != self._received_bytes
        if is_new:
            self._received_bytes, self._sent_bytes = received_bytes, sent_bytes
        return is_new or self._since_s is None

    def pinged(self, now_s: float, sent_bytes: int, believed_bytes_per_s: float | None) -> None:
        """A ping was sent behind `sent_bytes`; from now on something must come back."""
        slowest = max(SLOWEST_BYTES_PER_S, (believed_bytes_per_s or 0.0) / DROP)
        ahead_s = max(0, sent_bytes - self._sent_bytes) / slowest
        self._since_s, self._allowed_s = now_s, min(self.timeout_s + ahead_s, MOST_S)

    def left_s(self, now_s: float) -> float:
        """Seconds until the stream counts as dead; 0 from then on, infinity while nothing is awaited."""
        return inf if self._since_s is None else max(0.0, self._since_s + self._allowed_s - now_s)
