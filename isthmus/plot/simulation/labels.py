"""Words near what they name, none over another: the places near it are tried in turn, nearest first."""

from collections.abc import Sequence

from isthmus.plot.svg import FAINT, PAPER, line, rect, shortened, text, text_width

Box = tuple[float, float, float, float]  # left, top, right, bottom
STEP, STEPS = 14.0, 4


class Labels:
    """What is taken so far within the bounds. First come, first served."""

    def __init__(self, bounds: Box, taken: Sequence[Box] = ()) -> None:
        self._bounds = bounds
        self._taken = list(taken)

    def take(self, box: Box) -> None:
        """No label goes here."""
        self._taken.append(box)

    def is_free(self, box: Box) -> bool:
        """Whether nothing is there yet and it is within the bounds."""
        left, top, right, bottom = self._bounds
        inside = box[0] >= left and box[1] >= top and box[2] <= right and box[3] <= bottom
        return inside and not any(overlap(box, other) for other in self._taken)

    def place(
        self, x: float, y: float, words: str, *, off: float = 9, size: float = 11.5, bold: bool = False,
        most: float = 220, above: bool = False,
    ) -> list[str]:  # fmt: skip
        """The words beside, above (first, if `above`) or below the spot, `off` pixels from it or further, with a line.

        Empty where there is no room: what has no label should have a title.
        """
        told = shortened(words, size, most, bold=bold)
        width = text_width(told, size, bold=bold)
        beside = (x + off, y + size * 0.35), (x - off - width, y + size * 0.35)
        over, under = (x - width / 2, y - off), (x - width / 2, y + off + size * 0.8)
        for step in (0, *(sign * one for one in range(1, STEPS + 1) for sign in (1, -1))):
            for left, level in (over, *beside, under) if above else (*beside, over, under):
                base = level - step * STEP
                box = (left - 2, base - size * 0.85, left + width + 2, base + size * 0.3)
                if self.is_free(box):
                    self._taken.append(box)
                    near = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
                    leader = [line(x, y, *near, stroke=FAINT, width=0.7)] if step else []
                    back = rect(box[0], box[1], box[2] - box[0], box[3] - box[1], fill=PAPER, fill_opacity=0.8)
                    return [*leader, back, text(left, base, told, size=size, bold=bold)]
        return []


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share a place."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


class Rows:
    """Words at upright lines, in rows above each other: the lowest with room is taken."""

    def __init__(self, left: float, right: float, base: float, rows: int, step: float = 15) -> None:
        self._left, self._right, self._base, self._step = left, right, base, step
        self._rows: list[list[tuple[float, float]]] = [[] for _ in range(rows)]

    def place(self, x: float, width: float) -> tuple[float, float] | None:
        """Where words `width` wide may start, and their base line; None if no row has room."""
        left = min(max(x - width / 2, self._left), self._right - width)
        for number, taken in enumerate(self._rows):
            if all(left + width + 6 < start or left > end + 6 for start, end in taken):
                taken.append((left, left + width))
                return left, self._base - number * self._step
        return None
