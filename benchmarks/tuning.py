"""Who finds the fastest settings sooner: Optuna, or the tuner that learned from other models' trials?

Every setting of an engine is timed once on every model, all in turn and idle in between, as a worker times them. Then
each model is held out: the learned tuner sees the trials of the others, and each tuner proposes settings, answered from
the table. Told is what the best setting found after so many trials takes over the best there is; means over seeds.

TVM's trials can't be read off a table, for what they find stays: there each tuner gets the same seconds, and an empty
cache. MNN has its threads alone to tune, which two trials do. For batches, told is what the one chosen gains.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import mean, median
from time import perf_counter, sleep

from kit.figures import Figure, figure, report

from isthmus.zoo import build
from nodes.backend import Option, Session, installed_backends, load_backend
from nodes.control_service import IDLE_S
from nodes.rebatch import rebatched
from nodes.stage_options import stage_options
from nodes.timing import sample_feeds
from orchestrator.tuning.batches import best_batch
from orchestrator.tuning.knobs import Setting, settings, values_of
from orchestrator.tuning.on_nodes import mix_of
from orchestrator.tuning.trials import Trial
from orchestrator.tuning.tune import tune
from orchestrator.tuning.tuners import Tuner, tuner_of
from partitioner.extract import extract
from partitioner.graph import Graph
from partitioner.load import load

BACKENDS = ("onnxruntime", "openvino")
MODELS = ("efficientnet_lite0", "minilm", "ocr_detect", "ocr_read")
BATCHED = ("efficientnet_lite0", "ocr_detect")
PIECES = 3  # of each model, as models of their own
THREADS = (1, 2)  # of the nodes
ROUNDS, QUICK_ROUNDS = 7, 3
TRIALS = (2, 4, 6, 10)
SEEDS = 20
TUNED_BY_TVM = tuple(f"{name} {PIECES - 1}" for name in ("efficientnet_lite0", "minilm", "ocr_read"))
TVM_S, QUICK_TVM_S = 15.0, 10.0
SIZES = (2, 4, 8)
Case = tuple[str, int]  # model, threads


class RandomTuner:
    """The default, then any order."""

    def __init__(self, backend: str, threads: int, seed: int) -> None:
        first, *others = settings(backend, threads)
        self._left = [first, *Random(seed).sample(others, len(others))]

    def ask(self) -> Setting | None:
        """The next one."""
        return self._left.pop(0) if self._left else None

    def tell(self, setting: Setting, ratio: float | None) -> None:
        """It learns nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one model's pieces, fewer runs")
    given = parser.parse_args()
    rounds = QUICK_ROUNDS if given.quick else ROUNDS
    models = {f"{name} {piece}": made for name in MODELS[: 1 if given.quick else None] for piece, made in pieces(name)}
    figures: list[Figure] = []
    for backend in BACKENDS:
        trials = [one for name, model in models.items() for one in timed(name, *model, backend, rounds)]
        figures += compared(backend, trials)
    if "tvm" in installed_backends():
        last = {name: models[name] for name in TUNED_BY_TVM if name in models}
        figures += tvm_compared(last, QUICK_TVM_S if given.quick else TVM_S, rounds)
    figures += [one for name in BATCHED[: 1 if given.quick else None] for one in batches(name, rounds)]
    report("tuning", figures, given.json)


def pieces(name: str) -> Iterator[tuple[int, tuple[bytes, Mapping[str, float]]]]:
    """A model cut into PIECES by its operators' order, each with the mix of the whole."""
    model = load(build(name))
    graph, names = model.graph, [operator.name for operator in model.graph.operators]
    for piece in range(PIECES):
        start, end = (round(share * len(names) / PIECES) for share in (piece, piece + 1))
        (part,) = extract(model, names[start:end], *_ends(graph, range(start, end)))
        assert part.model is not None
        yield piece, (part.model.SerializeToString(), mix_of(graph))


def _ends(graph: Graph, inside: range) -> tuple[list[str], list[str]]:
    """What some operators read from outside, and what they make for outside."""
    reads = [
        name
        for name, one in graph.activations.items()
        if (one.producer is None or one.producer not in inside) and any(reader in inside for reader in one.consumers)
    ]
    makes = [
        name
        for name, one in graph.activations.items()
        if one.producer in inside and (name in graph.outputs or any(reader not in inside for reader in one.consumers))
    ]
    return reads, makes


def timed(name: str, data: bytes, mix: Mapping[str, float], backend: str, rounds: int) -> list[Trial]:
    """Trials of a model under every setting, on nodes with one and two threads."""
    with ExitStack() as opened:
        sessions: dict[tuple[tuple[str, Option], ...], Session] = {}
        for threads in THREADS:
            for setting in settings(backend, threads):
                if (exact := _exact(backend, setting, threads)) not in sessions:
                    sessions[exact] = _opened(opened, data, backend, setting, threads)
        taken = dict(zip(sessions, in_turn(list(sessions.values()), rounds), strict=True))
    return [
        Trial(
            model=name,
            node="here",
            backend=backend,
            threads=threads,
            setting=setting,
            seconds=taken[_exact(backend, setting, threads)],
            mix=mix,
        )
        for threads in THREADS
        for setting in settings(backend, threads)
    ]


def _exact(backend: str, setting: Setting, threads: int) -> Setting:
    """The same for the same engine: fewer threads of a node are the threads of a smaller one."""
    return tuple(({"threads": threads} | values_of(backend, setting, threads)).items())


def _opened(opened: ExitStack, data: bytes, backend: str, setting: Mapping[str, Option] | Setting, of: int) -> Session:
    told = stage_options(backend, dict(setting), threads=of)
    session = load_backend(backend).compile(data, threads=told.threads, options=told.engine)
    opened.callback(session.close)
    return session


def in_turn(sessions: list[Session], rounds: int) -> list[float]:
    """Median seconds of each, timed in turn: two runs to warm up, then `rounds`, each after doing nothing."""
    feeds = [sample_feeds(session.inputs) for session in sessions]
    taken: list[list[float]] = [[] for _ in sessions]
    for number in range(-2, rounds):
        for session, feed, times in zip(sessions, feeds, taken, strict=True):
            if number >= 0:
                sleep(IDLE_S)
            started_s = perf_counter()
            session.run(feed)
            if number >= 0:
                times.append(perf_counter() - started_s)
    return [median(times) for times in taken]


def compared(backend: str, trials: list[Trial]) -> list[Figure]:
    """Mean surplus over the best setting, for each tuner after each number of trials."""
    surplus: dict[tuple[str, int], list[float]] = {}
    cases = sorted({(one.model, one.threads) for one in trials})
    tables = {case: {one.setting: one.seconds or 0.0 for one in _of(trials, case)} for case in cases}
    for case, table in tables.items():
        for name, make in tuners(backend, trials, case).items():
            for seed in range(SEEDS):
                for count, found in _found(make(seed), table).items():
                    surplus.setdefault((name, count), []).append(found / min(table.values()) - 1)
    default = mean(table[()] / min(table.values()) - 1 for table in tables.values())
    told = [figure(f"{backend}: the default, above the best setting", 100 * default, "%")]
    for (name, count), values in sorted(surplus.items(), key=lambda pair: (pair[0][1], pair[0][0])):
        told.append(figure(f"{backend}: {name} after {count} trials", 100 * mean(values), "%"))
    return told


def tuners(backend: str, trials: list[Trial], case: Case) -> dict[str, Callable[[int], Tuner]]:
    """The tuners by name, for a model that is held out: the learned one sees the trials of other models only."""
    model, threads = case
    others = [one for one in trials if one.model.split()[0] != model.split()[0]]
    seen = others or [one for one in trials if one.model != model]
    mix = next(one.mix for one in trials if one.model == model)
    made: dict[str, Callable[[int], Tuner]] = {
        name: partial(_named, name, backend, mix, threads, seen) for name in ("learned", "optuna")
    }
    return made | {"random": partial(RandomTuner, backend, threads)}


def _named(name: str, backend: str, mix: Mapping[str, float], threads: int, seen: list[Trial], seed: int) -> Tuner:
    return tuner_of(name, backend, mix=mix, threads=threads, seen=seen, seed=seed)


def _of(trials: list[Trial], case: Case) -> list[Trial]:
    return [one for one in trials if (one.model, one.threads) == case]


def _found(tuner: Tuner, table: Mapping[Setting, float]) -> dict[int, float]:
    """The best seconds met after each number of trials of interest."""
    met: list[float] = []
    while len(met) < max(TRIALS) and (setting := tuner.ask()) is not None:
        met.append(table[setting])
        tuner.tell(setting, table[setting] / table[()])
    return {count: min(met[:count]) for count in TRIALS}


def tvm_compared(models: Mapping[str, tuple[bytes, Mapping[str, float]]], budget_s: float, rounds: int) -> list[Figure]:
    """What a model takes of the untuned one's seconds after each tuner had `budget_s`; learned from the one before."""
    seen: list[Trial] = []
    ratios: dict[str, list[float]] = {}
    for model, (data, mix) in models.items():
        trials = [Trial(model=model, node="", backend="tvm", threads=2, setting=(), seconds=1.0, mix=mix), *seen]
        for name, make in tuners("tvm", trials, (model, 2)).items():
            with _own_cache():
                done = asyncio.run(tune(make(0), partial(_tvm_s, data, rounds), budget_s=budget_s, backend="tvm"))
            ratios.setdefault(name, []).append(done.seconds / done.default_s)
        seen += [
            Trial(model=model, node="here", backend="tvm", threads=2, setting=setting, seconds=seconds, mix=mix)
            for setting, seconds in done.tried
        ]
    title = f"tvm: {{}} after {budget_s:g} s, of the untuned model"
    return [
        figure(title.format(name), 100 * mean(values), "%", spread=(100 * min(values), 100 * max(values)))
        for name, values in ratios.items()
    ]


async def _tvm_s(data: bytes, rounds: int, options: Mapping[str, Option]) -> float:
    with ExitStack() as opened:
        return in_turn([_opened(opened, data, "tvm", options, 2)], rounds)[0]


@contextmanager
def _own_cache() -> Iterator[None]:
    """A cache of nothing, as on a node that never compiled before."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def batches(name: str, rounds: int) -> list[Figure]:
    """The batch chosen on each engine with two threads, and its rows a second over those of one at a time."""
    told = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        files = {rows: rebatched(build(name), rows, Path(folder) / f"{rows}.onnx") for rows in SIZES}
        for backend in BACKENDS:
            models = {1: build(name), **files}
            sessions = [_opened(opened, path.read_bytes(), backend, {}, 2) for path in models.values()]
            curve = dict(zip(models, in_turn(sessions, rounds), strict=True))
            best = best_batch(curve[1], curve)
            told.append(figure(f"{backend}: {name}, the batch chosen", best, "rows", better="higher"))
            gain = best / curve[best] * curve[1]
            told.append(figure(f"{backend}: {name}, its rows a second", gain, "×", better="higher"))
    return told


if __name__ == "__main__":
    main()
