"""The whole plan from top to bottom: the request at its source, a band per stage, what crosses between, the answer.

A message to the very next band is drawn between the two; one that leads farther, or back, runs in the gutter beside
the bands. Its line is as thick as its bytes are many.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log10

from isthmus.plot import units
from isthmus.plot.band import LEFT, MAP_LEFT, RIGHT, Map, band, band_height, maps_of
from isthmus.plot.colours import tint
from isthmus.plot.svg import FAINT, INK, PAPER, path, rect, shortened, text, text_width
from partitioner.graph import Graph
from partitioner.plan import ROUTER, Crossing, Plan

WIDTH = 1280.0  # of the page
ENDS_HEIGHT, ENDS_WIDTH = 46.0, 430.0  # of the request's source, and of an answer's place
SLOT, LABEL_HEIGHT, AIR = 13.0, 56.0, 14.0
LABEL_WIDTH, GUTTER_LABEL = 500.0, 128.0
TRACK = 13.0  # between two lines in the gutter
HEAD = 9.0  # of an arrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A crossing and the bands it joins, counted from 1; 0 is the request's source, as receiver the answer's place."""

    crossing: Crossing
    sender: int
    receiver: int

    @property
    def is_direct(self) -> bool:
        """Whether it leads to the very next band."""
        return self.receiver == self.sender + 1


def journey(graph: Graph, plan: Plan, colours: Mapping[str, str], top: float) -> tuple[list[str], float, float]:
    """The picture's parts from `top` on, where it ends, and how wide the page must be for it."""
    maps = maps_of(graph, plan)
    drawing = _Journey(graph, plan, maps, colours, top)
    return drawing.parts(), drawing.bottom, drawing.width


def legs_of(plan: Plan) -> list[Leg]:
    """Every crossing with the bands at its ends."""
    band_of = {stage.name: i for i, stage in enumerate(plan.stages, start=1)} | {ROUTER: 0}
    return [Leg(crossing=one, sender=band_of[one.sender], receiver=band_of[one.receiver]) for one in plan.crossings]


class _Journey:
    """Where everything stands: bands and the gaps between are measured first, then drawn."""

    def __init__(self, graph: Graph, plan: Plan, maps: Sequence[Map], colours: Mapping[str, str], top: float) -> None:
        self._graph, self._plan, self._colours = graph, plan, colours
        self._legs = legs_of(plan)
        self._tops: list[float] = [top]
        self._bottoms: list[float] = [top + ENDS_HEIGHT]
        self._maps = maps
        for i, drawn in enumerate(maps, start=1):
            self._tops.append(self._bottoms[-1] + self._gap(i - 1))
            self._bottoms.append(self._tops[-1] + band_height(drawn))
        self._ends = [
            band(graph, stage, drawn, self._tops[i], colours[stage.node])
            for i, (stage, drawn) in enumerate(zip(plan.stages, maps, strict=True), start=1)
        ]
        self._labels_end = 0.0
        gutter = sum(not leg.is_direct for leg in self._legs)
        self.width = max(WIDTH, RIGHT + 36 + TRACK * gutter + GUTTER_LABEL)
        self.bottom = self._bottoms[-1] + SLOT * len(self._from(len(maps))) + AIR

    def _from(self, i: int) -> list[Leg]:
        return [leg for leg in self._legs if leg.sender == i and not leg.is_direct]

    def _to(self, i: int) -> list[Leg]:
        return [leg for leg in self._legs if leg.receiver == i and not leg.is_direct] if i else []

    def _gap(self, i: int) -> float:
        """Pixels below band i: lines into the gutter, the message to the next band, lines out of the gutter."""
        direct = any(leg.sender == i and leg.is_direct for leg in self._legs)
        lines = len(self._from(i)) + len(self._to(i + 1))
        return AIR * 2 + SLOT * lines + (LABEL_HEIGHT if direct else 0.0)

    def parts(self) -> list[str]:
        """Arrows first, so that their labels and the bands lie above them."""
        gutter = [leg for leg in self._legs if not leg.is_direct]
        arrows, labels = [], []
        for leg in self._legs:
            if leg.is_direct:
                arrow, label = self._direct(leg)
                arrows += arrow
                labels += label
        for number, leg in enumerate(gutter):
            arrows += _arrow(self._around(leg, number), leg.crossing, self._colour(leg))
        for number in sorted(range(len(gutter)), key=lambda i: sum(self._span(gutter[i]))):
            labels += self._beside(gutter[number], number, len(gutter))
        bands = [part for one in self._ends for part in one.parts]
        self.bottom = max(self.bottom, self._labels_end + AIR)
        return [*self._request(), *self._answers(), *arrows, *bands, *labels]

    def _request(self) -> Iterator[str]:
        entry = next((leg.crossing for leg in self._legs if leg.sender == 0), None)
        node = self._plan.stages[0].node if entry is None else entry.source
        told = [self._described(name) for name in self._graph.inputs]
        yield from _end(LEFT, self._tops[0], f"request at {node}", ", ".join(told), self._colours.get(node, INK))

    def _described(self, name: str) -> str:
        one = self._graph.activations[name]
        return f"{name} {one.dtype} {'×'.join(str(side) for side in one.shape)}, {units.nbytes(one.nbytes)}"

    def _answers(self) -> Iterator[str]:
        back = [leg.crossing for leg in self._legs if leg.receiver == 0]
        places = ", ".join(dict.fromkeys(one.target for one in back)) or self._plan.stages[-1].node
        colour = self._colours.get(back[0].target, INK) if back else INK
        told = ", ".join(self._described(name) for name in self._graph.outputs)
        yield from _end(RIGHT - ENDS_WIDTH + 130, self._tops[0], f"answer at {places}", told, colour)

    def _direct(self, leg: Leg) -> tuple[list[str], list[str]]:
        start_x = MAP_LEFT if leg.sender == 0 else self._ends[leg.sender - 1].out_x
        end_x, top = self._ends[leg.receiver - 1].in_x, self._bottoms[leg.sender]
        start_x = end_x if leg.sender == 0 else start_x
        bottom = self._tops[leg.receiver]
        y = top + AIR + SLOT * len(self._from(leg.sender)) + LABEL_HEIGHT / 2
        between, beside = abs(start_x - end_x) - 40, RIGHT - max(start_x, end_x) - 24
        lines = _label_lines(leg.crossing, min(LABEL_WIDTH, max(between, beside) - 20))
        width = max(text_width(words, size, bold=bold) for words, size, bold, _ in lines) + 20
        left = (start_x + end_x - width) / 2 if width <= between else max(start_x, end_x) + 16
        arrow = _arrow([(start_x, top), (start_x, y), (end_x, y), (end_x, bottom)], leg.crossing, self._colour(leg))
        return arrow, _label(lines, left, y - LABEL_HEIGHT / 2 + 2, width, tint(self._colour(leg), 0.5))

    def _span(self, leg: Leg) -> tuple[float, float]:
        """Between which heights a line runs in the gutter, where it enters first."""
        out, into = self._from(leg.sender), self._to(leg.receiver)
        start = self._bottoms[leg.sender] + AIR + SLOT * out.index(leg)
        if not leg.receiver:
            return start, self._bottoms[0]
        return start, self._tops[leg.receiver] - AIR - SLOT * (len(into) - 1 - into.index(leg))

    def _around(self, leg: Leg, number: int) -> list[tuple[float, float]]:
        """The corners of a line through the gutter."""
        x, (start, end) = RIGHT + 18 + TRACK * number, self._span(leg)
        start_x = self._ends[leg.sender - 1].out_x if leg.sender else LEFT + 40
        points = [(start_x, self._bottoms[leg.sender]), (start_x, start), (x, start), (x, end)]
        if leg.receiver:
            end_x = self._ends[leg.receiver - 1].in_x + 16 * (1 + self._to(leg.receiver).index(leg))
            points += [(end_x, end), (end_x, self._tops[leg.receiver])]
        return points

    def _beside(self, leg: Leg, number: int, of: int) -> list[str]:
        """The label of a line in the gutter, below those already there, and what joins it to its line."""
        span, label_x = self._span(leg), RIGHT + 26 + TRACK * of
        lines = _label_lines(leg.crossing, self.width - label_x - 10, narrow=True)
        top = max(sum(span) / 2 - len(lines) * 8, self._labels_end + 10)
        self._labels_end = top + 16 * len(lines)
        on_line = min(max(top + 9, min(span) + 12), max(span) - 4)
        joint = path(["M", RIGHT + 18 + TRACK * number, on_line, "L", label_x - 4, top + 9], stroke=self._colour(leg))
        return [joint, *_label(lines, label_x, top - 4, 0, None)]

    def _colour(self, leg: Leg) -> str:
        return self._colours.get(leg.crossing.source, INK)


def _end(left: float, top: float, words: str, told: str, colour: str) -> Iterator[str]:
    yield rect(left, top, ENDS_WIDTH, ENDS_HEIGHT, fill=PAPER, stroke=colour, stroke_width=1.5, rx=ENDS_HEIGHT / 2)
    room = ENDS_WIDTH - 44
    yield text(left + 22, top + 20, shortened(words, 13, room, bold=True), size=13, bold=True)
    yield text(left + 22, top + 36, shortened(told, 11, room), size=11, fill=FAINT)


def _label_lines(crossing: Crossing, room: float, *, narrow: bool = False) -> list[tuple[str, float, bool, str]]:
    """What a crossing's label says, line by line: words, size, bold, colour."""
    stays = crossing.source == crossing.target
    way = f"stays on {crossing.source}" if stays else f"{crossing.source} → {crossing.target}"
    size, spent = units.nbytes(crossing.nbytes), units.seconds(crossing.seconds)
    parts = (
        ("propagation", crossing.propagation_s), ("transfer", crossing.transfer_s),
        ("coding", crossing.codec_s), ("software", crossing.software_s),
    )  # fmt: skip
    spans = [(value, f"{units.seconds(value)} {name}") for name, value in parts if value > 5e-6]
    while not narrow and text_width(" + ".join(words for _, words in spans), 11) > room:
        spans.remove(min(spans))  # what matters least gives way
    told = " + ".join(words for _, words in spans)
    tensors = _tensors(crossing)
    if narrow:
        lines = [(way, 12.0, True, INK), (f"{size} · {spent}", 12.0, True, INK), (tensors, 11.0, False, FAINT)]
        lines += [(one, 11.0, False, FAINT) for one in told.split(" + ") if not stays and one]
    else:
        lines = [(f"{way} · {size} · {spent}", 13.0, True, INK), (tensors, 11.0, False, FAINT)]
        lines += [(told, 11.0, False, FAINT)] if told and not stays else []
    return [(shortened(words, points, room, bold=bold), points, bold, fill) for words, points, bold, fill in lines]


def _tensors(crossing: Crossing) -> str:
    """Names under their codec; of many the first two."""
    by_codec: dict[str, list[str]] = {}
    for name, codec in zip(crossing.tensors, crossing.codecs, strict=True):
        by_codec.setdefault(codec, []).append(name)
    told = []
    for codec, names in by_codec.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        told.append(f"{', '.join(shortened(name, 11, 170) for name in names[:2])}{more} as {codec}")
    return "; ".join(told)


def _label(
    lines: Sequence[tuple[str, float, bool, str]], left: float, top: float, width: float, edge: str | None
) -> list[str]:
    parts = []
    if edge is not None:
        height = 8 + sum(size + 4 for _, size, _, _ in lines)
        top += (LABEL_HEIGHT - 4 - height) / 2
        parts.append(rect(left, top, width, height, fill=PAPER, stroke=edge, rx=5))
    y = top + 1
    for words, size, bold, fill in lines:
        y += size + 4
        parts.append(text(left + (10 if edge else 0), y, words, size=size, bold=bold, fill=fill))
    return parts


def _thickness(crossing: Crossing) -> float:
    """2 pixels up to 1 kB and 3 for each tenfold beyond; a message that stays is a hairline."""
    if crossing.source == crossing.target:
        return 1.5
    return 2 + 3 * min(max(log10(max(crossing.nbytes, 1)) - 3, 0.0), 4.0)


def _arrow(points: Sequence[tuple[float, float]], crossing: Crossing, colour: str) -> list[str]:
    """A line with round corners along right angles, and a head at its end."""
    thick = _thickness(crossing)
    head = HEAD + thick * 0.5
    (_, before_y), (x, y) = points[-2:]
    down = 1 if y > before_y else -1
    points = [one for i, one in enumerate(points) if i == 0 or one != points[i - 1]]
    points = [*points[:-1], (x, y - down * head)]
    steps: list[str | float] = ["M", *points[0]]
    for (ax, ay), (bx, by), (cx, cy) in zip(points, points[1:], points[2:], strict=False):
        radius = min(10.0, (abs(bx - ax) + abs(by - ay)) / 2, (abs(cx - bx) + abs(cy - by)) / 2)
        steps += ["L", *_toward(bx, by, ax, ay, radius), "Q", bx, by, *_toward(bx, by, cx, cy, radius)]
    steps += ["L", *points[-1]]
    dash = "4 3" if crossing.source == crossing.target else None
    half = head * 0.6 + thick * 0.3
    return [
        path(steps, stroke=colour, width=thick, stroke_dasharray=dash),
        path(["M", x, y, "L", x - half, y - down * head, "L", x + half, y - down * head, "Z"], fill=colour),
    ]


def _toward(x: float, y: float, to_x: float, to_y: float, by: float) -> tuple[float, float]:
    far = abs(to_x - x) + abs(to_y - y)
    share = by / far if far else 0.0
    return x + (to_x - x) * share, y + (to_y - y) * share
