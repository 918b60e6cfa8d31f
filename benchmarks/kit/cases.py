"""Cases of which the answer is known: what is expected, what was got, how far apart these may be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BATCHES, SIGMAS, DIGITS = 40, 4.0, 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. `sd`: the standard deviation of `got` by chance alone; None where `tolerance` is absolute."""

    name: str
    expected: float
    got: float
    tolerance: float
    sd: float | None = None

    @property
    def error(self) -> float:
        """In the tolerance's own measure."""
        return abs(self.got - self.expected) / (1.0 if self.sd is None else self.sd)


def close(name: str, expected: float, got: float, tolerance: float = DIGITS) -> Case:
    """A case without lots."""
    return Case(name=name, expected=expected, got=float(got), tolerance=tolerance)


def drawn(name: str, expected: float, each: Floats, sd: float | None = None) -> Case:
    """A mean of what follows each other, NaN left out."""
    means = np.nanmean(each[: len(each) // BATCHES * BATCHES].reshape(BATCHES, -1), axis=1)
    spread = float(means.std(ddof=1) / np.sqrt(BATCHES)) if sd is None else sd
    return Case(name=name, expected=expected, got=float(np.nanmean(each)), tolerance=SIGMAS, sd=spread)
