"""What a site sees of its radio: rates of recent transfers, pooled over its users, and how sure they make one.

As live estimators, it takes the median (one user's bad place is no change of the link) and tells the relative standard
error with it; what is older than WINDOW_S, or beyond the newest MOST, does not count.
"""

from collections import deque
from statistics import median, quantiles

WINDOW_S, MOST = 10.0, 256
SPREAD_OF_NORMAL = 1.349  # between the quartiles, over the standard deviation
MEDIAN_OVER_MEAN = 1.2533  # standard error of a median over that of a mean, for a normal (√(π/2))


class Sightings:
    """One direction of one cell."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=MOST)

    def add(self, at_s: float, bits: float, seconds: float) -> None:
        """A transfer has ended."""
        if seconds > 0:
            self._seen.append((at_s, bits / seconds))

    def look(self, now_s: float) -> tuple[float, float] | None:
        """Bits a second and the relative standard error; None where nothing was seen of late."""
        while self._seen and self._seen[0][0] < now_s - WINDOW_S:
            self._seen.popleft()
        return told([rate for _, rate in self._seen])


def told(rates: list[float]) -> tuple[float, float] | None:
    """The median of these rates and its relative standard error; None for none."""
    if not rates:
        return None
    middle = median(rates)
    if len(rates) < 2:
        return middle, 1.0
    low, _, high = quantiles(rates, n=4)
    return middle, MEDIAN_OVER_MEAN * (high - low) / SPREAD_OF_NORMAL / middle / len(rates) ** 0.5
