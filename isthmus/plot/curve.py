"""Latency against goodput: the best plan at every goodput, coloured by plan, and where one takes over from another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from isthmus.plot import units
from isthmus.plot.colours import ink_on, split_colours
from isthmus.plot.placements import Curve
from isthmus.plot.svg import FAINT, INK, PAPER, RULE, element, line, path, rect, shortened, text, text_width
from partitioner.plan import Plan
from partitioner.search.atlas import Atlas, AtlasEntry

LEFT, RIGHT, HEIGHT = 92.0, 1256.0, 300.0
LABELS = 56.0  # above the plot, for breakpoints and today's goodput
STRIP = 22.0  # below the axis: which plan where
ROW, MOST_ROWS = 20.0, 24  # of the list of plans
STEPS = 24  # points of a stretch's line
WIDE = 6.0  # above this ratio of slowest to fastest, seconds are drawn as logarithms


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """From goodput and seconds to the page."""

    low: float
    high: float
    least_s: float
    most_s: float
    logarithmic: bool
    top: float

    def x(self, rate: float) -> float:
        """Where a goodput stands."""
        if self.high <= self.low:
            return (LEFT + RIGHT) / 2
        return LEFT + (RIGHT - LEFT) * log10(rate / self.low) / log10(self.high / self.low)

    def y(self, seconds: float) -> float:
        """Where a latency stands; what lies above the top goes on beyond it."""
        if self.logarithmic:
            share = log10(seconds / self.least_s) / log10(self.most_s / self.least_s)
        else:
            share = (seconds - self.least_s) / (self.most_s - self.least_s)
        return self.top + HEIGHT * (1 - share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """An entry of the atlas with where it ends, its number and its colour."""

    entry: AtlasEntry
    to_bytes_per_s: float
    number: int
    colour: str


def curve(
    atlas: Atlas,
    colours: Mapping[str, str],
    top: float,
    *,
    unsplit: Mapping[str, Curve],
    now: float | None,
    plan: Plan,
) -> tuple[list[str], float]:
    """The curve's parts from `top` on, and where it ends; `now` is today's goodput, at which `plan` was chosen."""
    stretches = _stretches(atlas, colours)
    here = now is not None and atlas.low <= now <= atlas.high
    axes = _axes(atlas, stretches, top + LABELS, plan.predicted.latency_s if here else None)
    parts = [text(24, top + 4, _title(atlas), size=15, bold=True), *_names(unsplit, colours, top + 4)]
    parts += [*_grid(axes), *_unsplit_lines(axes, unsplit, colours, stretches)]
    for stretch in stretches:
        parts.append(_envelope(axes, stretch))
    labels = _Labels(axes)
    if here and now is not None:
        parts += _today(axes, now, plan, labels)
    for before, after in pairwise(stretches):
        parts += _breakpoint(axes, before, after, labels)
    parts += [part for stretch in stretches for part in _strip(axes, stretch)]
    listed, bottom = _listed(stretches, axes.top + HEIGHT + STRIP + 62)
    return [*parts, *listed], bottom


def _title(atlas: Atlas) -> str:
    proof = "proven" if not atlas.gap else f"gap up to {atlas.gap:.1%}"
    words = f"Latency against the goodput of {atlas.ends[0]} → {atlas.ends[1]}: the best plan at each ({proof})"
    return shortened(words, 15, RIGHT - 24 - 440, bold=True)


def _names(unsplit: Mapping[str, Curve], colours: Mapping[str, str], y: float) -> Iterator[str]:
    """Whose the dashed lines are, from the right edge leftwards, as far as there is room."""
    right = RIGHT
    for node in reversed(tuple(unsplit)):
        words = shortened(f"all on {node}", 11, 140)
        width = text_width(words, 11)
        if right - width - 34 < RIGHT - 420:
            return
        yield text(right, y, words, size=11, anchor="end", fill=FAINT)
        yield line(
            right - width - 30,
            y - 4,
            right - width - 6,
            y - 4,
            stroke=colours.get(node, INK),
            width=1.6,
            stroke_dasharray="5 4",
        )
        right -= width + 46


def _stretches(atlas: Atlas, colours: Mapping[str, str]) -> list[Stretch]:
    ends = [*(one.from_bytes_per_s for one in atlas.entries[1:]), atlas.high]
    left = split_colours(colours.values())
    stretches, splits = [], 0
    for number, (entry, end) in enumerate(zip(atlas.entries, ends, strict=True), start=1):
        node = entry.plan.stages[0].node
        colour = left[splits % len(left)] if entry.plan.is_split else colours.get(node, INK)
        splits += entry.plan.is_split
        stretches.append(Stretch(entry=entry, to_bytes_per_s=end, number=number, colour=colour))
    return stretches


def _axes(atlas: Atlas, stretches: Sequence[Stretch], top: float, seen_s: float | None) -> Axes:
    ends = [one.entry.latency_s(rate) for one in stretches for rate in (one.entry.from_bytes_per_s, one.to_bytes_per_s)]
    ends += [seen_s] if seen_s else []
    least_s, most_s = min(ends), max(ends)
    logarithmic = most_s > WIDE * least_s
    return Axes(
        low=atlas.low, high=atlas.high, top=top, logarithmic=logarithmic,
        least_s=least_s / 1.3 if logarithmic else 0.0,
        most_s=most_s * (1.25 if logarithmic else 1.2) or 1.0,
    )  # fmt: skip


def _grid(axes: Axes) -> Iterator[str]:
    bottom = axes.top + HEIGHT
    ended = -1.0
    for rate in _marks(axes.low * 8e-6, axes.high * 8e-6):
        x, words = axes.x(rate / 8e-6), units.digits(rate)
        yield line(x, axes.top, x, bottom, stroke="#e9edf1")
        half = text_width(words, 11) / 2
        if x - half > ended:
            yield text(x, bottom + STRIP + 22, words, size=11, anchor="middle", fill=FAINT)
            ended = x + half + 12
    yield text((LEFT + RIGHT) / 2, bottom + STRIP + 40, "goodput, Mbps", size=11, anchor="middle", fill=FAINT)
    marks = _marks(axes.least_s, axes.most_s) if axes.logarithmic else _steps(axes.most_s)
    above = bottom + 20
    for seconds in marks:
        y = axes.y(seconds)
        yield line(LEFT, y, RIGHT, y, stroke="#e9edf1")
        if above - y > 15:
            yield text(LEFT - 8, y + 4, units.seconds(seconds) if seconds else "0", size=11, anchor="end", fill=FAINT)
            above = y
    yield path(["M", LEFT, axes.top, "V", bottom, "H", RIGHT], stroke=RULE, width=1.5)


def _marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten between."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    every = (digit * 10.0**power for power in powers for digit in (1, 2, 5))
    return [one for one in every if low * 0.999 <= one <= high * 1.001]


def _steps(most: float) -> list[float]:
    """Round steps from 0, about six of them."""
    wanted = most / 6
    power = 10.0 ** floor(log10(wanted))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= wanted)
    return [step * i for i in range(int(most / step) + 1)]


def _unsplit_lines(
    axes: Axes, unsplit: Mapping[str, Curve], colours: Mapping[str, str], stretches: Sequence[Stretch]
) -> Iterator[str]:
    """Thin lines, cut off where they leave the plot."""
    frame = rect(LEFT, axes.top, RIGHT - LEFT, HEIGHT, fill="none")
    yield element("defs", element("clipPath", frame, id="plot"))
    for node, points in unsplit.items():
        steps = [one for rate, seconds in points for one in ("L", axes.x(rate), axes.y(seconds))]
        told = element("title", f"all on {node}")
        yield element(
            "g", told, path(["M", *steps[1:]], stroke=colours.get(node, INK), width=1.6, stroke_dasharray="5 4"),
            clip_path="url(#plot)",
        )  # fmt: skip


def _envelope(axes: Axes, stretch: Stretch) -> str:
    low, high = stretch.entry.from_bytes_per_s, stretch.to_bytes_per_s
    rates = [low * (high / low) ** (i / STEPS) for i in range(STEPS + 1)]
    steps = [one for rate in rates for one in ("L", axes.x(rate), axes.y(stretch.entry.latency_s(rate)))]
    return path(["M", *steps[1:]], stroke=stretch.colour, width=4.5, stroke_linecap="round", stroke_linejoin="round")


class _Labels:
    """Places for words above the plot: three rows, first come first served."""

    def __init__(self, axes: Axes) -> None:
        self._rows: list[list[tuple[float, float]]] = [[], [], []]
        self._top = axes.top

    def place(self, x: float, words: str, *, bold: bool = False) -> tuple[str, float] | None:
        """The words near `x` and where their line ends below, or None if there is no room left."""
        width = text_width(words, 11, bold=bold)
        left = min(max(x - width / 2, LEFT), RIGHT - width)
        for number, taken in enumerate(self._rows):
            if all(left + width + 8 < a or left > b + 8 for a, b in taken):
                taken.append((left, left + width))
                y = self._top - 6 - 14 * number
                return text(left, y, words, size=11, bold=bold), y + 3
        return None


def _today(axes: Axes, now: float, plan: Plan, labels: _Labels) -> Iterator[str]:
    x, y = axes.x(now), axes.y(plan.predicted.latency_s)
    placed = labels.place(x, f"today: {units.mbps(now)}, {units.seconds(plan.predicted.latency_s)}", bold=True)
    yield line(x, axes.top if placed is None else placed[1], x, axes.top + HEIGHT, stroke=INK, width=1.5)
    if placed is not None:
        yield placed[0]
    yield path(["M", x, y - 8, "L", x + 8, y, "L", x, y + 8, "L", x - 8, y, "Z"], fill=PAPER, stroke=INK, width=2)


def _breakpoint(axes: Axes, before: Stretch, after: Stretch, labels: _Labels) -> Iterator[str]:
    rate = after.entry.from_bytes_per_s
    x, y = axes.x(rate), axes.y(after.entry.latency_s(rate))
    placed = labels.place(x, units.mbps(rate))
    start = axes.top if placed is None else placed[1]
    yield line(x, start, x, axes.top + HEIGHT, stroke=FAINT, width=0.8, stroke_dasharray="2 3")
    if placed is not None:
        yield placed[0]
    told = element("title", f"{units.mbps(rate)}: plan {after.number} takes over from plan {before.number}")
    yield element("circle", told, cx=x, cy=y, r=4.5, fill=PAPER, stroke=INK, stroke_width=1.6, class_="breakpoint")


def _strip(axes: Axes, stretch: Stretch) -> Iterator[str]:
    left, right = axes.x(stretch.entry.from_bytes_per_s), axes.x(stretch.to_bytes_per_s)
    top, told = axes.top + HEIGHT + 3, _placed(stretch.entry.plan)
    yield rect(left, top, right - left, STRIP - 3, fill=stretch.colour, stroke=PAPER, told=told)
    choices = (f"{stretch.number}  {told}", str(stretch.number))
    fitting = next((one for one in choices if text_width(one, 11) + 10 < right - left), None)
    if fitting is not None:
        yield text((left + right) / 2, top + 14, fitting, size=11, anchor="middle", fill=ink_on(stretch.colour))


def _listed(stretches: Sequence[Stretch], top: float) -> tuple[list[str], float]:
    """The plans as a list in two columns: number, range, where how many operators run, what crosses, how long."""
    shown = stretches[:MOST_ROWS]
    rows = ceil(len(shown) / 2) if len(shown) > 3 else len(shown)
    width = (RIGHT - 24) / 2 if len(shown) > 3 else RIGHT - 24
    parts: list[str] = []
    for i, stretch in enumerate(shown):
        left, y = 24 + (i // rows) * width, top + (i % rows) * ROW
        entry, badge = stretch.entry, 22.0
        parts += [
            rect(left, y - 12, badge, 16, fill=stretch.colour, rx=3),
            text(left + badge / 2, y, str(stretch.number), size=11, anchor="middle", fill=ink_on(stretch.colour)),
        ]
        fastest, slowest = entry.latency_s(stretch.to_bytes_per_s), entry.latency_s(entry.from_bytes_per_s)
        spent = units.seconds(slowest)
        spent = spent if spent == units.seconds(fastest) else f"{spent} to {units.seconds(fastest)}"
        span = f"{units.digits(entry.from_bytes_per_s * 8e-6)} – {units.mbps(stretch.to_bytes_per_s)}"
        told = f"{span}: {_placed(entry.plan)}; {units.nbytes(entry.link_bytes)} over the link; {spent}"
        parts.append(text(left + badge + 10, y, shortened(told, 11.5, width - badge - 26), size=11.5))
    bottom = top + rows * ROW
    if len(stretches) > len(shown):
        parts.append(text(24, bottom, f"and {len(stretches) - len(shown)} more", size=11.5, fill=FAINT))
        bottom += ROW
    parts.append(_key(bottom + 4))
    return parts, bottom + 14


def _key(y: float) -> str:
    words = (
        "thick: the best plan, under the additive model · dashed: everything on one node, in its colour · "
        "circle: another plan takes over · diamond: this plan as predicted, with measured segments where there are any"
    )
    return text(24, y, shortened(words, 11, RIGHT - 24), size=11, fill=FAINT)


def _placed(plan: Plan) -> str:
    """Where how many operators run: "camera 58 | mec 36", or "all on camera"."""
    if not plan.is_split:
        return f"all on {plan.stages[0].node}"
    return " | ".join(f"{stage.node} {len(stage.operators)}" for stage in plan.stages)
