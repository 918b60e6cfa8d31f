"""Latency by group as cumulative distributions, with quantiles and deadlines marked. Answers alone are in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from isthmus.plot import units
from isthmus.plot.colours import OKABE_ITO
from isthmus.plot.simulation.figures import NONE, share_told
from isthmus.plot.simulation.labels import Rows
from isthmus.plot.simulation.scale import (
    GRID,
    MARGIN,
    SMALL,
    WIDTH,
    Scale,
    bottom_marks,
    course,
    frame,
    heading,
    nothing,
    swatch,
    title,
)  # fmt: skip
from isthmus.plot.svg import FAINT, INK, PAPER, element, line, page, path, rect, shortened, text, text_width
from simulations.results import Results

LEFT, RIGHT, HEIGHT, LABELS = 64.0, 970.0, 380.0, 52.0
QUANTILES = (0.50, 0.95, 0.99)
SEEN = 0.9995  # the axis ends where this share has been answered
POINTS = 500  # of a line
DASHES = (None, "7 3", "2 3")
GROUP_COLOURS = len(OKABE_ITO) - 1  # black is for all together
COLUMNS = (("group", 260.0), ("median", 90.0), ("p95", 90.0), ("p99", 90.0), ("deadline", 90.0),
           ("answers in time", 120.0), ("requests failed", 120.0))  # fmt: skip


Values = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A group's latencies over all replications: seconds ascending, and the share of answers not above each."""

    name: str
    seconds: Values
    shares: Values
    colour: str
    dashes: str | None
    deadline_s: float | None
    failed: float

    def quantile_s(self, share: float) -> float:
        """The least latency that this share of answers does not exceed."""
        at = int(np.searchsorted(self.shares, share * (1 - 1e-12)))
        return float(self.seconds[min(at, len(self.seconds) - 1)])

    def within(self, seconds: float) -> float:
        """The share of answers that took no longer."""
        at = int(np.searchsorted(self.seconds, seconds, side="right"))
        return float(self.shares[at - 1]) if at else 0.0


def latency_svg(results: Results) -> str:
    """The distributions of all replications' answers, pooled. A page that says so where nothing was answered."""
    name = f"{results.scenario.name}: latency"
    spreads = spreads_of(results)
    if not spreads:
        return nothing(name, "nothing was answered, so there is no latency")
    parts, top = heading(name, (_told(results),))
    top += LABELS
    across, up = _across(spreads), Scale(0, 1, top + HEIGHT, top)
    parts += [*bottom_marks(across, top, up.start, units.seconds), *_levels(up), frame(LEFT, top, RIGHT, up.start)]
    parts.append(text((LEFT + RIGHT) / 2, up.start + 36, "latency of an answer", size=SMALL, anchor="middle"))
    parts += _deadlines(spreads, across, up)
    parts += [part for spread in reversed(spreads) for part in _drawn(spread, across, up)]
    listed, bottom = _listed(spreads, up.start + 66)
    described = "; ".join(
        f"{one.name}: median {units.seconds(one.quantile_s(0.5))}, p95 {units.seconds(one.quantile_s(0.95))}, "
        f"p99 {units.seconds(one.quantile_s(0.99))}"
        for one in spreads
    )
    return page(WIDTH, bottom + MARGIN, name, f"{described}.", [*parts, *listed])


def _told(results: Results) -> str:
    many = len(results.outcomes)
    return f"share of answers that took no longer; {many} replication{'s' if many > 1 else ''} together"


def spreads_of(results: Results) -> list[Spread]:
    """All together first if there are several groups, then each group of which anything was answered."""
    groups = results.scenario.groups
    names = (["all"] if len(groups) > 1 else []) + [group.name for group in groups]
    deadlines = {group.name: group.deadline_s for group in groups}
    found = []
    for name in names:
        seconds, shares = _pooled(results, name)
        number = names.index(name) - (len(groups) > 1)
        if len(seconds):
            found.append(
                Spread(
                    name=name,
                    seconds=seconds,
                    shares=shares,
                    colour=INK if number < 0 else colour_of(number),
                    dashes=DASHES[max(number, 0) // GROUP_COLOURS % len(DASHES)],
                    deadline_s=deadlines.get(name),
                    failed=_failed(results, name),
                )
            )
    return found


def colour_of(number: int) -> str:
    """A group's colour, the same in all plots; it comes again after seven, with other dashes."""
    return OKABE_ITO[number % GROUP_COLOURS]


def _figure(name: str, figure: str) -> str:
    return figure if name == "all" else f"{name}.{figure}"


def _pooled(results: Results, name: str) -> tuple[Values, Values]:
    """Each replication weighs as much as it answered."""
    curves, weights = [], []
    for outcome in results.outcomes:
        seconds, shares = outcome.latency_cdf.get(name, ((), ()))
        if seconds:
            curves.append((np.asarray(seconds), np.asarray(shares)))
            weights.append(outcome.figures.get(_figure(name, "answered_per_s"), 1.0))
    if not curves or not sum(weights) > 0:
        return np.empty(0), np.empty(0)
    every = np.unique(np.concatenate([seconds for seconds, _ in curves]))
    total = np.zeros(len(every))
    for (ends, reached), weight in zip(curves, weights, strict=True):
        total += weight * np.concatenate(([0.0], reached))[np.searchsorted(ends, every, side="right")]
    return every, total / sum(weights)


def _failed(results: Results, name: str) -> float:
    values = [outcome.figures.get(_figure(name, "failed_share"), nan) for outcome in results.outcomes]
    there = [value for value in values if isfinite(value)]
    return sum(there) / len(there) if there else nan


def _across(spreads: Sequence[Spread]) -> Scale:
    deadlines = [one.deadline_s for one in spreads if one.deadline_s]
    low = min([*(float(one.seconds[0]) for one in spreads), *deadlines])
    high = max([*(one.quantile_s(SEEN) for one in spreads), *deadlines])
    return Scale(low / 1.15, high * 1.15, LEFT, RIGHT, logarithmic=True)


def _levels(up: Scale) -> Iterator[str]:
    for share in (0.0, 0.25, *QUANTILES, 0.75):
        y = up.at(share)
        marked = share in QUANTILES
        colour, dashes = ("#9aa5b1", "1 3") if marked else (GRID, None)
        yield path(["M", LEFT, y, "H", RIGHT], stroke=colour, stroke_dasharray=dashes)
        # The words of p99 stand a little higher: those of p95 are close below.
        words = f"p{share * 100:.0f}" if marked else f"{share * 100:.0f} %"
        yield text(
            LEFT - 8, y + (0 if share == 0.99 else 4), words, size=11, anchor="end", fill=INK if marked else FAINT
        )


def _deadlines(spreads: Sequence[Spread], across: Scale, up: Scale) -> Iterator[str]:
    """A broken upright line for each deadline, with whose it is."""
    whose: dict[float, list[Spread]] = {}
    for spread in spreads:
        if spread.deadline_s is not None:
            whose.setdefault(spread.deadline_s, []).append(spread)
    rows = Rows(LEFT, RIGHT, up.end - 6, 3)
    labels: list[str] = []  # over all lines
    for deadline_s, those in sorted(whose.items()):
        x = across.at(deadline_s)
        colour = those[0].colour if len(those) == 1 else INK
        names = those[0].name if len(those) == 1 else f"{len(those)} groups"
        words = shortened(f"{'deadline' if len(spreads) == 1 else names}: {units.seconds(deadline_s)}", 11, 180)
        width = text_width(words, 11)
        placed = rows.place(x, width)
        end = up.end if placed is None else placed[1] + 3
        yield line(x, end, x, up.start, stroke=colour, width=1.4, stroke_dasharray="6 4")
        if placed is not None:
            labels += [rect(placed[0] - 2, placed[1] - 10, width + 4, 13, fill=PAPER), text(*placed, words, size=11)]
    yield from labels


def _drawn(spread: Spread, across: Scale, up: Scale) -> Iterator[str]:
    """The line, and a dot at each quantile."""
    step = max(1, len(spread.seconds) // POINTS)
    picked = sorted({*range(0, len(spread.seconds), step), len(spread.seconds) - 1})
    points = [(across.at(float(spread.seconds[at])), up.at(float(spread.shares[at]))) for at in picked]
    beyond = [one for one in points if one[0] < RIGHT]
    wide = 2.6 if spread.name == "all" else 2.0
    start = [(points[0][0], up.at(0))]
    yield course([*start, *beyond], stroke=spread.colour, width=wide, dashes=spread.dashes, told=spread.name)
    for share in QUANTILES:
        seconds = spread.quantile_s(share)
        told = title(f"{spread.name}, p{share * 100:.0f}: {units.seconds(seconds)}")
        yield element(
            "circle",
            told,
            cx=across.at(seconds),
            cy=up.at(share),
            r=4,
            fill=PAPER,
            stroke=spread.colour,
            stroke_width=2,
        )


def _listed(spreads: Sequence[Spread], top: float) -> tuple[list[str], float]:
    """A row a group: its colour, quantiles, deadline, and who was answered in time."""
    parts, x = [], LEFT
    for number, (words, width) in enumerate(COLUMNS):
        anchor = "start" if not number else "end"
        parts.append(text(x + (30 if not number else width - 8), top, words, size=11, anchor=anchor, fill=FAINT))
        x += width
    y = top
    for spread in spreads:
        y += 19
        parts.append(swatch(LEFT, y, spread.colour, spread.dashes))
        deadline_s = spread.deadline_s
        told = [spread.name, *(units.seconds(spread.quantile_s(share)) for share in QUANTILES)]
        told += [units.seconds(deadline_s), share_told(spread.within(deadline_s))] if deadline_s else [NONE, NONE]
        told.append(share_told(spread.failed))
        x = LEFT
        for number, ((_, width), words) in enumerate(zip(COLUMNS, told, strict=True)):
            if number:
                parts.append(text(x + width - 8, y, words, size=SMALL, anchor="end"))
            else:
                parts.append(text(x + 30, y, shortened(words, SMALL, width - 36), size=SMALL))
            x += width
    return parts, y
