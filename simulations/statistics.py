"""How sure figures are: the mean over replications, and the interval that holds the true one 95 times in 100.

Student's t over the replications, which are independent of each other; nothing is assumed of what happens within one,
and nothing is said about how well a scenario describes the world. A figure that a replication does not have (NaN: no
request was answered) is left out there, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import atan, cos, fsum, isnan, pi, sin, sqrt, tan

from simulations.results import Results

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure over replications, in the figure's own unit.

    `mean` is NaN if no replication has it. `half` is half of the interval's width, None if fewer than two have it.
    `std_error` likewise. `counted` replications have it, `left_out` have not.
    """

    mean: float
    half: float | None
    std_error: float | None
    counted: int
    left_out: int


def estimate(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of a figure's values, one a replication, with its interval."""
    known = [value for value in values if not isnan(value)]
    count, left_out = len(known), len(values) - len(known)
    if not known:
        return Estimate(mean=float("nan"), half=None, std_error=None, counted=0, left_out=left_out)
    mean = known[0] if min(known) == max(known) else fsum(known) / count
    if count == 1:
        return Estimate(mean=mean, half=None, std_error=None, counted=1, left_out=left_out)
    std_error = sqrt(fsum((value - mean) ** 2 for value in known) / (count - 1) / count)
    half = student_t(count - 1, confidence) * std_error
    return Estimate(mean=mean, half=half, std_error=std_error, counted=count, left_out=left_out)


def estimates(results: Results, *, confidence: float = CONFIDENCE) -> dict[str, Estimate]:
    """Every figure of a scenario, by its name."""
    names = results.outcomes[0].figures if results.outcomes else ()
    return {name: estimate(results.values(name), confidence=confidence) for name in names}


@cache
def student_t(degrees: int, confidence: float = CONFIDENCE) -> float:
    """What |T| does not exceed with that probability, for T of so many degrees of freedom (1 and up)."""
    low, high = 0.0, pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within_angle(middle, degrees) < confidence else (low, middle)
    return sqrt(degrees) * tan(low)


def chance_beyond(t: float, degrees: int) -> float:
    """How likely |T| exceeds |t|: the two-sided p-value."""
    return max(0.0, 1.0 - _within_angle(atan(abs(t) / sqrt(degrees)), degrees))


def _within_angle(angle: float, degrees: int) -> float:
    """P(|T| ≤ √ν tan θ), in closed form for a whole ν (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    squared, is_odd = cos(angle) ** 2, degrees % 2 == 1
    term = total = (cos(angle) if degrees > 1 else 0.0) if is_odd else 1.0
    for factor in range(3 if is_odd else 2, degrees - 1, 2):
        term *= (factor - 1) / factor * squared
        total += term
    return 2 / pi * (angle + sin(angle) * total) if is_odd else sin(angle) * total
