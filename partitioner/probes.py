"""Which segments to time so that a fit (fitted.py) tells the most about all others.

Greedy: each next one takes the most from the average relative variance over a pool of ranges of the graph, under the
fit's prior and given those already timed (active learning after Cohn: Neural network exploration using optimal
experiment design, 1996). The pool is spread evenly over begins and ends by Halton's sequence. It times nothing.
"""

import numpy as np

from partitioner.fitted import FLOOR_S, NOISE, PRIOR
from partitioner.graph import Graph
from partitioner.profile import EngineProfile, segment_key
from partitioner.segment_features import GROUPS, Basis, basis
from partitioner.tables import Floats, Ints

POOL = 240  # ranges that are looked at


def probes(graph: Graph, engine: EngineProfile, count: int) -> tuple[tuple[str, ...], ...]:
    """The operators of at most `count` segments worth timing, the most telling first; none that was timed.

    InvalidProblem if an operator has no seconds on the engine.
    """
    made = basis(graph, engine)
    names = [operator.name for operator in graph.operators]
    at = {name: i for i, name in enumerate(names)}
    timed = [
        np.array([at[name] for name in operators], dtype=np.int64)
        for key, operators in engine.segments.items()
        if key in engine.segment_s and all(name in at for name in operators)
    ]
    pool = [members for members in _spread(len(names)) if _open(made, members)]
    covariance = _covariance(made, [*timed, *pool])
    for number in range(len(timed)):
        covariance = _told(covariance, number)
    taken = [segment_key(tuple(names[i] for i in members)) in engine.segment_s for members in pool]
    left = np.concatenate([np.zeros(len(timed), dtype=np.bool_), ~np.array(taken, dtype=np.bool_)])
    chosen: list[tuple[str, ...]] = []
    while len(chosen) < count and left.any():
        gain = (covariance[len(timed) :] ** 2).sum(axis=0) / (np.diag(covariance) + NOISE**2)
        best = int(np.argmax(np.where(left, gain, -1.0)))
        left[best] = False
        chosen.append(tuple(names[i] for i in pool[best - len(timed)]))
        covariance = _told(covariance, best)
    return tuple(chosen)


def _spread(count: int) -> list[Ints]:
    """The whole and POOL further ranges of `count` operators, or fewer where there are no more."""
    ranges = {(0, count): None}
    for number in range(1, 2 * POOL):
        ends = (int(_halton(number, 2) * (count + 1)), int(_halton(number, 3) * (count + 1)))
        if ends[0] != ends[1] and len(ranges) <= POOL:
            ranges[min(ends), max(ends)] = None
    return [np.arange(*ends, dtype=np.int64) for ends in ranges]


def _halton(number: int, base: int) -> float:
    """The number's digits in this base, mirrored behind the point."""
    found, part = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        part /= base
        found += digit * part
    return found


def _open(made: Basis, members: Ints) -> bool:
    """Whether something enters and something leaves, as an engine wants it."""
    inside = np.zeros(len(made.operator_s), dtype=np.bool_)
    inside[members] = True
    entering, leaving = made.ends(inside)
    return bool(entering.any() and leaving.any())


def _covariance(made: Basis, segments: list[Ints]) -> Floats:
    """Of the segments' seconds under the prior, each relative to its additive seconds."""
    width = np.array([PRIOR[name] for name in GROUPS])[made.group]
    scale = np.array([made.additive_s(members) + FLOOR_S for members in segments])
    rows: Floats = np.array([made.row(members) for members in segments]) * width / scale[:, None]
    return np.asarray(rows @ rows.T, dtype=np.float64)


def _told(covariance: Floats, number: int) -> Floats:
    """What is left of the covariance once that segment was timed."""
    column = covariance[:, number]
    left: Floats = covariance - np.outer(column, column) / (column[number] + NOISE**2)
    return left
