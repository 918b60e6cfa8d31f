"""A link's rate over time, as recorded or generated: constant from each entry to the next, then all over again.

Rates are bits a second, times seconds from the trace's begin. It reads no files (formats.py) and makes no traces.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulations.errors import BadTrace

Floats = NDArray[np.float64]
GAP = 3.0  # times the usual interval: no entry for longer is a gap


@dataclass(frozen=True, slots=True, eq=False)
class LinkTrace:
    """From `at_s[k]` on the link carries `bits_per_s[k]`, for `length_s` in all; then it begins anew.

    `gaps` counts intervals that are longer than GAP times the median one: the rate before them holds. BadTrace, which
    names the trace and the entry, where times do not rise, a rate is negative or no number, or nothing is ever carried.
    """

    name: str
    at_s: Floats
    bits_per_s: Floats
    length_s: float
    gaps: int = field(init=False)
    _edges_s: Floats = field(init=False, repr=False)
    _bits: Floats = field(init=False, repr=False)  # carried until each edge

    def __post_init__(self) -> None:
        _check(self)
        spans_s = np.diff(self.at_s)
        gaps = int((spans_s > GAP * np.median(spans_s)).sum()) if len(spans_s) else 0
        edges_s = np.append(self.at_s, self.length_s)
        object.__setattr__(self, "gaps", gaps)
        object.__setattr__(self, "_edges_s", edges_s)
        object.__setattr__(self, "_bits", np.append(0.0, np.cumsum(self.bits_per_s * np.diff(edges_s))))

    @property
    def mean_bits_per_s(self) -> float:
        """Over the whole trace."""
        return float(self._bits[-1] / self.length_s)

    def rate(self, when_s: ArrayLike) -> Floats:
        """Bits a second at these times."""
        phase_s = np.mod(np.asarray(when_s, dtype=np.float64), self.length_s)
        return np.asarray(self.bits_per_s[np.searchsorted(self.at_s, phase_s, side="right") - 1])

    def bits_until(self, when_s: ArrayLike) -> Floats:
        """What the link carries from time 0 to these times, used all the while."""
        rounds, phase_s = np.divmod(np.asarray(when_s, dtype=np.float64), self.length_s)
        return np.asarray(rounds * self._bits[-1] + np.interp(phase_s, self._edges_s, self._bits))

    def through_s(self, from_s: ArrayLike, bits: ArrayLike) -> Floats:
        """When so many bits are through that begin to be sent at `from_s` over an empty link: the first such time."""
        target = self.bits_until(from_s) + np.asarray(bits, dtype=np.float64)
        rounds = np.floor(target / self._bits[-1])
        left = target - rounds * self._bits[-1]
        at_end = (left <= 0.0) & (rounds > 0)  # through with the last bit of a round, not after a silent begin
        rounds, left = np.where(at_end, rounds - 1, rounds), np.where(at_end, self._bits[-1], left)
        index = np.clip(np.searchsorted(self._bits, left, side="left"), 1, len(self.bits_per_s))
        rate = self.bits_per_s[index - 1]
        over_s = np.divide(left - self._bits[index - 1], rate, out=np.zeros_like(left), where=rate > 0)
        found_s = rounds * self.length_s + self._edges_s[index - 1] + over_s
        return np.asarray(np.maximum(found_s, from_s))


def _check(trace: LinkTrace) -> None:
    at_s, rates = trace.at_s, trace.bits_per_s
    if not len(at_s) or len(at_s) != len(rates):
        raise BadTrace(
            f"trace {trace.name}: {len(at_s)} times and {len(rates)} rates; it needs as many of both, not none"
        )
    if at_s[0] != 0:
        raise BadTrace(f"trace {trace.name}: begins at {at_s[0]:g} s; times count from its begin, so the first is 0")
    if (falls := np.flatnonzero(np.diff(at_s) <= 0)).size:
        entry = int(falls[0]) + 1
        raise BadTrace(f"trace {trace.name}: entry {entry} at {at_s[entry]:g} s is not after {at_s[entry - 1]:g} s")
    if not trace.length_s > at_s[-1]:
        raise BadTrace(f"trace {trace.name}: ends at {trace.length_s:g} s, with an entry at {at_s[-1]:g} s")
    if (bad := np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))).size:
        raise BadTrace(f"trace {trace.name}: entry {int(bad[0])} has the rate {rates[bad[0]]:g} bit/s")
    if not rates.any():
        raise BadTrace(f"trace {trace.name}: nothing is ever carried")
