"""All plots of a simulation by name, and a folder of them as SVG files."""

from collections.abc import Mapping
from pathlib import Path

from isthmus.plot.simulation.bars import spending_svg
from isthmus.plot.simulation.figures import Given, Swept, known, points_of
from isthmus.plot.simulation.front import pareto_svg
from isthmus.plot.simulation.latency import latency_svg
from isthmus.plot.simulation.load import load_svg
from isthmus.plot.simulation.timeline import timeline_svg
from isthmus.plot.simulation.topology_map import map_svg
from simulations.results import Results

AGAINST = (("latency_p95_s", "energy_j"), ("latency_p95_s", "cost_usd"), ("latency_p95_s", "missed_share"))


def pictures(results: Results, *, figures: Given | None = None, sweep: Swept | None = None) -> dict[str, str]:
    """SVG documents by name, in the order in which to show them; of a sweep fronts as well.

    `figures` are means with intervals as simulations.statistics makes them; without, they are made here.
    """
    found = known(results, figures)
    drawn = {
        "latency": latency_svg(results),
        "timeline": timeline_svg(results),
        "map": map_svg(results, found),
        "load": load_svg(results, found),
        "spending": spending_svg(results, found),
    }
    return drawn | fronts(sweep or ())


def fronts(sweep: Swept) -> dict[str, str]:
    """Pareto fronts of a sweep, for the pairs of figures that some scenario of it has."""
    return {
        f"pareto-{y}": pareto_svg(sweep, x, y)
        for x, y in AGAINST
        if any(x in figures and y in figures for _, figures in points_of(sweep))
    }


def write_plots(
    results: Results, folder: Path | str, *, figures: Given | None = None, sweep: Swept | None = None
) -> list[Path]:
    """`pictures` as NAME.svg files in a folder, which is made if there is none. OSError if it can't be written."""
    return _written(pictures(results, figures=figures, sweep=sweep), Path(folder))


def write_fronts(sweep: Swept, folder: Path | str) -> list[Path]:
    """The Pareto fronts of a sweep alone, likewise."""
    return _written(fronts(sweep), Path(folder))


def _written(drawn: Mapping[str, str], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg" for name in drawn]
    for path, svg in zip(paths, drawn.values(), strict=True):
        path.write_text(svg, encoding="utf-8")
    return paths
