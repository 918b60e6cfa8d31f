"""Axes of charts: from values to pixels, which values are marked, lines with gaps, and keys of colours."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from isthmus.plot.svg import FAINT, RULE, element, line, page, path, quoted, shortened, text, text_width

WIDTH, MARGIN = 1000.0, 24.0
GRID, SMALL = "#e9edf1", 11.5


@dataclass(frozen=True, slots=True)
class Scale:
    """Values `low` to `high` over pixels `start` to `end`; what lies outside is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        kept = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = log10(kept / self.low) / log10(self.high / self.low)
        else:
            share = (kept - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share

    def marks(self, about: int = 6) -> list[float]:
        """Round values between the ends: 1, 2, 5 of powers of ten, or some `about` even steps."""
        if self.logarithmic and len(found := _decades(self.low, self.high, about)) >= 3:
            return found
        span = self.high - self.low
        power = 10.0 ** floor(log10(span / about))
        step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= span / about * 0.999)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [step * one for one in range(first, last + 1)]


def _decades(low: float, high: float, about: int) -> list[float]:
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for digits in ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,)):
        every = [digit * 10.0**power for power in powers for digit in digits]
        found = [one for one in every if low * 0.999 <= one <= high * 1.001]
        if len(found) <= 2 * about:
            break
    return found


def upward(values: Iterable[float], bottom: float, top: float) -> Scale:
    """A scale from 0 to a little above the largest value that is a number."""
    most = max((value for value in values if isfinite(value)), default=0.0)
    return Scale(0.0, most * 1.08 if most > 0 else 1.0, bottom, top)


def left_marks(
    scale: Scale, left: float, right: float, told: Callable[[float], str], *, has_zero: bool = False
) -> Iterator[str]:
    """Level lines with their values before them; `has_zero`: on a logarithmic axis 0 stands at the bottom."""
    above = 1e9
    if has_zero:
        yield text(left - 8, scale.start + 4, "0", size=11, anchor="end", fill=FAINT)
        above = scale.start
    for value in scale.marks(max(2, int(abs(scale.start - scale.end) / 27))):
        y = scale.at(value)
        yield line(left, y, right, y, stroke=GRID)
        if above - y >= 15:
            yield text(left - 8, y + 4, told(value), size=11, anchor="end", fill=FAINT)
            above = y


def bottom_marks(
    scale: Scale, top: float, bottom: float, told: Callable[[float], str], about: int = 10, *, words: bool = True
) -> Iterator[str]:
    """Upright lines with their values below them, where there is room for these."""
    ended = -1e9
    for value in scale.marks(about):
        x, label = scale.at(value), told(value)
        yield line(x, top, x, bottom, stroke=GRID)
        half = text_width(label, 11) / 2
        if words and x - half > ended and x + half < WIDTH - 2:
            yield text(x, bottom + 17, label, size=11, anchor="middle", fill=FAINT)
            ended = x + half + 10


def frame(left: float, top: float, right: float, bottom: float) -> str:
    """The left and lower edge of a plot."""
    return path(["M", left, top, "V", bottom, "H", right], stroke=RULE, width=1.5)


def course(
    points: Iterable[tuple[float, float]], *, stroke: str, width: float = 1.8, dashes: str | None = None,
    told: str | None = None,
) -> str:  # fmt: skip
    """A line through pixels that breaks where one is NaN; a point alone is a dot. Empty if there is none at all."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if isfinite(x) and isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    steps: list[str | float] = []
    for run in (one for one in runs if len(one) > 1):
        steps += ["M", *run[0]]
        steps += [step for spot in run[1:] for step in ("L", *spot)]
    alone = [element("circle", cx=run[0][0], cy=run[0][1], r=width * 1.2, fill=stroke) for run in runs if len(run) == 1]
    drawn = path(
        steps, stroke=stroke, width=width, stroke_linejoin="round", stroke_linecap="round", stroke_dasharray=dashes
    )
    parts = [*([drawn] if steps else []), *alone]
    return element("g", *([] if told is None else [title(told)]), *parts) if parts else ""


def title(words: str) -> str:
    """What is shown where a pointer rests."""
    return element("title", quoted(words))


def swatch(left: float, base: float, colour: str, dashes: str | None) -> str:
    """A short piece of a line, before its name that stands on `base`."""
    return path(["M", left, base - 4, "H", left + 24], stroke=colour, width=3, stroke_dasharray=dashes)


def key(
    entries: Sequence[tuple[str, str, str | None]], left: float, top: float, right: float
) -> tuple[list[str], float]:
    """Names after short lines of their colour and dashes, in rows between left and right, and where these end."""
    parts: list[str] = []
    x, y = left, top
    for words, colour, dashes in entries:
        fitting = shortened(words, SMALL, 260)
        width = 34 + text_width(fitting, SMALL)
        if x > left and x + width > right:
            x, y = left, y + 18
        parts += [
            swatch(x, y, colour, dashes),
            text(x + 30, y, fitting, size=SMALL),
        ]
        x += width + 16
    return parts, y + 18


def heading(title: str, told: Sequence[str]) -> tuple[list[str], float]:
    """A title and the lines below it, and where the drawing may begin."""
    parts = [text(MARGIN, 36, shortened(title, 20, WIDTH - 2 * MARGIN, bold=True), size=20, bold=True)]
    for number, words in enumerate(told):
        fitting = shortened(words, 12.5, WIDTH - 2 * MARGIN)
        parts.append(text(MARGIN, 58 + 18 * number, fitting, size=12.5, fill=FAINT))
    return parts, 50 + 18 * len(told)


def nothing(title: str, told: str) -> str:
    """A page for a plot of which there is nothing to draw, with the reason."""
    parts, top = heading(title, ())
    return page(WIDTH, top + 90, title, told, [*parts, text(WIDTH / 2, top + 30, told, size=14, anchor="middle")])
