"""Runs a scenario's replications, here or in processes of their own: the same results, to the byte, on any number."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

from simulations.models import read_pipeline
from simulations.results import Outcome, Results
from simulations.scenario import Scenario
from simulations.world import World

Progress = Callable[[int, float], None]  # a replication, and the simulated seconds that it has reached


def run(
    scenario: Scenario, *, replications: int | None = None, processes: int = 1, progress: Progress | None = None
) -> Results:
    """Every replication (by default as many as the scenario wants), `processes` at once.

    With more than one process `progress` is told when a replication has ended. SimulationsError for what can't be
    simulated, with the reason.
    """
    many = range(scenario.replications if replications is None else replications)
    if processes == 1:
        outcomes = [replicate(scenario, one, progress) for one in many]
    else:
        outcomes = _apart(scenario, many, processes, progress)
    return Results(scenario=scenario, outcomes=tuple(outcomes))


def replicate(scenario: Scenario, replication: int, progress: Progress | None = None) -> Outcome:
    """One replication."""
    began_s = time.process_time()
    world = World(scenario, replication, {one.name: read_pipeline(one) for one in scenario.pipelines})
    outcome = world.run(None if progress is None else lambda at_s: progress(replication, at_s))
    return replace(outcome, seconds=time.process_time() - began_s)


def _apart(scenario: Scenario, many: Sequence[int], processes: int, progress: Progress | None) -> list[Outcome]:
    outcomes = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number, outcome in enumerate(pool.map(replicate, [scenario] * len(many), many)):
            outcomes.append(outcome)
            if progress is not None:
                progress(number, scenario.duration_s)
    return outcomes
