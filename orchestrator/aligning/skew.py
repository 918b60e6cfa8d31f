"""How far a sensor's clock is from the aligner's, from exchanges of four timestamps.

As in RFC 5905: with t1 sent and t4 received by the sensor, t2 and t3 by the aligner, an exchange tells the offset
θ = ((t2 − t1) + (t3 − t4)) / 2 within half its delay δ = (t4 − t1) − (t3 − t2). Of the last eight that of least delay
is believed (its clock filter); drift comes from a line through those that were believed, once they span long enough.
"""

from collections import deque
from dataclasses import dataclass

FILTER = 8  # exchanges, as in RFC 5905, section 10
BELIEVED = 32  # least-delay samples remembered for the line
SPAN_S = 10.0  # over which the believed must reach before a drift is told from them
MOST_DRIFT = 500e-6  # s/s: as far as RFC 5905 lets a clock's frequency be off


@dataclass(frozen=True, slots=True)
class Sample:
    """One exchange: at which time of the sensor's clock, how far that is behind the aligner's, and the delay."""

    at_s: float
    offset_s: float
    delay_s: float


def sample(t1: float, t2: float, t3: float, t4: float) -> Sample:
    """An exchange's offset and delay in seconds. ValueError for timestamps that no exchange can have had."""
    delay_s = (t4 - t1) - (t3 - t2)
    if t4 < t1 or t3 < t2 or delay_s < 0:
        raise ValueError(f"no exchange was sent at {t1} and {t3}, received at {t2} and {t4}")
    return Sample(at_s=(t1 + t4) / 2, offset_s=((t2 - t1) + (t3 - t4)) / 2, delay_s=delay_s)


class Skew:
    """What is believed of one sensor's clock; nothing heard yet: that it is right."""

    def __init__(self) -> None:
        self._recent: deque[Sample] = deque(maxlen=FILTER)
        self._believed: deque[Sample] = deque(maxlen=BELIEVED)

    def heard(self, one: Sample) -> None:
        """An exchange. One that shows that the clock was set (further off than both delays allow) forgets the rest."""
        best = self._best()
        if best is not None and abs(one.offset_s - self._at(one.at_s)) > one.delay_s + best.delay_s + self._slack(one):
            self._recent.clear()
            self._believed.clear()
        self._recent.append(one)
        best = self._best()
        if best is not None and (not self._believed or self._believed[-1] is not best):
            self._believed.append(best)

    def corrected(self, captured_s: float) -> float:
        """A time of the sensor's clock on the aligner's."""
        return captured_s + self._at(captured_s)

    @property
    def drift(self) -> float:
        """Seconds that the offset grows each second; 0 while too little is known."""
        if len(self._believed) < 3 or self._believed[-1].at_s - self._believed[0].at_s < SPAN_S:
            return 0.0
        count = len(self._believed)
        mean_at = sum(one.at_s for one in self._believed) / count
        mean_offset = sum(one.offset_s for one in self._believed) / count
        spread = sum((one.at_s - mean_at) ** 2 for one in self._believed)
        slope = sum((one.at_s - mean_at) * (one.offset_s - mean_offset) for one in self._believed) / spread
        return max(-MOST_DRIFT, min(MOST_DRIFT, slope))

    def _best(self) -> Sample | None:
        return min(self._recent, key=lambda one: one.delay_s, default=None)

    def _at(self, at_s: float) -> float:
        """The offset at a time of the sensor's clock."""
        best = self._best()
        return 0.0 if best is None else best.offset_s + self.drift * (at_s - best.at_s)

    def _slack(self, one: Sample) -> float:
        best = self._best()
        return 0.0 if best is None else 2 * MOST_DRIFT * abs(one.at_s - best.at_s)
