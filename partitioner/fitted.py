"""Seconds of segments that nobody timed, told from those that somebody did, with how sure that is.

The prior mean is the additive model: the call's seconds plus the operators' as first seen. What it misses is a sum of
unknowns over a segment's features (segment_features.py): every operator and op type may really take some per cent
more or less, every FLOP, and every byte and tensor at a cut, some time. Each unknown is normal around nought, as wide
as PRIOR says times a factor for its group; measured segments, whose own errors are relative, then give mean and
variance in closed form. Factors and errors are those that make the measurements likeliest. That is Bayesian linear
regression as in Rasmussen, Williams: Gaussian Processes for Machine Learning (2006), 2.1 and 5.4.1.

Solvers do not search by it: it is no sum over operators. It prices what they found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from partitioner.graph import Graph
from partitioner.profile import EngineProfile
from partitioner.segment_features import GROUPS, Basis, basis
from partitioner.tables import Floats, Ints

FEWEST = 8  # measured segments before prices rest on a fit
# One standard deviation of each unknown: relative to seconds for "operator" and "kind", else seconds of each.
PRIOR = {
    "operator": 0.2, "kind": 0.1, "flops": 5e-12, "number": 1e-6, "call": 5e-6, "bytes": 2e-10, "ends": 5e-6,
}  # fmt: skip
NOISE = 0.03  # of a measured segment, relative to its seconds and
FLOOR_S = 5e-6  # these: clocks and calls scatter by microseconds
LEAST_NOISE, MOST_NOISE = 0.02, 0.2
FACTORS = (0.25, 0.5, 2.0, 4.0)
SWEEPS = 3
PULL = 0.125  # of the log likelihood, per squared log of a factor: few measurements leave factors where they are


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """What measured segments say of others on one engine, unslowed; `fit` makes it."""

    basis: Basis
    width: Floats  # of each column's unknown
    noise: float
    rows: Floats  # of the measured segments, times widths, over their seconds
    inverse: Floats  # of the measurements' covariance
    weights: Floats  # of the measurements in a mean

    @property
    def count(self) -> int:
        """How many measured segments it rests on."""
        return len(self.weights)

    def seconds(self, members: Sequence[int] | Ints) -> tuple[float, float]:
        """Seconds of the segment with these operators, by index in graph order, and one standard deviation of them.

        That holds for the median of new runs: the measurements' own scatter is in it. Never below the call's seconds.
        """
        indices = np.asarray(members, dtype=np.int64)
        row = self.basis.row(indices) * self.width
        shared = self.rows @ row
        mean_s = max(self.basis.additive_s(indices) + float(shared @ self.weights), self.basis.call_s)
        variance = max(float(row @ row - shared @ self.inverse @ shared), 0.0)
        return mean_s, float(np.hypot(np.sqrt(variance), self.noise * (mean_s + FLOOR_S)))


def fit(graph: Graph, engine: EngineProfile) -> Fitted:
    """The fit to the engine's measured segments whose operators are known; with none of them it is the prior.

    InvalidProblem if an operator of the graph has no seconds on the engine.
    """
    made = basis(graph, engine)
    segments, measured_s = _measured(graph, engine)
    rows = np.array([made.row(members) for members in segments]).reshape(len(segments), len(made.group))
    scale = measured_s + FLOOR_S
    missed = (measured_s - np.array([made.additive_s(members) for members in segments])) / scale
    rows /= scale[:, None]
    width, noise = _widths(made.group), NOISE
    if len(segments) >= FEWEST:
        width, noise = _likeliest(rows, missed, made.group)
    rows = rows * width
    inverse = np.linalg.inv(rows @ rows.T + noise**2 * np.eye(len(segments)))
    return Fitted(basis=made, width=width, noise=noise, rows=rows, inverse=inverse, weights=inverse @ missed)


def fit_of(graph: Graph, engine: EngineProfile) -> Fitted | None:
    """`fit`, made once for this very graph and engine.

    None where fewer than FEWEST segments tell too little, or where the engine lacks an operator.
    """
    known = sum(key in engine.segment_s for key in engine.segments)
    if known < FEWEST or any(operator.name not in engine.operator_s for operator in graph.operators):
        return None
    return _remembered(_Same(graph), _Same(engine))


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """Compares a value that has no hash by identity, and keeps it alive for as long as it is compared."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=64)
def _remembered(graph: _Same, engine: _Same) -> Fitted:
    assert isinstance(graph.value, Graph) and isinstance(engine.value, EngineProfile)
    return fit(graph.value, engine.value)


def _measured(graph: Graph, engine: EngineProfile) -> tuple[list[Ints], Floats]:
    """Members and seconds of each measured segment of this graph."""
    at = {operator.name: i for i, operator in enumerate(graph.operators)}
    found = [
        (np.array([at[name] for name in operators], dtype=np.int64), engine.segment_s[key])
        for key, operators in engine.segments.items()
        if key in engine.segment_s and all(name in at for name in operators)
    ]
    return [members for members, _ in found], np.array([seconds for _, seconds in found])


def _widths(group: Ints, factors: Mapping[str, float] | None = None) -> Floats:
    """Of each column."""
    factors = factors or {}
    return np.array([PRIOR[name] * factors.get(name, 1.0) for name in GROUPS])[group]


def _likeliest(rows: Floats, missed: Floats, group: Ints) -> tuple[Floats, float]:
    """Widths and noise under which these measurements are likeliest, by turns over the groups, from the prior's."""
    grams = {
        name: PRIOR[name] ** 2 * (part @ part.T)
        for number, name in enumerate(GROUPS)
        for part in [rows[:, group == number]]
    }
    chosen = dict.fromkeys((*GROUPS, "noise"), 1.0)
    best = _likelihood(grams, missed, chosen)
    for _ in range(SWEEPS):
        for name in tuple(chosen):
            for step in FACTORS:
                tried = chosen | {name: chosen[name] * step}
                found = _likelihood(grams, missed, tried)
                if found > best:
                    best, chosen = found, tried
    return _widths(group, chosen), _noise(chosen)


def _noise(factors: Mapping[str, float]) -> float:
    return min(max(NOISE * factors["noise"], LEAST_NOISE), MOST_NOISE)


def _likelihood(grams: Mapping[str, Floats], missed: Floats, factors: Mapping[str, float]) -> float:
    """The logarithm, up to a constant, less a pull of the factors towards 1."""
    covariance = _noise(factors) ** 2 * np.eye(len(missed))
    for name, gram in grams.items():
        covariance += factors[name] ** 2 * gram
    lower = np.linalg.cholesky(covariance)
    white = np.linalg.solve(lower, missed)
    pull = PULL * sum(float(np.log(factor)) ** 2 for factor in factors.values())
    return float(-0.5 * white @ white - np.log(np.diag(lower)).sum()) - pull
