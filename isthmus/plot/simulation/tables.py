"""The tables of a simulation's page, as text cells. Which figures are in which, and in what order."""

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.plot.simulation.figures import MAIN, NONE, PLACES, WHOLE, Estimates, Point, estimate_told, named
from simulations.comparing import Difference
from simulations.results import Results

SWEPT = (
    "latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "missed_share", "failed_share",
    "answered_per_s", "energy_j", "cost_usd", "switches",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """A head, rows as long as it, and a line above both."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    told: str = ""


def figure_rows(results: Results, found: Estimates) -> Table:
    """Figures of requests: of all together and, if there are several, of each group."""
    groups = [group.name for group in results.scenario.groups]
    owners = ["", *(f"{name}." for name in groups)] if len(groups) > 1 else [""]
    rows = [
        [named(figure), *(cell(found, f"{owner}{figure}") for owner in owners)] for figure in MAIN if figure in found
    ]
    return Table(["", *(["all", *groups] if len(groups) > 1 else [groups[0] if groups else "all"])], rows)


def place_rows(results: Results, found: Estimates) -> Table:
    """How busy each machine and cell was; users' own devices are not among them."""
    names = [machine.node.name for machine in results.scenario.machines]
    names += [name for cell in results.scenario.cells if (name := cell.name) not in names]
    rows = [
        [name, *(cell(found, f"{name}.{figure}") for figure in PLACES)]
        for name in names
        if any(f"{name}.{figure}" in found for figure in PLACES)
    ]
    return Table(["", *(named(figure) for figure in PLACES)], rows)


def whole_rows(found: Estimates) -> Table:
    """Energy and money, and how often something changed."""
    return Table(["", ""], [[named(figure), cell(found, figure)] for figure in WHOLE if figure in found])


def swept_rows(points: Sequence[Point]) -> Table:
    """A row for each scenario of a sweep."""
    figures = [figure for figure in SWEPT if any(figure in found for _, found in points)]
    return Table(
        ["scenario", *(named(figure) for figure in figures)],
        [[label, *(cell(found, figure) for figure in figures)] for label, found in points],
    )


def compared_rows(differences: Sequence[Difference]) -> Table:
    """Main figures in both scenarios, how far they are apart, and whether that is more than chance."""
    main = [one for one in differences if one.verdict is not None]
    rows = [
        [
            named(one.figure), estimate_told(one.figure, one.first), estimate_told(one.figure, one.second),
            estimate_told(one.figure, one.difference, sign=True), one.verdict or "",
        ]
        for one in main
    ]  # fmt: skip
    told = "Paired replications with the same luck; “real”: not by chance, all main figures together at 95 %."
    return Table(["", "this scenario", "the other", "the other less this", ""], rows, told)


def cell(found: Estimates, figure: str) -> str:
    """A figure with its interval; a dash if it is not there."""
    return estimate_told(figure, found[figure]) if figure in found else NONE
