"""A replication over its time: latency, answers and failures, rates of links, and the marks of what happened."""

from collections.abc import Iterator

from isthmus.plot import units
from isthmus.plot.simulation.happenings import changes_told, clock, switches_told
from isthmus.plot.simulation.labels import Rows
from isthmus.plot.simulation.panel import LEFT, RIGHT, Line, Panel
from isthmus.plot.simulation.rates import cell_rates, wire_rates
from isthmus.plot.simulation.scale import MARGIN, SMALL, WIDTH, Scale, heading, nothing, title
from isthmus.plot.svg import FAINT, INK, PAPER, element, line, lines_of, page, path, rect, text, text_width
from simulations.results import Outcome, Results

LATENCY, ANSWERED, FAILED, SWITCH = "#0072b2", "#009e73", "#d55e00", "#8f3a75"
WARMING = "#f1f4f7"
MOST_LISTED, MOST_RULED = 12, 30
LANE, BADGE_ROW = 22.0, 18.0


def timeline_svg(results: Results) -> str:
    """The first replication. A page that says so where it was never sampled."""
    name = f"{results.scenario.name}: over time"
    outcome = next(iter(results.outcomes), None)
    if outcome is None or not outcome.series.get("at_s"):
        return nothing(name, "shorter than the time between two samples, so there is no course")
    drawing = _Drawing(results, outcome)
    many = len(results.outcomes)
    told = f"the first of {many} replications" if many > 1 else "one replication"
    if results.scenario.warmup_s:
        told += f" · grey: warming up for {units.seconds(results.scenario.warmup_s)}, not counted"
    parts, top = heading(name, (told,))
    body, bottom = drawing.drawn(top + 10)
    described = "; ".join(f"{clock(at_s)}: {words}" for at_s, words in drawing.changes) or "No changes"
    return page(WIDTH, bottom + MARGIN, name, f"{len(drawing.switches)} switches. {described}.", [*parts, *body])


def panels_of(results: Results, outcome: Outcome) -> list[Panel]:
    """From the top: latency, answers and failures, rates of cells and of wires. Those without lines are words alone."""
    series = outcome.series
    rates = [cell_rates(results.scenario, outcome), wire_rates(results.scenario, outcome)]
    answers = [Line(name="answered/s", values=series.get("answered_per_s", ()), colour=ANSWERED)]
    answers.append(Line(name="failed/s", values=series.get("failed_per_s", ()), colour=FAILED, dashes="6 3"))
    latency = Line(name="", values=series.get("latency_mean_s", ()), colour=LATENCY)
    return [
        Panel(
            words="mean latency of what was answered since the sample before", lines=(latency,), height=150,
            told=lambda value: units.seconds(value) if value else "0", may_be_logarithmic=True,
        ),
        Panel(words="requests", lines=answers, told=lambda value: f"{units.digits(value)}/s" if value else "0"),
        *(Panel(words=words, lines=lines, told=_mbps, may_be_logarithmic=True) for lines, words in rates),
    ]  # fmt: skip


def _mbps(bits_per_s: float) -> str:
    if not bits_per_s:
        return "0"
    return f"{units.digits(bits_per_s / 1e9)} Gbps" if bits_per_s >= 1e9 else units.mbps(bits_per_s / 8)


class _Drawing:
    """Panels below each other on one axis of time, and marks through all of them."""

    def __init__(self, results: Results, outcome: Outcome) -> None:
        self._results, self._outcome = results, outcome
        self._times = outcome.series["at_s"]
        end_s = max(results.scenario.duration_s, self._times[-1])
        self._unit_s, self._unit = (1.0, "s") if end_s <= 600 else (60.0, "min") if end_s <= 7200 else (3600.0, "h")
        self._across = Scale(0.0, end_s / self._unit_s, LEFT, RIGHT)
        self.changes = changes_told(results.scenario.changes)
        self.switches = switches_told(outcome.notes)

    def _x(self, at_s: float) -> float:
        return self._across.at(at_s / self._unit_s)

    def drawn(self, top: float) -> tuple[list[str], float]:
        """All parts from `top` on, and where they end."""
        lanes, begin = self._lanes(top)
        at_x = [self._x(at_s) for at_s in self._times]
        parts: list[str] = []
        spans: list[tuple[float, float]] = []
        y = begin
        for panel in panels_of(self._results, self._outcome):
            if panel.lines:
                drawn, *span = panel.drawn(at_x, y)
                spans.append((span[0], span[1]))
                parts += drawn
                y = span[1] + 16
            elif panel.words:
                parts.append(text(LEFT, y + 10, panel.words, size=SMALL, fill=FAINT))
                y += 26
        for value in self._across.marks(10):
            words = f"{units.digits(value)} {self._unit}" if value else "0"
            parts.append(text(self._across.at(value), y + 2, words, size=11, anchor="middle", fill=FAINT))
        parts.append(text((LEFT + RIGHT) / 2, y + 22, "simulated time", size=SMALL, anchor="middle"))
        listed, bottom = self._listed(y + 48)
        below = [part for span in spans for part in self._through(*span)]
        return [*below, *lanes, *parts, *listed], bottom

    def _through(self, top: float, bottom: float) -> Iterator[str]:
        """Below a panel's lines: the warm-up, and an upright for each change and, if they are few, each switch."""
        warm_x = self._x(self._results.scenario.warmup_s)
        if warm_x > LEFT:
            yield rect(LEFT, top, warm_x - LEFT, bottom - top, fill=WARMING)
        if len(self.switches) <= MOST_RULED:
            for at_s, _ in self.switches:
                yield line(self._x(at_s), top, self._x(at_s), bottom, stroke="#d9b8cf")
        for at_s, _ in self.changes:
            yield line(self._x(at_s), top, self._x(at_s), bottom, stroke=FAINT, width=0.9, stroke_dasharray="2 3")

    def _lanes(self, top: float) -> tuple[list[str], float]:
        """Above the panels: switches as triangles, changes as numbered badges. A lane without any is left out."""
        parts: list[str] = []
        y = top
        if self.switches:
            parts.append(text(LEFT - 8, y + 12, f"{len(self.switches)} ×", size=11, anchor="end", fill=FAINT))
            parts += [self._triangle(at_s, y + 3, words) for at_s, words in self.switches]
            parts.append(text(RIGHT, y - 4, "triangle: another plan is taken up", size=11, anchor="end", fill=FAINT))
            y += LANE
        if self.changes:
            rows, low = Rows(LEFT - 12, WIDTH - 4, y + 13, 3, -BADGE_ROW), y
            for number, (at_s, words) in enumerate(self.changes, start=1):
                spot = rows.place(self._x(at_s), _badge_width(number))
                if spot is not None:  # one without room is found by its number in the list
                    parts += _badge(number, *spot, f"{clock(at_s)}: {words}")
                    low = max(low, spot[1])
            y = low + 10
        return parts, y + 4

    def _triangle(self, at_s: float, top: float, words: str) -> str:
        x, told = self._x(at_s), title(f"{clock(at_s)}: {words}")
        return element("g", told, path(["M", x - 5, top, "H", x + 5, "L", x, top + 10, "Z"], fill=SWITCH, stroke=PAPER))

    def _listed(self, top: float) -> tuple[list[str], float]:
        """Changes in words behind their numbers; what is too many is counted."""
        parts: list[str] = []
        y = top
        for number, (at_s, words) in enumerate(self.changes[:MOST_LISTED], start=1):
            parts += _badge(number, MARGIN, y, words)
            parts.append(text(MARGIN + 32, y, clock(at_s), size=SMALL, bold=True))
            lines = lines_of(words, SMALL, WIDTH - 2 * MARGIN - 110, 2)
            parts += [text(MARGIN + 110, y + 16 * row, told, size=SMALL) for row, told in enumerate(lines)]
            y += 16 * len(lines) + 4
        if len(self.changes) > MOST_LISTED:
            parts.append(text(MARGIN, y, f"and {len(self.changes) - MOST_LISTED} more", size=SMALL, fill=FAINT))
            y += 20
        return parts, y - 14


def _badge_width(number: int) -> float:
    return text_width(str(number), 11) + 10


def _badge(number: int, left: float, base: float, words: str) -> list[str]:
    width = _badge_width(number)
    return [
        rect(left, base - 12.5, width, 16, fill=PAPER, stroke=INK, rx=8, told=words),
        text(left + width / 2, base, str(number), size=11, anchor="middle"),
    ]
