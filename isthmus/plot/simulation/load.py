"""How busy machines, cells and links were, and what was foreseen to be asked for more than it can do (ρ ≥ 1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from isthmus.plot import units
from isthmus.plot.simulation.bars import LEFT, RIGHT, ROW, Bar, bars
from isthmus.plot.simulation.figures import Estimate, Estimates, mean_of, share_told
from isthmus.plot.simulation.scale import MARGIN, WIDTH, Scale, bottom_marks, heading, nothing
from isthmus.plot.svg import FAINT, INK, RULE, line, page, text
from partitioner.topology import Tier
from simulations.results import Results

MOST = 30
STEPS = ((0.25, "#c6dbef"), (0.5, "#85b8dd"), (0.75, "#3d8bc4"), (1.0, "#125a9c"))  # below the share: the colour
FULL, UNKNOWN = "#d55e00", "#e4e7eb"
ALMOST_FULL = 0.995
UNCOUNTED = Estimate(mean=float("nan"), half=None, std_error=None, counted=0, left_out=0)
_LINE = re.compile(r"(?P<what>node|cell|link|users) (?P<name>.*): ρ = (?P<rho>[\d.]+|inf|nan)")


@dataclass(frozen=True, slots=True)
class Load:
    """Something that works: its name in words, the figure that says for which share of the time, and its foreseen ρ."""

    name: str
    figure: str
    rho: float | None


def load_colour(share: float) -> str:
    """Light to dark blue by quarters, vermilion for what is full, grey for what is not known."""
    if isnan(share):
        return UNKNOWN
    return next((colour for below, colour in STEPS if share < below), FULL) if share < ALMOST_FULL else FULL


def foreseen_rho(results: Results) -> dict[str, float]:
    """ρ of what was foreseen to be overloaded, by figure; of users' own devices by "users NAME". The largest of all."""
    found: dict[str, float] = {}
    for outcome in results.outcomes:
        for told in outcome.overloads:
            match = _LINE.match(told)
            if match is None:
                continue
            name, rho = match["name"], float(match["rho"])
            if match["what"] == "node":
                key = f"{name}.utilisation"
            elif match["what"] == "cell":
                cell, _, way = name.rpartition(", ")
                key = f"{cell}.{way}_load"
            elif match["what"] == "link":
                key = f"{name}.link_load"
            else:
                key = f"users {name.partition(':')[0]}"
            found[key] = max(found.get(key, 0.0), rho)
    return found


def loads_of(results: Results) -> list[Load]:
    """Machines, cells up and down, links, and users' devices if these are overloaded; in the scenario's order."""
    rho = foreseen_rho(results)
    scenario = results.scenario
    found = []
    for machine in scenario.machines:
        if machine.node.tier is not Tier.DEVICE:
            found.append(Load(machine.node.name, figure := f"{machine.node.name}.utilisation", rho.get(figure)))
    for cell in scenario.cells:
        for way in ("up", "down"):
            found.append(Load(f"{cell.name}, {way}", figure := f"{cell.name}.{way}_load", rho.get(figure)))
    for wire in scenario.wires:
        ends = f"{wire.source} → {wire.target}"
        found.append(Load(ends, figure := f"{ends}.link_load", rho.get(figure)))
    for group in scenario.groups:
        if (key := f"users {group.name}") in rho:
            found.append(Load(f"devices of {group.name}", key, rho[key]))
    return found


def load_svg(results: Results, figures: Estimates) -> str:
    """A bar each, the busiest first where they are more than 30; those of ρ ≥ 1 by name above all."""
    name = f"{results.scenario.name}: how busy everything was"
    loads = [one for one in loads_of(results) if one.figure in figures or one.rho is not None]
    if not loads:
        return nothing(name, "no machine and no cell was counted")
    over = [one for one in loads if one.rho is not None and one.rho >= 1]
    many = len(results.outcomes)
    told = ["share of the whole time" + (f"; mean of {many} replications and its 95 % interval" if many > 1 else "")]
    parts, top = heading(name, told)
    shown, rest = _shown(loads, figures)
    rows = [_bar(one, figures) for one in shown]
    if over:
        words = f"▲ foreseen to be overloaded (ρ ≥ 1): {len(over)} of {len(loads)}; queues grow as long as that lasts"
        parts.append(text(MARGIN, top + 12, words, size=13, bold=True, fill="#a23b00"))
        top += 24
    across = Scale(0.0, 1.0, LEFT, RIGHT - 60)
    bottom = top + len(rows) * ROW + 6
    parts += [*bottom_marks(across, top, bottom, share_told, 5), line(LEFT, top, LEFT, bottom, stroke=RULE, width=1.5)]
    parts.append(line(across.end, top, across.end, bottom, stroke=INK, width=1.2, stroke_dasharray="5 3"))
    parts += bars(rows, across, top)
    bottom += 36
    if rest:
        most = max((figures[one.figure].mean for one in rest if one.figure in figures), default=0.0)
        parts.append(text(LEFT, bottom, f"and {len(rest)} more, {share_told(most)} busy at most", size=12, fill=FAINT))
        bottom += 20
    described = "; ".join(
        f"{row.name} {share_told(row.estimate.mean)}{', ' + row.more if row.more else ''}" for row in rows
    )
    return page(WIDTH, bottom, name, f"{described}.", parts)


def _shown(loads: Sequence[Load], figures: Estimates) -> tuple[list[Load], list[Load]]:
    if len(loads) <= MOST:
        return list(loads), []

    def weight(one: Load) -> tuple[float, float]:
        mean = mean_of(figures, one.figure)
        return one.rho or 0.0, 0.0 if isnan(mean) else mean

    ordered = sorted(loads, key=weight, reverse=True)
    return ordered[:MOST], ordered[MOST:]


def _bar(load: Load, figures: Estimates) -> Bar:
    estimate = figures.get(load.figure, UNCOUNTED)
    over = load.rho is not None and load.rho >= 1
    return Bar(
        name=f"{load.name} ▲" if over else load.name,
        figure="_share",
        estimate=estimate,
        colour=FULL if over else load_colour(estimate.mean),
        more=f"ρ = {units.digits(load.rho)} foreseen" if load.rho is not None and over else "",
    )
