"""Mixed integer linear programs over numpy blocks, solved by HiGHS: columns, rows, one answer with its bound.

Huangfu, Hall: Parallelizing the dual revised simplex method (2018), is what HiGHS stands on. It knows nothing of
plans. Seconds of work are the solver's own clock; one thread and a fixed seed, so that only a limit that was hit can
make two answers differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Numbers = float | Sequence[float] | Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solved:
    """`values` of the columns, None if none were found; no answer is below `bound`, infinite if there is none at all.

    `is_proven`: the values are optimal to the tolerance, or it is proven that nothing below the cutoff exists.
    """

    values: Floats | None
    objective: float
    bound: float
    is_proven: bool
    seconds: float


class Program:
    """Minimise cost · x subject to rows; columns and rows are added in blocks."""

    def __init__(self) -> None:
        self._costs: list[Floats] = []
        self._lows: list[Floats] = []
        self._highs: list[Floats] = []
        self._whole: list[npt.NDArray[np.bool_]] = []
        self._size = 0
        self._row_low: list[Floats] = []
        self._row_high: list[Floats] = []
        self._counts: list[Ints] = []
        self._index: list[Ints] = []
        self._value: list[Floats] = []

    def columns(
        self,
        shape: int | tuple[int, ...],
        *,
        cost: Numbers = 0.0,
        low: Numbers = 0.0,
        high: Numbers = 1.0,
        whole: bool = False,
    ) -> Ints:
        """New columns' numbers, in that shape; `cost`, `low` and `high` broadcast to it. `whole`: integers only."""
        numbers = np.arange(self._size, self._size + int(np.prod(shape)), dtype=np.int64).reshape(shape)
        for held, given in ((self._costs, cost), (self._lows, low), (self._highs, high)):
            held.append(np.broadcast_to(np.asarray(given, dtype=np.float64), numbers.shape).ravel())
        self._whole.append(np.full(numbers.size, whole))
        self._size += numbers.size
        return numbers

    def rows(
        self, columns: Sequence[Ints], values: Sequence[Numbers], *, low: Numbers = -np.inf, high: Numbers = np.inf
    ) -> None:
        """One row for each element of the column arrays: low ≤ Σ values[k] · x[columns[k]] ≤ high. All broadcast."""
        table = np.stack(np.broadcast_arrays(*columns), axis=-1).reshape(-1, len(columns))
        if not len(table):
            return
        shape = np.broadcast_shapes(*(column.shape for column in columns))
        weights = [np.broadcast_to(np.asarray(value, dtype=np.float64), shape).ravel() for value in values]
        self._index.append(table.ravel())
        self._value.append(np.stack(weights, axis=-1).ravel())
        self._counts.append(np.full(len(table), len(columns), dtype=np.int64))
        self._row_low.append(np.broadcast_to(np.asarray(low, dtype=np.float64), shape).ravel())
        self._row_high.append(np.broadcast_to(np.asarray(high, dtype=np.float64), shape).ravel())

    def row(self, columns: Ints, values: Numbers, *, low: float = -np.inf, high: float = np.inf) -> None:
        """A single row over all these columns."""
        flat = columns.ravel()
        self._index.append(flat)
        self._value.append(np.broadcast_to(np.asarray(values, dtype=np.float64), columns.shape).ravel())
        self._counts.append(np.array([len(flat)], dtype=np.int64))
        self._row_low.append(np.array([low]))
        self._row_high.append(np.array([high]))

    def charge(self, columns: Ints, cost: Numbers) -> None:
        """Add to these columns' cost."""
        whole = np.concatenate(self._costs)
        np.add.at(whole, columns.ravel(), np.broadcast_to(np.asarray(cost, dtype=np.float64), columns.shape).ravel())
        self._costs = [whole]

    def solve(self, *, seconds: float, below: float = np.inf, gap: float = 1e-9, start: Floats | None = None) -> Solved:
        """The best answer below `below` within `seconds`; `start` is a known one, or a guess, to begin with."""
        highs = highspy.Highs()
        for option, value in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", 1),
            ("time_limit", max(seconds, 1e-3)),
            ("mip_rel_gap", gap),
            ("mip_abs_gap", 0.0),
            ("mip_feasibility_tolerance", 1e-9),
            ("primal_feasibility_tolerance", 1e-9),
        ):
            highs.setOptionValue(option, value)
        if np.isfinite(below):
            highs.setOptionValue("objective_bound", below)
        highs.passModel(self._model())
        if start is not None:
            guess = highspy.HighsSolution()
            guess.col_value = start.tolist()
            highs.setSolution(guess)
        highs.run()
        return _read(highs, below)

    def _model(self) -> highspy.HighsLp:
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = self._size, sum(len(low) for low in self._row_low)
        model.col_cost_ = _joined(self._costs)
        model.col_lower_, model.col_upper_ = _joined(self._lows), _joined(self._highs)
        model.row_lower_, model.row_upper_ = _joined(self._row_low), _joined(self._row_high)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        counts = np.concatenate([np.zeros(1, dtype=np.int64), *self._counts])
        model.a_matrix_.start_ = np.cumsum(counts).astype(np.int32)
        model.a_matrix_.index_ = np.concatenate([np.zeros(0, dtype=np.int64), *self._index]).astype(np.int32)
        model.a_matrix_.value_ = _joined(self._value)
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[int(whole)] for whole in np.concatenate(self._whole)]
        return model


def _joined(blocks: Sequence[Floats]) -> Floats:
    return np.concatenate([np.zeros(0), *blocks])


def _read(highs: highspy.Highs, below: float) -> Solved:
    """What the solver found. Beyond a cutoff it may still name values as optimal that are not: they are dropped."""
    info, status, seconds = highs.getInfo(), highs.getModelStatus(), float(highs.getRunTime())
    states = highspy.HighsModelStatus
    ended = status in (states.kOptimal, states.kObjectiveBound)
    if status in (states.kInfeasible, states.kUnboundedOrInfeasible):
        return Solved(values=None, objective=np.inf, bound=below, is_proven=True, seconds=seconds)
    objective = float(info.objective_function_value)
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible and objective < below
    if not found:
        bound = below if ended else min(float(info.mip_dual_bound), below)
        return Solved(values=None, objective=np.inf, bound=bound, is_proven=ended, seconds=seconds)
    bound = objective if ended else min(float(info.mip_dual_bound), objective)
    return Solved(
        values=np.array(highs.getSolution().col_value),
        objective=objective,
        bound=bound,
        is_proven=ended,
        seconds=seconds,
    )
