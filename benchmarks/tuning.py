"""Who finds the fastest settings sooner: Optuna, or the tuner that learned from other models' trials?

Every setting of an engine is timed once on every model, all in turn. Then each model is held out: the learned tuner
sees the trials of the others, and each tuner proposes settings, answered from the table. Told is what the best setting
found after so many trials takes over the best there is; Optuna and the random order are means over seeds.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from statistics import mean

from kit.figures import Figure, figure, report

from isthmus.zoo import build
from nodes.backend import load_backend
from nodes.timing import sample_feeds, time_together
from orchestrator.tuning.knobs import Setting, settings
from orchestrator.tuning.on_nodes import mix_of
from orchestrator.tuning.trials import Trial
from orchestrator.tuning.tuners import LearnedTuner, OptunaTuner, Tuner
from partitioner.extract import extract
from partitioner.load import Model, load

BACKENDS = ("onnxruntime", "openvino")
MODELS = ("efficientnet_lite0", "ocr_detect", "ocr_read")
PIECES = 3  # of each model, as models of their own
TRIALS = (2, 3, 4)
SEEDS = 20


class RandomTuner:
    """The default, then any order."""

    def __init__(self, backend: str, seed: int) -> None:
        first, *others = settings(backend)
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
    figures: list[Figure] = []
    for backend in BACKENDS:
        trials = [one for name in MODELS[: 1 if given.quick else 3] for one in timed(name, backend, given.quick)]
        figures += compared(backend, trials)
    report("tuning", figures, given.json)


def timed(name: str, backend: str, quick: bool) -> list[Trial]:
    """Trials of a model's pieces under every setting, with one and two threads."""
    model = load(build(name))
    return [
        one
        for piece in range(PIECES)
        for threads in (1, 2)
        for one in _piece_timed(model, f"{name} {piece}", piece, backend, threads, quick)
    ]


def _piece_timed(model: Model, label: str, piece: int, backend: str, threads: int, quick: bool) -> list[Trial]:
    graph = model.graph
    names = [operator.name for operator in graph.operators]
    ends = [round(share * len(names) / PIECES) for share in (piece, piece + 1)]
    inside = range(*ends)
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
    (part,) = extract(model, names[slice(*ends)], reads, makes)
    assert part.model is not None
    data, engine = part.model.SerializeToString(), load_backend(backend)
    sessions = [engine.compile(data, threads=threads, options=dict(one)) for one in settings(backend)]
    calls = {str(i): partial(one.run, sample_feeds(one.inputs)) for i, one in enumerate(sessions)}
    times = time_together(calls, seconds=0.05 if quick else 0.25)
    for session in sessions:
        session.close()
    kinds = mix_of(graph)
    return [
        Trial(
            model=label,
            node="here",
            backend=backend,
            threads=threads,
            setting=setting,
            seconds=times[str(i)].median_s,
            mix=kinds,
        )
        for i, setting in enumerate(settings(backend))
    ]


def compared(backend: str, trials: list[Trial]) -> list[Figure]:
    """Mean surplus over the best setting, for each tuner after each number of trials."""
    cases = sorted({(one.model, one.threads) for one in trials})
    surplus: dict[tuple[str, int], list[float]] = {}
    for model, threads in cases:
        table = {one.setting: one.seconds or 0.0 for one in trials if (one.model, one.threads) == (model, threads)}
        others = [one for one in trials if one.model.split()[0] != model.split()[0]] or [
            one for one in trials if one.model != model
        ]
        mix = next(one.mix for one in trials if one.model == model)
        makers: Mapping[str, Callable[[int], Tuner]] = {
            "learned": partial(_learned, backend, mix, threads, others),
            "Optuna": lambda seed: OptunaTuner(backend, seed=seed),
            "random": lambda seed: RandomTuner(backend, seed),
        }
        for name, make in makers.items():
            for seed in range(SEEDS):
                for count, found in _found(make(seed), table).items():
                    surplus.setdefault((name, count), []).append(found / min(table.values()) - 1)
    default = mean(table_default(trials, case) for case in cases)
    told = [figure(f"{backend}: the default, above the best setting", 100 * default, "%")]
    for (name, count), values in sorted(surplus.items(), key=lambda pair: (pair[0][1], pair[0][0])):
        told.append(figure(f"{backend}: {name} after {count} trials", 100 * mean(values), "%"))
    return told


def table_default(trials: list[Trial], case: tuple[str, int]) -> float:
    """How much slower than the best setting the default is."""
    mine = {one.setting: one.seconds or 0.0 for one in trials if (one.model, one.threads) == case}
    return mine[()] / min(mine.values()) - 1


def _learned(backend: str, mix: Mapping[str, float], threads: int, others: list[Trial], seed: int) -> Tuner:
    return LearnedTuner(backend, mix=mix, threads=threads, seen=others, seed=seed)


def _found(tuner: Tuner, table: Mapping[Setting, float]) -> dict[int, float]:
    """The best seconds met after each number of trials of interest."""
    met: list[float] = []
    while len(met) < max(TRIALS) and (setting := tuner.ask()) is not None:
        met.append(table[setting])
        tuner.tell(setting, table[setting] / table[()])
    return {count: min(met[:count]) for count in TRIALS}


if __name__ == "__main__":
    main()
