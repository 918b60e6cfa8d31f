"""One stage as a band: who runs it and for how long on the left, its operators as a railway map on the right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from isthmus.plot import units
from isthmus.plot.boxes import Box, Boxes, boxes_of, spans_of
from isthmus.plot.colours import ink_on, tint
from isthmus.plot.svg import FAINT, INK, path, rect, shortened, text
from isthmus.plot.tracks import Strip, Way, columns_of, strip_of
from partitioner.graph import Graph, Operator
from partitioner.plan import Plan, Stage

LEFT, RIGHT = 24.0, 1100.0  # of every band
MAP_LEFT = 236.0  # where columns begin; who runs it stands before
MAP_WIDTH = RIGHT - MAP_LEFT - 18
HEAD_WIDTH = MAP_LEFT - LEFT - 36
PADDING, ROW_GAP, HEAD_HEIGHT = 16.0, 12.0, 92.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large boxes are, and how far apart columns and tracks; `most` pixels of maps are drawn so."""

    pitch: float
    width: float
    height: float
    track: float
    runs: bool
    most: float

    @property
    def per_row(self) -> int:
        """Columns that fit beside each other."""
        return int(MAP_WIDTH // self.pitch)


SCALES = (
    Scale(pitch=94, width=74, height=24, track=36, runs=False, most=260),
    Scale(pitch=94, width=74, height=24, track=36, runs=True, most=360),
    Scale(pitch=35, width=25, height=18, track=26, runs=True, most=400),
    Scale(pitch=26, width=18, height=15, track=21, runs=True, most=560),
    Scale(pitch=19, width=13, height=12, track=17, runs=True, most=900),
)
SPELLED = 60.0  # boxes as wide as this hold their operator's kind
STRETCH = 1.45  # how much farther apart columns may stand where there is room


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A stage's boxes, laid out at a scale."""

    drawn: Boxes
    strip: Strip
    scale: Scale

    def row_height(self, row: tuple[int, int]) -> float:
        """Pixels from a row's highest box to its lowest."""
        low, high = self.strip.tracks_in(row)
        return (high - low) * self.scale.track + self.scale.height

    @property
    def height(self) -> float:
        """Pixels of all rows and the gaps between."""
        return sum(self.row_height(row) + ROW_GAP for row in self.strip.rows) - ROW_GAP


def maps_of(graph: Graph, plan: Plan) -> list[Map]:
    """Each stage's map, all at the largest scale at which they stay within its pixels.

    Where the smallest is too large still, neighbouring columns become one box, ever more of them.
    """
    for scale in SCALES:
        maps = [_map(boxes_of(graph, stage, runs=scale.runs), scale) for stage in plan.stages]
        if sum(one.height for one in maps) <= scale.most:
            return _stretched(maps)
    width = 2
    while True:
        maps = [_map(_coarse(graph, stage, width), scale) for stage in plan.stages]
        if sum(one.height for one in maps) <= scale.most or width > len(graph.operators):
            return _stretched(maps)
        width *= 2


def _stretched(maps: list[Map]) -> list[Map]:
    """The same with columns as far apart, alike in all, as the longest row lets them be."""
    longest = max(end - first for one in maps for first, end in one.strip.rows)
    scale = maps[0].scale
    wider = replace(scale, pitch=min(MAP_WIDTH / longest, scale.pitch * STRETCH))
    return [replace(one, scale=wider) for one in maps]


def _map(drawn: Boxes, scale: Scale) -> Map:
    return Map(drawn=drawn, strip=strip_of(drawn, scale.per_row), scale=scale)


def _coarse(graph: Graph, stage: Stage, width: int) -> Boxes:
    fine = boxes_of(graph, stage, runs=True)
    return spans_of(graph, stage, fine, columns_of(fine), width)


def band_height(drawn: Map) -> float:
    """Pixels that a stage's band takes."""
    return max(drawn.height, HEAD_HEIGHT - PADDING) + 2 * PADDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A stage drawn: its parts, and where what comes in and goes out meets its edges (x)."""

    parts: tuple[str, ...]
    in_x: float
    out_x: float


def band(graph: Graph, stage: Stage, drawn: Map, top: float, colour: str) -> Band:
    """The stage's band with its upper edge at `top`."""
    height = band_height(drawn)
    operators = {operator.name: operator for operator in graph.operators}
    parts = [
        rect(LEFT, top, RIGHT - LEFT, height, fill=tint(colour, 0.07), stroke=tint(colour, 0.45), rx=10),
        rect(LEFT, top, 7, height, fill=colour, rx=3.5),
        *_head(stage, top),
    ]
    drawing = _Drawing(
        drawn, [operators[one.name] for one in graph.operators], colour, top + (height - drawn.height) / 2
    )
    parts += drawing.ways()
    parts += [one for i in range(len(drawn.drawn.boxes)) for one in drawing.box(i)]
    ends = drawing.ends(top, top + height)
    return Band(parts=(*parts, *ends[0]), in_x=ends[1], out_x=ends[2])


def _head(stage: Stage, top: float) -> Iterator[str]:
    count = f"{len(stage.operators):,} operator{'s' if len(stage.operators) > 1 else ''}"
    more = f" and {len(stage.replicas)} more" if stage.replicas else ""
    lines = (
        (f"{stage.node}{more}", 16, True, INK),
        (f"{stage.backend} {stage.precision}", 12, False, INK),
        (f"{units.seconds(stage.seconds)}{' measured' if stage.measured else ''}", 15, True, INK),
        (f"{count}, {units.nbytes(stage.weights_bytes)}", 11, False, FAINT),
    )
    y = top + PADDING
    for words, size, bold, fill in lines:
        y += size + 5
        fitting = shortened(words, size, HEAD_WIDTH, bold=bold)
        yield text(LEFT + 20, y, fitting, size=size, bold=bold, fill=fill)


class _Drawing:
    """Boxes and ways of one map at their places on the page."""

    def __init__(self, drawn: Map, operators: Sequence[Operator], colour: str, top: float) -> None:
        self._map, self._strip, self._scale = drawn, drawn.strip, drawn.scale
        self._operators, self._colour = operators, colour
        self._row_of: dict[int, int] = {}
        self._zero: list[float] = []  # where track 0 runs, row by row
        for number, row in enumerate(drawn.strip.rows):
            self._row_of.update(dict.fromkeys(range(*row), number))
            low, _ = drawn.strip.tracks_in(row)
            self._zero.append(top + drawn.scale.height / 2 - low * drawn.scale.track)
            top += drawn.row_height(row) + ROW_GAP

    def _x(self, column: int) -> float:
        first, _ = self._strip.rows[self._row_of[column]]
        return MAP_LEFT + (column - first + 0.5) * self._scale.pitch

    def _y(self, row: int, track: int) -> float:
        return self._zero[row] + track * self._scale.track

    def _middle(self, i: int) -> tuple[float, float]:
        column = self._strip.columns[i]
        return self._x(column), self._y(self._row_of[column], self._strip.tracks[i])

    def ways(self) -> list[str]:
        """Every line, each drawn once."""
        lines = dict.fromkeys(one for way in self._strip.ways for one in self._way(way))
        return list(lines)

    def _way(self, way: Way) -> Iterator[str]:
        """Within a row one line; over several a line to the end of the first and one from the start of each other."""
        (x1, y1), (x2, y2) = self._middle(way.source), self._middle(way.target)
        first, last = (self._row_of[self._strip.columns[i]] for i in (way.source, way.target))
        x1, x2 = x1 + self._half(way.source), x2 - self._half(way.target)
        if first == last and way.track is None:
            yield self._stroke(["M", x1, y1, *_bend(x1, y1, x2, y2)])
            return
        leave = self._strip.tracks[way.source] if way.track is None else way.track
        arrive = self._strip.tracks[way.target] if way.track is None else way.track
        gap = self._scale.pitch - self._scale.width / 2  # from a box's middle to the edge of the next
        off_x = min(self._x(self._strip.columns[way.source]) + gap, self._row_end(first))
        onto_x = max(self._x(self._strip.columns[way.target]) - gap, MAP_LEFT - 5)
        out: list[str | float] = ["M", x1, y1, *_bend(x1, y1, off_x, self._y(first, leave))]
        if first == last:
            yield self._stroke([*out, "H", onto_x, *_bend(onto_x, self._y(last, arrive), x2, y2)])
            return
        yield self._stroke([*out, "H", self._row_end(first)])
        yield self._stroke(_chevron(self._row_end(first), self._y(first, leave)))
        for row in range(first + 1, last):
            yield self._stroke(["M", MAP_LEFT - 5, self._y(row, leave), "H", self._row_end(row)])
            yield self._stroke(_chevron(self._row_end(row), self._y(row, leave)))
        y = self._y(last, arrive)
        yield self._stroke(["M", MAP_LEFT - 5, y, "H", onto_x, *_bend(onto_x, y, x2, y2)])

    def _row_end(self, row: int) -> float:
        first, end = self._strip.rows[row]
        return MAP_LEFT + (end - first) * self._scale.pitch + 4

    def _half(self, i: int) -> float:
        return self._scale.width / 2 if self._map.drawn.boxes[i].operators else 0.0

    def _stroke(self, steps: Sequence[str | float]) -> str:
        return path(steps, stroke=tint(self._colour, 0.6), width=1.4 if self._scale.width > 15 else 1.1)

    def box(self, i: int) -> Iterator[str]:
        """A box: dark if it holds weights, with a second edge behind if several operators are in it."""
        box = self._map.drawn.boxes[i]
        if not box.operators:
            return
        x, y = self._middle(i)
        left, top = x - self._scale.width / 2, y - self._scale.height / 2
        held = [self._operators[one] for one in box.operators]
        fill = self._colour if any(one.weights for one in held) else tint(self._colour, 0.32)
        radius = 4 if self._scale.height > 14 else 3
        if len(held) > 1:
            yield rect(
                left + 2.5, top - 2.5, self._scale.width, self._scale.height, fill=tint(self._colour, 0.2),
                stroke=tint(self._colour, 0.7), rx=radius,
            )  # fmt: skip
        yield rect(
            left, top, self._scale.width, self._scale.height, fill=fill, told=_told(held), rx=radius,
            stroke=INK if box.at_cut else tint(self._colour, 0.9), stroke_width=2 if box.at_cut else 1,
            data_operators=len(held),
        )  # fmt: skip
        words, size = self._label(box, held)
        if words:
            yield text(x, y + size * 0.36, words, size=size, anchor="middle", fill=ink_on(fill))

    def _label(self, box: Box, held: Sequence[Operator]) -> tuple[str, float]:
        count = len(box.operators)
        if self._scale.width > SPELLED:
            words = held[0].op_type if count == 1 else f"{held[0].op_type} +{count - 1}"
            return shortened(words, 10.5, self._scale.width - 6), 10.5
        if count == 1:
            return "", 0
        size = 10.5 if self._scale.width > 20 else 8.5 if self._scale.width > 15 else 7.5 if count < 10 else 6
        return (str(count), size) if count < 1000 else ("…", size)

    def ends(self, top: float, bottom: float) -> tuple[list[str], float, float]:
        """The ports of what comes in and goes out, drawn to the band's edges, and where they meet them."""
        parts: list[str] = []
        in_x = MAP_LEFT + self._scale.pitch / 2
        out_x = RIGHT - 40.0
        if self._map.drawn.has_in:
            in_x, y = self._middle(0)
            parts += [path(["M", in_x, top, "V", y], stroke=INK, width=2), _port(in_x, y)]
        if self._map.drawn.has_out:
            out_x, y = self._middle(len(self._map.drawn.boxes) - 1)
            parts += [path(["M", out_x, y, "V", bottom], stroke=INK, width=2), _port(out_x, y)]
        return parts, in_x, out_x


def _told(held: Sequence[Operator]) -> str:
    if len(held) == 1:
        return f"{held[0].name} ({held[0].op_type})"
    return f"{held[0].name} … {held[-1].name}: {len(held)} operators"


def _port(x: float, y: float) -> str:
    return path(["M", x - 4, y, "A", 4, 4, 0, 1, 1, x + 4, y, "A", 4, 4, 0, 1, 1, x - 4, y, "Z"], fill=INK)


def _bend(x1: float, y1: float, x2: float, y2: float) -> tuple[str | float, ...]:
    """Over to another track and level again at both ends."""
    if y1 == y2:
        return "H", x2
    middle = (x1 + x2) / 2
    return "C", middle, y1, middle, y2, x2, y2


def _chevron(x: float, y: float) -> tuple[str | float, ...]:
    return "M", x - 1, y - 3, "L", x + 3, y, "L", x - 1, y + 3
