"""`simulate`: what a scenario comes to, in one call. It prints nothing and starts no Ray."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SpecError

if TYPE_CHECKING:
    from simulations.results import Results
    from simulations.running import Progress, Warn
    from simulations.scenario import Scenario


def simulate(
    scenario: "Path | str | Scenario",
    *,
    replications: int | None = None,
    processes: int = 1,
    seed: int | None = None,
    rows: Path | str | None = None,
    progress: "Progress | None" = None,
    warn: "Warn | None" = None,
) -> "Results":
    """A scenario's replications, by the planner, the cores and the policies that run live, over simulated time.

    `scenario`: a YAML file, the name of a ready-made one, or a Scenario. `replications` and `seed` take the place of
    its own; the same seed gives the same results, to the byte, on any number of `processes` (new interpreters, so a
    script that asks for more than one keeps its own work under `if __name__ == "__main__":`). `rows`: a .csv or
    .parquet that gets a row for each request. `progress` hears of a replication's number and the simulated seconds
    that it has reached; `warn`, before anything is simulated, of what is asked for more than it can do (ρ ≥ 1), lines.

    `results.values("latency_p99_s")` is a figure in each replication, seconds here; units are in the names. Of their
    means and 95 % intervals simulations.statistics.estimates(results) tells. SpecError names what is wrong in the
    YAML, with its path in the file; SimulationsError what can't be simulated.
    """
    from simulations.running import run
    from simulations.scenario import Scenario

    if seed is not None and seed < 0:
        raise SpecError(f"seed: should be 0 or more, is {seed}")
    if not isinstance(scenario, Scenario):
        given = read_scenario(scenario, seed=seed, replications=replications)
    else:
        given = scenario if seed is None else replace(scenario, seed=seed)
    return run(
        given,
        replications=replications,
        processes=processes,
        progress=progress,
        rows=None if rows is None else Path(rows),
        warn=warn,
    )


def read_scenario(named: Path | str, *, seed: int | None = None, replications: int | None = None) -> "Scenario":
    """The scenario in a file, or a ready-made one, as if these stood in its YAML. SpecError in one line."""
    from simulations.scenario_file import parse_scenario

    path, data = read_data(named, seed=seed, replications=replications)
    return parse_scenario(data, where=str(path), folder=path.parent)


def read_data(named: Path | str, **changed: int | None) -> tuple[Path, dict[str, Any]]:
    """What the YAML holds, and where it lies; what is not None in `changed` takes the place of the file's own."""
    from orchestrator.yaml_file import read_yaml
    from simulations.scenario_file import READY_MADE, load_scenario, ready_made

    path = READY_MADE / f"{named}.yaml" if str(named) in ready_made() else Path(named)
    if not path.exists():
        load_scenario(named)  # says what there is instead
    return path, read_yaml(path) | {key: value for key, value in changed.items() if value is not None}
