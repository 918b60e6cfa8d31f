"""Error against latency: a dot for each engine in each setting, and the line of those that no other beats in both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from isthmus.plot import units
from isthmus.plot.colours import node_colours
from isthmus.plot.svg import FAINT, INK, PAPER, element, line, lines_of, page, path, rect, shortened, text, text_width
from orchestrator.selecting.cells import Row
from orchestrator.selecting.comparison import Comparison
from orchestrator.selecting.ranking import SAME_ERROR, pareto, value

WIDTH, HEIGHT = 960.0, 640.0
LEFT, RIGHT, TOP, BOTTOM = 84.0, 936.0, 136.0, 540.0
SIZE, RADIUS = 11.5, 5.5
ROOM = 1.06  # of the axes beyond the outermost dots, as a share of their decades
OFFSETS = ((10, 4, "start"), (-10, 4, "end"), (0, -11, "middle"), (0, 20, "middle"))  # where a label goes, by liking
FURTHER = 14.0  # then these places again, a line further up or down

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """From seconds and errors to the page; both are logarithmic."""

    low_s: float
    high_s: float
    low_error: float
    high_error: float

    def x(self, seconds: float) -> float:
        """Where a latency stands."""
        return LEFT + (RIGHT - LEFT) * log10(seconds / self.low_s) / log10(self.high_s / self.low_s)

    def y(self, error: float) -> float:
        """Where an error stands; what is float32's rounding or less is at the bottom."""
        share = log10(max(error, SAME_ERROR) / self.low_error) / log10(self.high_error / self.low_error)
        return BOTTOM - (BOTTOM - TOP) * share


def trade_off_svg(found: Comparison) -> str:
    """The comparison as an SVG document (UTF-8 text). Equal comparisons give equal text."""
    rows = [row for row in found.rows if row.figures is not None and row.figures.accuracy is not None]
    title = f"{found.asked.model.name}: error against latency"
    told = _told(found)
    parts = [
        text(24, 40, shortened(title, 21, WIDTH - 48, bold=True), size=21, bold=True),
        *(text(24, 62 + 18 * i, words, size=13, fill=FAINT) for i, words in enumerate(_lines(told))),
    ]
    if not rows:
        parts.append(text(WIDTH / 2, HEIGHT / 2, "nothing ran that could be compared", size=15, anchor="middle"))
        return page(WIDTH, HEIGHT, title, ". ".join(told), parts)
    axes = _axes(rows, found.asked.max_error)
    front = sorted(pareto(rows, ("p50_s", "error")), key=lambda row: (value(row, "p50_s"), value(row, "error")))
    colours = node_colours(row.cell.backend for row in sorted(rows, key=lambda row: row.cell.backend))
    parts += [*_grid(axes), *_bound(axes, found.asked.max_error), *_staircase(axes, front)]
    parts += [_dot(axes, row, colours[row.cell.backend], row is found.choice.row) for row in rows]
    parts += _labels(axes, rows, found)
    parts.append(_key())
    described = "; ".join(
        f"{row.cell.name}: {units.seconds(value(row, 'p50_s'))}, error {value(row, 'error'):.1e}" for row in rows
    )
    return page(WIDTH, HEIGHT, title, f"{'. '.join(told)}. {described}.", parts)


def _told(found: Comparison) -> list[str]:
    chosen = found.choice.row
    first = f"take {chosen.cell.name}: {found.choice.reason}" if chosen else f"nothing to take: {found.choice.reason}"
    return [first, f"{found.machine}; errors against {found.reference_told}; samples: {found.data}"]


def _lines(told: Sequence[str]) -> list[str]:
    return [*lines_of(told[0], 13, WIDTH - 48, 2), *lines_of(told[1], 13, WIDTH - 48, 1)]


def _axes(rows: Sequence[Row], max_error: float) -> Axes:
    times = [value(row, "p50_s") for row in rows]
    errors = [SAME_ERROR, 1e-3, max_error, *(value(row, "error") for row in rows)]
    room_s = (max(times) / min(times)) ** (ROOM - 1) * 1.25
    errors = [one for one in errors if one > 0]
    room = (max(errors) / min(errors)) ** (ROOM - 1)
    return Axes(
        low_s=min(times) / room_s,
        high_s=max(times) * room_s,
        low_error=min(errors) / room,
        high_error=max(errors) * room,
    )


def _grid(axes: Axes) -> Iterator[str]:
    for seconds in _ticks(axes.low_s, axes.high_s):
        x = axes.x(seconds)
        yield line(x, TOP, x, BOTTOM)
        yield text(x, BOTTOM + 18, units.seconds(seconds), size=11, anchor="middle", fill=FAINT)
    for power in range(ceil(log10(axes.low_error)), floor(log10(axes.high_error)) + 1):
        y = axes.y(10.0**power)
        yield line(LEFT, y, RIGHT, y)
        yield text(LEFT - 8, y + 4, f"{10.0**power:g}", size=11, anchor="end", fill=FAINT)
    yield text((LEFT + RIGHT) / 2, BOTTOM + 40, "median latency of a request", size=12, anchor="middle")
    yield text(LEFT, TOP - 8, "largest error, of the largest output", size=12)


def _ticks(low: float, high: float) -> list[float]:
    """Round values: 1, 2, 5 of each decade, or the decades alone where there are many."""
    digits = (
        (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    )
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]


def _bound(axes: Axes, max_error: float) -> Iterator[str]:
    if max_error > SAME_ERROR:
        y = axes.y(max_error)
        yield line(LEFT, y, RIGHT, y, stroke=INK, width=1.2, stroke_dasharray="6 4")
        yield text(RIGHT, y - 5, f"most error asked for: {max_error:g}", size=11, anchor="end")


def _staircase(axes: Axes, front: Sequence[Row]) -> Iterator[str]:
    """Along the front: what lies above and right of it is beaten by one of its rows."""
    if not front:
        return
    points = [(axes.x(value(row, "p50_s")), axes.y(value(row, "error"))) for row in front]
    steps: list[str | float] = ["M", points[0][0], TOP, "L", *points[0]]
    for (_, y), (x, lower) in pairwise(points):
        steps += ["L", x, y, "L", x, lower]
    steps += ["L", RIGHT, points[-1][1]]
    yield path(steps, stroke="#7f7f7f", width=2, stroke_linejoin="round")


def _dot(axes: Axes, row: Row, colour: str, chosen: bool) -> str:
    x, y = axes.x(value(row, "p50_s")), axes.y(value(row, "error"))
    told = element("title", f"{row.cell.name}: {units.seconds(value(row, 'p50_s'))}, error {value(row, 'error'):.1e}")
    ring = element("circle", cx=x, cy=y, r=RADIUS + 4, fill="none", stroke=INK, stroke_width=2) if chosen else ""
    return ring + element("circle", told, cx=x, cy=y, r=RADIUS, fill=colour, stroke=PAPER, stroke_width=1.2)


def _labels(axes: Axes, rows: Sequence[Row], found: Comparison) -> Iterator[str]:
    """A name beside each dot, none over another name or dot; one for which there is no room is left to its title."""
    several = len({row.node for row in rows}) > 1
    spots = {id(row): (axes.x(value(row, "p50_s")), axes.y(value(row, "error"))) for row in rows}
    dots: list[Box] = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in spots.values()]
    taken: list[Box] = [*dots, _bound_box(axes, found.asked.max_error)]
    for row in sorted(rows, key=lambda row: (row is not found.choice.row, value(row, "p50_s"))):
        words = f"{row.node}: {row.cell.name}" if several else row.cell.name
        bold = row is found.choice.row
        placed = _place(*spots[id(row)], words, bold, taken)
        if placed is not None:
            x, y, anchor, box, far = placed
            taken.append(box)
            if far:
                yield line(*spots[id(row)], min(max(spots[id(row)][0], box[0]), box[2]), y - 4, stroke=FAINT, width=0.7)
            yield rect(box[0], box[1], box[2] - box[0], box[3] - box[1], fill=PAPER, fill_opacity=0.85)
            yield text(x, y, words, size=SIZE, anchor=anchor, bold=bold)


def _place(
    x: float, y: float, words: str, bold: bool, taken: Sequence[Box]
) -> tuple[float, float, str, Box, bool] | None:
    width = text_width(words, SIZE, bold=bold)
    for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6):
        for right, down, anchor in OFFSETS:
            at, base = x + right, y + down - step * FURTHER
            left = at - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            box = (left, base - SIZE * 0.8, left + width, base + SIZE * 0.25)
            inside = box[0] > LEFT and box[2] < WIDTH - 4 and box[1] > TOP and box[3] < BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                return at, base, anchor, box, step != 0
    return None


def _bound_box(axes: Axes, max_error: float) -> Box:
    width = text_width(f"most error asked for: {max_error:g}", 11)
    y = axes.y(max(max_error, SAME_ERROR))
    return RIGHT - width, y - 15, RIGHT, y + 1


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _key() -> str:
    words = (
        "ring: recommended · grey line: no other is both faster and more accurate · a colour is an engine · "
        "errors of 1e-05 or less are float32's own rounding"
    )
    return text(24, HEIGHT - 24, shortened(words, 11, WIDTH - 48), size=11, fill=FAINT)
