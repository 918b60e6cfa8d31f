"""How many requests should share a run of a stage: from the measured batch curve. Pure.

The most rows a second win, among the sizes whose run takes at most LATENCY_FACTOR times that of one request: whoever
is answered in a batch waits as long as the whole batch takes. Fewer rows a second than one at a time gives: no batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from nodes.stage_options import takes_free_rows
from orchestrator.tuning.tune import WORTH
from partitioner.graph import Graph
from partitioner.profile import EngineKey, EngineProfile, Profile

LATENCY_FACTOR = 4.0


def best_batch(one_s: float, batch_s: Mapping[int, float], *, factor: float = LATENCY_FACTOR) -> int:
    """How many requests are to share a run, when one alone takes `one_s` and so many at once what `batch_s` says."""
    best, per_s = 1, (1 + WORTH) / one_s
    for requests, seconds in sorted(batch_s.items()):
        if seconds <= factor * one_s and requests / seconds > per_s:
            best, per_s = requests, requests / seconds
    return best


def rows_of(graph: Graph) -> int:
    """The rows of one request: the first dimension of the model's first input, 1 where it has none."""
    return next(iter(graph.activations[graph.inputs[0]].shape), 1)


def middle(passes: Sequence[Profile]) -> Profile:
    """The last of several profiles of the same, with the medians of their batch curves."""

    def settled(key: EngineKey) -> EngineProfile:
        curves = [one.engines[key].batch_s for one in passes]
        batch_s = {rows: median(curve[rows] for curve in curves) for rows in curves[-1]}
        return replace(passes[-1].engines[key], batch_s=batch_s)

    return replace(passes[-1], engines={key: settled(key) for key in passes[-1].engines})


def with_batches(profile: Profile, graph: Graph) -> Profile:
    """The profile with the best batch among each engine's options, where its curve shows one that is worth it."""
    rows = rows_of(graph)
    return replace(profile, engines={key: _chosen(key.backend, one, rows) for key, one in profile.engines.items()})


def _chosen(backend: str, engine: EngineProfile, rows: int) -> EngineProfile:
    others = {name: value for name, value in engine.options if name != "batch"}
    one_s = engine.batch_s.get(rows)
    if not takes_free_rows(backend, others) or not one_s:
        return engine
    batch = best_batch(one_s, {count // rows: seconds for count, seconds in engine.batch_s.items()})
    return replace(engine, options=tuple((others | ({"batch": batch} if batch > 1 else {})).items()))
