"""Runs a scenario's replications, here or in processes of their own: the same results, to the byte, on any number.

Processes of their own are new interpreters, so a script that asks for them keeps its own work under
`if __name__ == "__main__":`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from simulations.errors import SimulationsError
from simulations.models import read_pipeline
from simulations.results import Outcome, Results
from simulations.rows import open_rows, parts
from simulations.scenario import Scenario
from simulations.world import World

Warn = Callable[[tuple[str, ...]], None]
Progress = Callable[[int, float], None]  # a replication, and the simulated seconds that it has reached
LOOK_S = 0.2  # between two looks at how far other processes are
_shared: list[Any] = []  # of a process of ours: whether to stop, and the seconds reached by replication


def run(
    scenario: Scenario,
    *,
    replications: int | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    rows: Path | None = None,
    warn: Warn | None = None,
) -> Results:
    """Every replication (by default as many as the scenario wants), `processes` at once.

    `warn` hears, before the first one begins, of what is foreseen to be overloaded in it (simulations/foresight.py).

    `rows`: a .csv or .parquet that gets a row for each request (simulations/rows.py). SimulationsError for what can't
    be simulated, with the reason.
    """
    many = scenario.replications if replications is None else replications
    for name, count in (("replications", many), ("processes", processes)):
        if count < 1:
            raise SimulationsError(f"{name}: should be 1 or more, is {count}")
    with nullcontext([None] * many) if rows is None else parts(rows, many) as files:
        if processes == 1:
            outcomes = [
                replicate(scenario, number, progress, file, None if number else warn)
                for number, file in enumerate(files)
            ]
        else:
            outcomes = _apart(scenario, files, min(processes, many), progress, warn)
    return Results(scenario=scenario, outcomes=tuple(outcomes))


def replicate(
    scenario: Scenario,
    replication: int,
    progress: Progress | None = None,
    rows: Path | None = None,
    warn: Warn | None = None,
) -> Outcome:
    """One replication; `rows` is a file that its rows go to, `warn` hears of overloads before it begins."""
    for told in replicating(scenario, replication, progress, rows):
        if isinstance(told, Outcome):
            return told
        if told and warn is not None:
            warn(told)
    raise SimulationsError(f"replication {replication} came to no end")


def replicating(
    scenario: Scenario, replication: int, progress: Progress | None = None, rows: Path | None = None
) -> Iterator[tuple[str, ...] | Outcome]:
    """The same as it goes on: before it begins what is foreseen to be overloaded, and in the end what came of it."""
    began_s = time.process_time()
    world = World(scenario, replication, {one.name: read_pipeline(one) for one in scenario.pipelines})
    written = None if rows is None else open_rows(rows, replication)
    try:
        world.on_row = None if written is None else written.add
        yield world.begin()
        outcome = world.run(None if progress is None else lambda at_s: progress(replication, at_s))
    finally:
        if written is not None:
            written.close()
    yield replace(outcome, seconds=time.process_time() - began_s)


def _apart(
    scenario: Scenario, files: Sequence[Path | None], processes: int, progress: Progress | None, warn: Warn | None
) -> list[Outcome]:
    context = get_context("spawn")
    stop, reached, warned = context.Event(), context.Array("d", len(files), lock=False), context.SimpleQueue()
    with ProcessPoolExecutor(processes, context, _begin, (stop, reached, warned)) as pool:
        futures = [pool.submit(_replicate_here, scenario, number, file) for number, file in enumerate(files)]
        try:
            _follow(futures, reached, progress, lambda: _pass_on(warned, warn))
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise SimulationsError(
                "a process that simulated was ended from outside, perhaps for want of memory; ask for fewer processes"
            ) from None
        finally:  # also when this is interrupted: none goes on for nobody
            stop.set()
            pool.shutdown(cancel_futures=True)


def _follow(
    futures: Sequence["Future[Outcome]"],
    reached: Sequence[float],
    progress: Progress | None,
    look: Callable[[], None],
) -> None:
    """Wait for all, or the first fault; tell how far each replication is whenever it has gone on; `look` each time."""
    told = [0.0] * len(futures)
    pending = set(futures)
    while pending:
        ended, pending = wait(pending, timeout=LOOK_S, return_when=FIRST_EXCEPTION)
        look()
        for number, at_s in enumerate(reached):
            if progress is not None and at_s > told[number]:
                told[number] = at_s
                progress(number, at_s)
        for future in ended:
            future.result()  # raises what went wrong


def _pass_on(warned: Any, warn: Warn | None) -> None:
    while not warned.empty():
        lines = warned.get()
        if warn is not None:
            warn(lines)


def _begin(stop: Any, reached: Any, warned: Any) -> None:
    """In a new process: Ctrl-C is the parent's to hear, and nobody simulates on when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared[:] = [stop, reached, warned]
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _replicate_here(scenario: Scenario, replication: int, rows: Path | None) -> Outcome:
    stop, reached, warned = _shared

    def note(number: int, at_s: float) -> None:
        if stop.is_set():
            raise SimulationsError("stopped")
        reached[number] = at_s

    return replicate(scenario, replication, note, rows, None if replication else warned.put)
