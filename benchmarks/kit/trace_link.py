"""A link whose goodput follows a trace: what has drained by when, and when so much will have. First come, first served.

It knows the future, as the world does; what a router knows of it is in link_sight.py.
"""

from bisect import bisect_right
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from kit.traces import Trace

Floats = NDArray[np.float64]


class TraceLink:
    """Bytes that the link could have drained from 0 to any time; after its end the trace stays at its last rate."""

    def __init__(self, trace: Trace) -> None:
        self.seconds = len(trace.bytes_per_s)
        self._rates = trace.bytes_per_s
        self._drained = list(accumulate(trace.bytes_per_s, initial=0.0))

    def drained(self, at_s: float) -> float:
        """Bytes that drained until then had the link never been idle."""
        second = min(int(at_s), self.seconds - 1)
        return self._drained[second] + (at_s - second) * self._rates[second]

    def through_s(self, start_s: float, nbytes: float) -> float:
        """When bytes that begin to drain at `start_s` are through."""
        until = self.drained(start_s) + nbytes
        second = min(bisect_right(self._drained, until) - 1, self.seconds - 1)
        return second + (until - self._drained[second]) / self._rates[second]

    def all_through_s(self, starts_s: Floats, nbytes: float) -> Floats:
        """The same for many starts that do not wait for each other."""
        last = self._rates[-1]
        ends_s = np.append(np.arange(self.seconds + 1.0), self.seconds + 1e6)
        drained = np.append(np.array(self._drained), self._drained[-1] + last * 1e6)
        until: Floats = np.interp(starts_s, ends_s, drained) + nbytes
        return np.asarray(np.interp(until, drained, ends_s), dtype=np.float64)
