"""`isthmus simulate`: one scenario, two compared, or a grid of them; as tables, one JSON object, plots, a page."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.text import Text

from isthmus.simulating import read_data, read_scenario, simulate
from isthmus.simulation_course import on_course
from isthmus.simulation_json import comparison_to_json, results_to_json
from isthmus.simulation_tables import Estimates, comparison_parts, list_table, simulation_parts, sweep_table
from isthmus.terminal import console, errors, show, show_json
from orchestrator.errors import SpecError
from orchestrator.yaml_file import read_yaml
from simulations.comparing import Difference, compare
from simulations.results import Results
from simulations.running import Progress
from simulations.scenario import Scenario
from simulations.scenario_file import READY_MADE, parse_scenario, ready_made
from simulations.statistics import estimates
from simulations.sweeping import expand

Swept = Sequence[tuple[str, Results, Estimates]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options say. `against`: the scenario of --compare. None: the scenario's own, or the default."""

    scenario: str
    replications: int | None = None
    processes: int | None = None
    seed: int | None = None
    against: str | None = None
    sweep: tuple[str, ...] = ()
    rows: Path | None = None
    plot: Path | None = None
    html: Path | None = None


def print_list(*, as_json: bool) -> None:
    """Ready-made scenarios with what each is about."""
    found = {name: str(read_yaml(READY_MADE / f"{name}.yaml").get("about", "")) for name in ready_made()}
    if as_json:
        show_json({"scenarios": [{"name": name, "about": about} for name, about in found.items()]})
    else:
        show(list_table(found))


def print_simulation(asked: Asked, *, as_json: bool) -> None:
    """Simulate, write what files were asked for, and print. SpecError or SimulationsError in one line."""
    _refuse_early(asked)
    if asked.sweep:
        _print_sweep(asked, as_json=as_json)
    elif asked.against is not None:
        _print_comparison(asked.against, asked, as_json=as_json)
    else:
        _print_one(asked, as_json=as_json)


def _print_one(asked: Asked, *, as_json: bool) -> None:
    (results,) = _here([_scenario(asked)], asked)
    found = estimates(results)
    _write(results, asked)
    if as_json:
        show_json(results_to_json(results, found))
        return
    for part in simulation_parts(results, found):
        console.print(part, crop=False, soft_wrap=isinstance(part, Text))
    _tell_files(asked)


def _print_comparison(against: str, asked: Asked, *, as_json: bool) -> None:
    """With the seed and the replications of the first: without the same luck there is nothing to compare."""
    scenario = _scenario(asked)
    other = read_scenario(against, seed=scenario.seed, replications=scenario.replications)
    first, second = _here([scenario, other], asked)
    found = compare(first, second)
    _write(first, asked, compared=found)
    if as_json:
        show_json(comparison_to_json(first, second, found))
        return
    for part in comparison_parts(first, second, found):
        console.print(part, crop=False, soft_wrap=isinstance(part, Text))
    _tell_files(asked)


def _print_sweep(asked: Asked, *, as_json: bool) -> None:
    swept = _sweep(asked)
    _write(swept[0][1], asked, sweep=swept)
    if as_json:
        show_json({"sweep": [{"label": label} | results_to_json(one, found) for label, one, found in swept]})
        return
    console.print(sweep_table(swept), crop=False)
    _tell_files(asked)


def _scenario(asked: Asked) -> Scenario:
    return read_scenario(asked.scenario, seed=asked.seed, replications=asked.replications)


def _here(scenarios: Sequence[Scenario], asked: Asked) -> list[Results]:
    """Simulated in this process or, with --processes, in some of their own."""
    found: list[Results] = []
    with on_course([one.duration_s for one in scenarios for _ in range(one.replications)]) as reached:
        for scenario in scenarios:
            before = sum(len(one.outcomes) for one in found)
            progress = None if reached is None else _from(before, reached)
            found.append(
                simulate(scenario, processes=asked.processes or 1, rows=asked.rows, progress=progress, warn=_warn)
            )
    return found


def _warn(overloads: tuple[str, ...], within: str = "") -> None:
    """Said first, then simulated."""
    for line in overloads:
        errors.print(f"overloaded: {escape(within + line)}", soft_wrap=True)


def _from(before: int, reached: Progress) -> Progress:
    return lambda number, at_s: reached(before + number, at_s)


def _sweep(asked: Asked) -> Swept:
    path, data = read_data(asked.scenario, seed=asked.seed, replications=asked.replications)
    points = expand(data, asked.sweep)
    scenarios = [parse_scenario(point.data, where=f"{path} with {point.label}", folder=path.parent) for point in points]
    from isthmus.verbs.simulate_on_ray import run_on_ray

    with on_course([one.duration_s for one in scenarios for _ in range(one.replications)]) as reached:
        lengths_s = [one.duration_s for one in scenarios for _ in range(one.replications)]
        ended = None if reached is None else lambda number: reached(number, lengths_s[number])
        many = [one.replications for one in scenarios]
        at_once = asked.processes or os.cpu_count() or 1
        found = run_on_ray(
            scenarios,
            many,
            at_once=at_once,
            ended=ended,
            warn=lambda number, lines: _warn(lines, f"{points[number].label}: "),
        )
    return [(point.label, one, estimates(one)) for point, one in zip(points, found, strict=True)]


def _refuse_early(asked: Asked) -> None:
    """Before anything is simulated: what could not be written in the end."""
    if asked.html is not None and asked.html.suffix != ".html":
        raise SpecError(f"--html {asked.html}: a page is written; name a file that ends in .html")
    if asked.html is not None and not asked.html.parent.is_dir():
        raise SpecError(f"--html {asked.html}: there is no folder {asked.html.parent}; make it first")
    if asked.plot is not None:
        try:
            asked.plot.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"--plot {asked.plot}: can't be a folder: {error.strerror}") from None


def _write(results: Results, asked: Asked, *, sweep: Swept = (), compared: Sequence[Difference] = ()) -> None:
    """Plots and page; of a sweep its fronts, and each scenario's plots in a folder of its own."""
    if asked.plot is None and asked.html is None:
        return
    from isthmus.plot.simulation import html_page, write_plots
    from isthmus.plot.simulation.pictures import fronts

    if asked.plot is not None and not sweep:
        write_plots(results, asked.plot)
    elif asked.plot is not None:
        for number, (label, one, found) in enumerate(sweep):
            write_plots(one, asked.plot / f"{number}-{re.sub(r'[^A-Za-z0-9.=-]+', '_', label)[:80]}", figures=found)
        for name, svg in fronts(sweep).items():
            (asked.plot / f"{name}.svg").write_text(svg, encoding="utf-8")
    if asked.html is not None:
        asked.html.write_text(html_page(results, sweep=sweep or None, compared=compared or None), encoding="utf-8")


def _tell_files(asked: Asked) -> None:
    for what, path in (("rows", asked.rows), ("plots", asked.plot), ("page", asked.html)):
        if path is not None:
            show(escape(f"  {what}: {path}"))
