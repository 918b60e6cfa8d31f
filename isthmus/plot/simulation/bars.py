"""Level bars with names before and values behind them: energy and money by place, and how busy everything was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan

from isthmus.plot.simulation.figures import Estimate, Estimates, estimate_told, value_told
from isthmus.plot.simulation.scale import (
    MARGIN,
    SMALL,
    WIDTH,
    Scale,
    bottom_marks,
    heading,
    nothing,
    upward,
)  # fmt: skip
from isthmus.plot.svg import INK, PAPER, RULE, line, page, rect, shortened, text, text_width
from simulations.results import Results

LEFT, RIGHT, ROW, THICK = 200.0, 800.0, 26.0, 15.0
ENERGY = (("ue_j", "users' devices", "#0072b2"), ("mec_j", "edge machines", "#009e73"),
          ("cloud_j", "cloud machines", "#56b4e9"), ("wires_j", "wires", "#e69f00"))  # fmt: skip
MONEY = (("machines_usd", "machines", "#009e73"), ("wires_usd", "wires", "#e69f00"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value with what is known of its interval; `more` are words behind its value."""

    name: str
    figure: str
    estimate: Estimate
    colour: str
    more: str = ""


def bars(rows: Sequence[Bar], across: Scale, top: float) -> Iterator[str]:
    """A row each from `top` on; one that is NaN has no bar."""
    for number, row in enumerate(rows):
        y = top + number * ROW
        mean, half = row.estimate.mean, row.estimate.half
        yield text(LEFT - 10, y + 16, shortened(row.name, SMALL, LEFT - MARGIN - 10), size=SMALL, anchor="end")
        end = LEFT
        if not isnan(mean):
            end = across.at(mean)
            told = f"{row.name}: {estimate_told(row.figure, row.estimate)}"
            yield rect(LEFT, y + 4, max(end - LEFT, 0.5), THICK, fill=row.colour, told=told)
        if half is not None and isfinite(half) and half > 0 and not isnan(mean):
            low, high = across.at(mean - half), across.at(mean + half)
            yield line(low, y + 11.5, high, y + 11.5, stroke=INK, width=1.4)
            yield from (line(x, y + 8, x, y + 15, stroke=INK, width=1.4) for x in (low, high))
            end = max(end, high)
        told = "" if isnan(mean) and row.more else estimate_told(row.figure, row.estimate)
        words = " · ".join(one for one in (told, row.more) if one)
        fitting = shortened(words, SMALL, WIDTH - end - 16)
        yield rect(end + 5, y + 4, text_width(fitting, SMALL) + 6, THICK, fill=PAPER)
        yield text(end + 8, y + 16, fitting, size=SMALL)


def spending_svg(results: Results, figures: Estimates) -> str:
    """Energy and money by place, of the whole time that is simulated. A page that says so if there is neither."""
    name = f"{results.scenario.name}: energy and cost"
    many, hours = len(results.outcomes), results.scenario.duration_s / 3600
    told = f"of the whole {value_told('_s', results.scenario.duration_s)}; mean of {many} replications"
    told = told if many > 1 else told.partition(";")[0]
    parts, top = heading(name, (f"{told}{' and its 95 % interval' if many > 1 else ''}",))
    described = []
    for title, whole, places in (("Energy", "energy_j", ENERGY), ("Cost", "cost_usd", MONEY)):
        rows = [
            Bar(name=words, figure=figure, estimate=figures[figure], colour=colour)
            for figure, words, colour in places
            if figure in figures
        ]
        if not rows:
            continue
        all_told = estimate_told(whole, figures[whole]) if whole in figures else ""
        described.append(f"{title}: {all_told}")
        parts.append(text(MARGIN, top + 22, f"{title}: {all_told}{_hourly(whole, figures, hours)}", size=15, bold=True))
        top += 34
        across = upward(_ends(rows), LEFT, RIGHT)
        bottom = top + len(rows) * ROW + 4
        parts += bottom_marks(across, top, bottom, lambda value, whole=whole: value_told(whole, value), 6)  # type: ignore[misc]
        parts += [*bars(rows, across, top), line(LEFT, top, LEFT, bottom, stroke=RULE, width=1.5)]
        top = bottom + 34
    if not described:
        return nothing(name, "neither energy nor cost was counted")
    return page(WIDTH, top + 4, name, ". ".join(described), parts)


def _hourly(whole: str, figures: Estimates, hours: float) -> str:
    if whole not in figures or not hours > 0:
        return ""
    if whole == "cost_usd":
        return f" ({value_told(whole, figures[whole].mean / hours)} an hour)"
    return f" ({value_told('_w', figures[whole].mean / hours / 3600)} W on average)"


def _ends(rows: Sequence[Bar]) -> Iterator[float]:
    """The largest value of each bar, its interval included."""
    for row in rows:
        mean, half = row.estimate.mean, row.estimate.half
        yield mean + (half if half is not None and isfinite(half) else 0.0)
