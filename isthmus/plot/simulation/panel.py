"""One panel of a time line: a few lines over the same times, with their names above and values at the left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from isthmus.plot.simulation.scale import SMALL, Scale, course, frame, key, left_marks, upward
from isthmus.plot.svg import FAINT, text, text_width

LEFT, RIGHT = 84.0, 970.0
WIDE = 8.0  # above this ratio of largest to least, values are drawn as logarithms where the panel may
Values = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A value at each sample, NaN where there is none. One without a `name` is not in the key."""

    name: str
    values: Values
    colour: str
    dashes: str | None = None
    width: float = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Lines with what they are of, and how a value is told. From 0 on, unless `may_be_logarithmic` and it helps."""

    words: str
    lines: Sequence[Line]
    told: Callable[[float], str]
    height: float = 110.0
    may_be_logarithmic: bool = False

    def drawn(self, at_x: Sequence[float], top: float) -> tuple[list[str], float, float]:
        """Its parts from `top` on, samples at `at_x`, and where its plot begins and ends."""
        parts = [text(LEFT, top + 10, self.words, size=SMALL, fill=FAINT)]
        names = [(line.name, line.colour, line.dashes) for line in self.lines if line.name]
        named, below = key(names, LEFT + text_width(self.words, SMALL) + 24, top + 10, RIGHT)
        if below > top + 30:  # not in one row: then from the left, below the words
            named, below = key(names, LEFT, top + 28, RIGHT)
        up = self._up(below - 4, below - 4 + self.height)
        has_zero = up.logarithmic and any(value == 0 for line in self.lines for value in line.values)
        parts += [*named, *left_marks(up, LEFT, RIGHT, self.told, has_zero=has_zero)]
        for line in self.lines:
            points = [
                (x, up.at(value) if isfinite(value) else value) for x, value in zip(at_x, line.values, strict=False)
            ]
            parts.append(course(points, stroke=line.colour, width=line.width, dashes=line.dashes, told=line.name))
        parts.append(frame(LEFT, up.end, RIGHT, up.start))
        return [part for part in parts if part], up.end, up.start

    def _up(self, top: float, bottom: float) -> Scale:
        values = [value for line in self.lines for value in line.values if isfinite(value)]
        above = [value for value in values if value > 0]
        if self.may_be_logarithmic and above and max(above) > WIDE * min(above):
            # What is 0 (a wire that is down) stands at the bottom, well below all else.
            room = 1.2 if len(above) == len(values) else 4.0
            return Scale(min(above) / room, max(above) * 1.2, bottom, top, logarithmic=True)
        return upward(values, bottom, top)
