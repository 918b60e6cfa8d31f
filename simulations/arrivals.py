"""When requests come: drawn from a process or recorded, window after window, so that nobody holds a whole day of them.

All times are seconds from the simulation's begin, arrivals in a window ascending. A source's windows must follow each
other without holes. Every draw comes from the generator that the source was given; none rounds a time.
"""

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from math import isfinite, nan
from pathlib import Path

import numpy as np

from simulations.errors import BadTrace, OutOfRange
from simulations.radio.path_loss import Floats
from simulations.traces.text import read_csv

MOST_PER_S = 1e6  # requests: beyond, a window of them does not fit into memory


class Arrivals(ABC):
    """One source of requests."""

    @property
    @abstractmethod
    def mean_per_s(self) -> float:
        """Requests a second over a long time."""

    @abstractmethod
    def window(self, from_s: float, until_s: float) -> Floats:
        """Arrivals from `from_s`, where the window before this one ended, to just before `until_s`."""


class Poisson(Arrivals):
    """Requests that know nothing of each other."""

    def __init__(self, per_s: float, draw: np.random.Generator) -> None:
        self._per_s, self._draw = _positive("requests a second", per_s), draw

    @property
    def mean_per_s(self) -> float:
        """As given."""
        return self._per_s

    def window(self, from_s: float, until_s: float) -> Floats:
        """As many as chance has it, anywhere in the window."""
        return _scattered(self._per_s, from_s, until_s, self._draw)


class Regular(Arrivals):
    """Requests at equal distances, as a camera's frames; the first anywhere within the first distance."""

    def __init__(self, per_s: float, draw: np.random.Generator) -> None:
        self._per_s = _positive("requests a second", per_s)
        self._first = float(draw.random())

    @property
    def mean_per_s(self) -> float:
        """As given."""
        return self._per_s

    def window(self, from_s: float, until_s: float) -> Floats:
        """Those that fall into it."""
        begin, end = (np.ceil(at_s * self._per_s - self._first) for at_s in (from_s, until_s))
        return np.asarray((np.arange(max(begin, 0), max(end, 0)) + self._first) / self._per_s)


class Diurnal(Arrivals):
    """A Poisson process whose rate swings about its mean as a cosine: most at `peak_s`, and each `period_s` again."""

    def __init__(
        self, per_s: float, draw: np.random.Generator, *, swing: float, period_s: float = 86_400.0, peak_s: float = 0.0
    ) -> None:
        """`swing` is a share of the mean, from 0 to 1."""
        if not 0 <= swing <= 1:
            raise OutOfRange(f"swing {swing:g}: a share of the mean rate, from 0 to 1")
        self._per_s, self._draw = _positive("requests a second", per_s), draw
        self._swing, self._period_s, self._peak_s = swing, _positive("the period", period_s), peak_s

    @property
    def mean_per_s(self) -> float:
        """Over whole periods."""
        return self._per_s

    def window(self, from_s: float, until_s: float) -> Floats:
        """Drawn at the highest rate, and thinned to what is due (Lewis and Shedler, 1979)."""
        at_s = _scattered(self._per_s * (1 + self._swing), from_s, until_s, self._draw)
        due = 1 + self._swing * np.cos(2 * np.pi * (at_s - self._peak_s) / self._period_s)
        return np.asarray(at_s[self._draw.random(len(at_s)) * (1 + self._swing) < due])


class OnOff(Arrivals):
    """Requests come at a rate while the source is on, none while it is off; both last exponentially long."""

    def __init__(self, per_s: float, draw: np.random.Generator, *, on_s: float, off_s: float) -> None:
        """`per_s` while on; `on_s` and `off_s` on average. It begins on as often as it is."""
        self._per_s, self._draw = _positive("requests a second", per_s), draw
        self._spells_s = (_positive("off_s", off_s), _positive("on_s", on_s))
        self._is_on = bool(draw.random() < on_s / (on_s + off_s))
        self._ends_s = float(draw.exponential(self._spells_s[self._is_on]))

    @property
    def mean_per_s(self) -> float:
        """On and off together."""
        off_s, on_s = self._spells_s
        return self._per_s * on_s / (on_s + off_s)

    def window(self, from_s: float, until_s: float) -> Floats:
        """Spell by spell."""
        found, at_s = [], from_s
        while at_s < until_s:
            end_s = min(self._ends_s, until_s)
            if self._is_on:
                found.append(_scattered(self._per_s, at_s, end_s, self._draw))
            if end_s == self._ends_s:
                self._is_on = not self._is_on
                self._ends_s += float(self._draw.exponential(self._spells_s[self._is_on]))
            at_s = end_s
        return np.concatenate(found) if found else np.empty(0)


class Recorded(Arrivals):
    """Arrivals as they were written down, again from the beginning once `length_s` is over."""

    def __init__(self, at_s: Floats, length_s: float) -> None:
        if not len(at_s):
            raise BadTrace("recorded arrivals: there are none")
        if (falls := np.flatnonzero(np.diff(at_s) < 0)).size:
            entry = int(falls[0]) + 1
            raise BadTrace(f"recorded arrivals: entry {entry} at {at_s[entry]:g} s is before {at_s[entry - 1]:g} s")
        if at_s[0] < 0 or not at_s[-1] < length_s:
            raise BadTrace(f"recorded arrivals: from {at_s[0]:g} to {at_s[-1]:g} s, in a length of {length_s:g} s")
        self._at_s, self._length_s = at_s, length_s

    @property
    def mean_per_s(self) -> float:
        """Over the whole record."""
        return len(self._at_s) / self._length_s

    def window(self, from_s: float, until_s: float) -> Floats:
        """Of each round what lies in the window."""
        rounds = range(int(from_s // self._length_s), int(until_s // self._length_s) + 1)
        every = np.concatenate([self._at_s + number * self._length_s for number in rounds])
        return np.asarray(every[(every >= from_s) & (every < until_s)])


def read_arrivals(path: Path) -> Recorded:
    """Recorded arrivals: a column TIMESTAMP as in Azure's public traces (CC-BY-4.0), or a number of seconds a line.

    Times count from the first one. BadTrace with the line that can't be read, or that goes back in time.
    """
    rows = [(number, row[0].strip()) for number, row in enumerate(read_csv(path), 1) if row]
    if rows and rows[0][1] == "TIMESTAMP":
        rows, is_date = rows[1:], True
    else:
        is_date = False
    if len(rows) < 2:
        raise BadTrace(f"{path}: {len(rows)} arrivals; it needs two or more")
    at_s = np.array([_moment(path, line, text, is_date) for line, text in rows])
    if (falls := np.flatnonzero(np.diff(at_s) < 0)).size:
        line = rows[int(falls[0]) + 1][0]
        raise BadTrace(f"{path}, line {line}: goes back in time by {at_s[falls[0]] - at_s[falls[0] + 1]:g} s")
    at_s -= at_s[0]
    read = Recorded(at_s, float(at_s[-1]) * len(at_s) / (len(at_s) - 1) or 1.0)
    if read.mean_per_s > MOST_PER_S:
        raise BadTrace(f"{path}: {read.mean_per_s:g} arrivals a second; at most {MOST_PER_S:,.0f} (times are seconds)")
    return read


def _moment(path: Path, line: int, text: str, is_date: bool) -> float:
    try:
        if is_date:
            whole, _, part = text.partition(".")
            at_s = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{part or 0}")
        else:
            at_s = float(text)
    except ValueError:
        at_s = nan
    if not isfinite(at_s):
        raise BadTrace(f"{path}, line {line}: {text!r} is no time")
    return at_s


def _scattered(per_s: float, from_s: float, until_s: float, draw: np.random.Generator) -> Floats:
    span_s = until_s - from_s
    return np.asarray(from_s + np.sort(draw.random(draw.poisson(per_s * span_s))) * span_s)


def _positive(what: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise OutOfRange(f"{what}: {value:g}; must be above 0")
    return value
