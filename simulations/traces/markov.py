"""Draws traces that are like a given one: a Markov chain over levels of its rate, with the level's own rates in each.

Fitted to what the source carried in steps of equal length. A level is what the link carries now, silence being one of
its own, and where the source shows that it matters, what it carried for a while around: cells change by the second,
places by the minute. In a level, rates are drawn from those that were seen there (inverse transform). What lasts longer
still is not kept; `likeness` tells how far.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.errors import BadTrace, OutOfRange
from simulations.traces.link_trace import Floats, LinkTrace

Integers = NDArray[np.int64]
LEVELS, STEP_S = 24, 1.0
SLOW = (1, 2, 3, 5)  # levels of what is carried around: the one of these whose autocorrelation is the source's
AROUND_S = 40.0  # over which the slow level is taken
LEAST_STEPS = 50  # fewer tell nothing of how levels follow each other
LAGS = (1, 2, 5, 10)  # steps


@dataclass(frozen=True, slots=True, eq=False)
class MarkovModel:
    """`follows[i, j]`: how often level j comes a step after level i. `rates[i]`: those seen in level i, ascending."""

    name: str
    step_s: float
    follows: Floats
    rates: tuple[Floats, ...]

    def draw(self, length_s: float, draw: np.random.Generator) -> LinkTrace:
        """A trace of that length, rounded up to whole steps. OutOfRange if there is none.

        One that would be silent from begin to end carries in its first step what the source did on average.
        """
        if not length_s > 0:
            raise OutOfRange(f"a trace of {length_s:g} s: it needs to last for some time")
        steps = int(np.ceil(length_s / self.step_s))
        levels, within = self._levels(steps, draw), draw.random(steps)
        rates = np.empty(steps)
        for level, seen in enumerate(self.rates):
            here = levels == level
            rates[here] = np.interp(within[here] * (len(seen) - 1), np.arange(len(seen)), seen)
        if not rates.any():
            rates[0] = np.concatenate(self.rates).mean()
        at_s = np.asarray(np.arange(steps) * self.step_s, dtype=np.float64)
        return LinkTrace(f"like {self.name}", at_s, rates, steps * self.step_s)

    def autocorrelation(self, lag: int) -> float:
        """Of what it draws, so many steps later, by calculation; 0 where it never changes."""
        share, mean = lasting(self.follows), np.array([seen.mean() for seen in self.rates])
        square = np.array([(seen**2).mean() for seen in self.rates])
        ahead = np.linalg.matrix_power(self.follows, lag) @ mean
        power = float(share @ square - (share @ mean) ** 2)
        return float((share * mean) @ ahead - (share @ mean) ** 2) / power if power > 0 else 0.0

    def _levels(self, steps: int, draw: np.random.Generator) -> Integers:
        reached = np.cumsum(self.follows, axis=1)
        chance = draw.random(steps)
        levels = np.empty(steps, dtype=np.int64)
        level = int(np.searchsorted(np.cumsum(lasting(self.follows)), chance[0], side="right"))
        for step in range(steps):
            levels[step] = level = min(level, len(self.rates) - 1)
            level = int(np.searchsorted(reached[level], chance[step], side="right"))
        return levels


def fit(source: LinkTrace, *, levels: int = LEVELS, step_s: float = STEP_S) -> MarkovModel:
    """The model of a trace whose autocorrelation at LAGS is nearest; BadTrace if it has too few steps to tell."""
    rates = stepped(source, step_s)
    if len(rates) < LEAST_STEPS:
        raise BadTrace(f"trace {source.name}: {len(rates)} steps of {step_s:g} s; a model needs {LEAST_STEPS} or more")
    wanted = [autocorrelation(rates, lag) for lag in LAGS]

    def off(model: MarkovModel) -> float:
        return sum(abs(model.autocorrelation(lag) - there) for lag, there in zip(LAGS, wanted, strict=True))

    return min((_fitted(source.name, rates, levels, slow, step_s) for slow in SLOW), key=off)


def _fitted(name: str, rates: Floats, levels: int, slow: int, step_s: float) -> MarkovModel:
    now = np.where(rates > 0, 1 + _ranked(rates, rates[rates > 0], levels), 0)
    around = _around(rates, max(1, round(AROUND_S / step_s)))
    used, of_step = np.unique(_ranked(around, around, slow) * (levels + 1) + now, return_inverse=True)
    counts = np.zeros((len(used), len(used)))
    np.add.at(counts, (of_step, np.roll(of_step, -1)), 1.0)  # the last is followed by the first: every level is left
    follows = counts / counts.sum(axis=1, keepdims=True)
    seen = tuple(np.sort(rates[of_step == level]) for level in range(len(used)))
    return MarkovModel(name, step_s, follows, seen)


def _ranked(values: Floats, among: Floats, ranks: int) -> Integers:
    """Which of so many equally full ranks each value falls into."""
    bounds = np.unique(np.quantile(among, np.linspace(0, 1, ranks + 1)[1:-1]))
    return np.searchsorted(bounds, values, side="right")


def _around(rates: Floats, width: int) -> Floats:
    """The mean over so many steps around each one, fewer at the ends."""
    carried = np.append(0.0, np.cumsum(rates))
    steps = np.arange(len(rates))
    first, last = np.maximum(steps - width // 2, 0), np.minimum(steps + width // 2 + 1, len(rates))
    return np.asarray((carried[last] - carried[first]) / (last - first))


def stepped(trace: LinkTrace, step_s: float) -> Floats:
    """Mean rate in each whole step of a trace, bits a second."""
    steps = int(trace.length_s / step_s + 1e-9)
    return np.asarray(np.diff(trace.bits_until(np.arange(steps + 1) * step_s)) / step_s)


def lasting(follows: Floats) -> Floats:
    """The share of time that a chain spends on each level: the solution of share = share · follows."""
    size = len(follows)
    system = np.vstack([follows.T - np.eye(size), np.ones(size)])
    share, *_ = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)
    return np.asarray(np.clip(share, 0.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How far two traces differ: in their rates' distribution (Kolmogorov-Smirnov, 0 to 1), mean (relative), and
    autocorrelation at each of LAGS.
    """

    distribution: float
    mean: float
    autocorrelation: tuple[float, ...]


def likeness(source: LinkTrace, made: LinkTrace, *, step_s: float = STEP_S) -> Likeness:
    """Compare a made trace with its source, step by step."""
    theirs, ours = stepped(source, step_s), stepped(made, step_s)
    every = np.sort(np.concatenate([theirs, ours]))
    shares = [np.searchsorted(np.sort(rates), every, side="right") / len(rates) for rates in (theirs, ours)]
    return Likeness(
        distribution=float(np.abs(shares[0] - shares[1]).max()),
        mean=float(ours.mean() / theirs.mean() - 1),
        autocorrelation=tuple(float(autocorrelation(ours, lag) - autocorrelation(theirs, lag)) for lag in LAGS),
    )


def autocorrelation(rates: Floats, lag: int) -> float:
    """Of a row of rates with itself so many steps later; 0 where it never changes."""
    centred = rates - rates.mean()
    power = float(centred @ centred)
    return float(centred[:-lag] @ centred[lag:]) / power if power else 0.0
