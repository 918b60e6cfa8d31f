"""How well seconds of segments that nobody timed are told: by the fit, and by adding operators up.

For each example model and engine some segments are timed, chosen as profiling chooses them, and the fit is made from
those runs. Other segments, ranges drawn from all that there are, are timed in runs of their own; their medians are what
is to be told. All take turns, in another order each round, so that a busy spell of the machine meets all alike. Of each
segment's runs the third counts that waited least for a core; how far the medians of the two halves of the rounds are
apart tells how quiet it was. The additive figures rest on the same profile, scaled to the whole model's median.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from statistics import mean, median
from time import perf_counter, process_time

import numpy as np
from kit.figures import Figure, figure, report

from isthmus import zoo
from nodes.backend import installed_backends
from nodes.memory import keep_memory
from nodes.profiler import profile_model
from nodes.program import Program
from nodes.store import Store
from orchestrator.artifacts import stage_artifact
from orchestrator.profiling import feeds_for
from partitioner.fitted import Fitted, fit
from partitioner.load import Model, load
from partitioner.probes import probes
from partitioner.profile import EngineKey, EngineProfile, segment_key
from partitioner.segment_features import ends_of

MODELS = ("efficientnet_lite0", "ocr_detect", "ocr_read")
BACKENDS = ("onnxruntime", "openvino")
TARGET = 0.10
MEASURED = 30  # segments per model, the whole one among them
WARM_UPS, RUNS = 1, 3  # each time a segment's turn comes

Operators = tuple[str, ...]
Run = tuple[float, float]  # the share that it waited, and its seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One segment that the fit had not seen, in seconds."""

    measured_s: float
    fitted_s: float
    std_s: float
    additive_s: float
    halves_s: tuple[float, float]  # medians of the first and the second half of the runs

    @property
    def error(self) -> float:
        """Of the fit, relative."""
        return self.fitted_s / self.measured_s - 1

    @property
    def additive_error(self) -> float:
        """Of the operators' sum, relative."""
        return self.additive_s / self.measured_s - 1


def told(name: str, backends: Sequence[str], held_out: int, rounds: int) -> Iterator[tuple[str, list[Told]]]:
    """What is told of a model's held-out segments on each engine."""
    path = zoo.build(name)
    model = load(path)
    keys = [EngineKey(node_class="here", backend=backend) for backend in backends]
    first = profile_model(path, keys).engines
    everything = tuple(operator.name for operator in model.graph.operators)
    chosen = (everything, *(one for one in probes(model.graph, first[keys[0]], MEASURED) if one != everything))
    chosen = chosen[:MEASURED]
    others = drawn(model, held_out, without=set(chosen))
    for key in keys:
        runs = timed(model, key.backend, (*chosen, *others), rounds)
        seen = {one: median(chain(*runs[one])) for one in chosen}
        fitted = fit(model.graph, learned(first[key], seen, everything))
        yield (
            f"{name} on {key.backend}",
            [_told(fitted, everything.index(one[0]), len(one), runs[one]) for one in others],
        )


def _told(fitted: Fitted, begin: int, count: int, halves: Sequence[Sequence[float]]) -> Told:
    """`count` operators from `begin` on, told and as they ran."""
    members = np.arange(begin, begin + count)
    fitted_s, std_s = fitted.seconds(members)
    return Told(
        measured_s=median(chain(*halves)),
        fitted_s=fitted_s,
        std_s=std_s,
        additive_s=fitted.basis.additive_s(members),
        halves_s=(median(halves[0]), median(halves[1])),
    )


def drawn(model: Model, count: int, without: set[Operators]) -> tuple[Operators, ...]:
    """Ranges of operators in graph order, any begin and end alike, that read and make something."""
    random, found = Random(1), dict[Operators, None]()
    names = [operator.name for operator in model.graph.operators]
    while len(found) < count:
        begin, end = sorted(random.sample(range(len(names) + 1), 2))
        operators = tuple(names[begin:end])
        if all(ends_of(model.graph, range(begin, end))) and operators not in without:
            found[operators] = None
    return tuple(found)


def timed(
    model: Model, backend: str, segments: Sequence[Operators], rounds: int
) -> dict[Operators, tuple[list[float], ...]]:
    """Seconds of each segment's least disturbed runs in the first and the second half of the rounds."""
    random = Random(2)
    with ExitStack() as undo, tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        store = Store(Path(folder) / "artifacts")
        calls = {one: _call(model, one, backend, store, undo) for one in segments}
        runs: dict[Operators, list[list[Run]]] = {one: [] for one in segments}
        for _ in range(rounds):
            for one in random.sample(segments, len(segments)):
                for _ in range(WARM_UPS):
                    calls[one]()
                runs[one].append([_run(calls[one]) for _ in range(RUNS)])
    return {one: _least_disturbed(turns[: rounds // 2], turns[rounds // 2 :]) for one, turns in runs.items()}


def _run(call: Callable[[], object]) -> Run:
    computed_s, start = process_time(), perf_counter()
    call()
    taken_s = perf_counter() - start
    return max(taken_s - (process_time() - computed_s), 0.0) / taken_s, taken_s


def _least_disturbed(*halves: Sequence[Sequence[Run]]) -> tuple[list[float], ...]:
    """Of each half of the turns, the seconds of the third of the runs that waited least."""
    found = []
    for turns in halves:
        every = sorted((run for turn in turns for run in turn), key=lambda run: round(run[0], 2))
        found.append([taken_s for _, taken_s in every[: -(-len(every) // 3)]])
    return tuple(found)


def _call(model: Model, operators: Operators, backend: str, store: Store, undo: ExitStack) -> Callable[[], object]:
    names = [operator.name for operator in model.graph.operators]
    begin = names.index(operators[0])
    inputs, outputs = ends_of(model.graph, range(begin, begin + len(operators)))
    sha = stage_artifact(model, operators, inputs, outputs, store)
    program = Program.load(store.path(sha), backend=backend)
    undo.callback(program.close)
    return partial(program.run, feeds_for(model, inputs, {}))


def learned(engine: EngineProfile, seconds: Mapping[Operators, float], everything: Operators) -> EngineProfile:
    """The engine with these segments timed, and operators that sum to what the whole model took."""
    factor = (seconds[everything] - engine.call_s) / sum(engine.operator_s.values())
    return replace(
        engine,
        operator_s={name: operator_s * factor for name, operator_s in engine.operator_s.items()},
        segment_s={segment_key(one): taken_s for one, taken_s in seconds.items()},
        segments={segment_key(one): one for one in seconds},
    )


def figures(found: Mapping[str, Sequence[Told]]) -> Iterator[Figure]:
    """The mean absolute error of each model on each engine, with the additive one's beside it."""
    for name, every in found.items():
        errors = [abs(one.error) for one in every]
        added = [abs(one.additive_error) for one in every]
        spread = (min(errors), max(errors))
        yield figure(f"{name}: mean absolute error, fitted", mean(errors), "", TARGET, spread=spread)
        yield figure(f"{name}: mean absolute error, additive", mean(added), "", spread=(min(added), max(added)))
        apart = [abs(one.halves_s[0] / one.halves_s[1] - 1) for one in every]
        yield figure(
            f"{name}: first half of the runs from the second", mean(apart), "", spread=(min(apart), max(apart))
        )
    every = [one for some in found.values() for one in some]
    within = mean(abs(one.fitted_s - one.measured_s) <= 2 * one.std_s for one in every)
    yield figure("held-out segments within two of the fit's standard deviations", within, "", 0.9, "higher")
    yield figure("held-out segments", len(every), "")
    yield figure("measured segments per model", MEASURED, "", MEASURED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    models, held_out, rounds = (MODELS[:1], 15, 12) if options.quick else (MODELS, 50, 25)
    backends = [backend for backend in BACKENDS if backend in installed_backends()]
    keep_memory()
    found = {name: every for model in models for name, every in told(model, backends, held_out, rounds)}
    report("cost_model", figures(found), options.json)


if __name__ == "__main__":
    main()
