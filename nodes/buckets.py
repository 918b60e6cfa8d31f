"""Values counted between bounds, many at a time: prometheus_client's own histograms take 10 µs a value."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

SECONDS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
TOGETHER = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)  # requests that share a run
FEW = 16  # for fewer, making arrays takes longer than counting


class Buckets:
    """How many values were up to each bound, and their sum. Filled by one thread; another may read meanwhile."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds, self._counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, values: Sequence[float]) -> None:
        """Count these, too."""
        self.total += sum(values)
        if len(values) < FEW:
            for value in values:
                self._counts[bisect_left(self._bounds, value)] += 1
            return
        places = np.searchsorted(self._bounds, values)
        more = np.bincount(places, minlength=len(self._counts)).tolist()
        self._counts = [count + new for count, new in zip(self._counts, more, strict=True)]

    def told(self) -> list[tuple[str, float]]:
        """As HistogramMetricFamily wants them: bounds as text, and how many values are up to each."""
        labels = (*(f"{bound:g}" for bound in self._bounds), "+Inf")
        return list(zip(labels, map(float, accumulate(self._counts)), strict=True))
