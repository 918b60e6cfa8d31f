"""Which rows no other beats in everything, and which one to take. Pure: rows in, a choice with its reason out."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.selecting.cells import Row

GOALS = ("latency", "throughput", "energy", "cost")
AXES = {
    "latency": ("p50_s", "error", "memory_bytes"),
    "throughput": ("s_per_answer", "error", "memory_bytes"),
    "energy": ("energy_j", "error", "p50_s"),
    "cost": ("usd_per_million", "error", "p50_s"),
}
SAME_ERROR = 1e-5  # rounding of float32, summed in another order: errors below it count as equal
ROUNDING = 1e-9  # of shares of rows, times a hundred
MOST_NOISE = 0.25  # what is further apart is told apart, however restless the machine was
UNKNOWN = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The row to take, None if there is none, and why in one sentence."""

    row: Row | None
    reason: str


def value(row: Row, axis: str) -> float:
    """A row's figure on an axis, less is better; infinite where it is not known."""
    if row.figures is None:
        return UNKNOWN
    speed, accuracy, cost = row.figures.speed, row.figures.accuracy, row.figures.cost
    if axis == "error":
        return UNKNOWN if accuracy is None else max(accuracy.max_error, SAME_ERROR)
    found = {
        "p50_s": speed.p50_s,
        "s_per_answer": 1 / speed.answers_per_s,
        "memory_bytes": float(cost.footprint.memory_bytes),
        "energy_j": cost.energy_j,
        "usd_per_million": cost.usd_per_million,
    }[axis]
    return UNKNOWN if found is None else found


def pareto(rows: Sequence[Row], axes: Sequence[str]) -> tuple[Row, ...]:
    """The rows that ran and that no other equals or betters on every axis and betters on one."""
    points = [(row, tuple(value(row, axis) for axis in axes)) for row in rows if row.figures is not None]
    return tuple(row for row, point in points if not any(_beats(other, point) for _, other in points))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a row may lose: error as a share of the largest output; top-1 in percentage points, if that is bounded.

    Where it is, an error of 1 or more bounds nothing: what is lost of the task is known.
    """

    max_error: float
    max_loss: float | None = None

    def holds(self, row: Row) -> bool:
        """Whether a row keeps to it; one that is not known to doesn't."""
        if self.max_loss is not None:
            if loss(row) > self.max_loss + ROUNDING:
                return False
            if self.max_error >= 1:
                return True
        return value(row, "error") <= max(self.max_error, SAME_ERROR)

    def told(self) -> str:
        """As in "3 of 4 that ran …"."""
        if self.max_loss is None:
            return f"keep their error within {self.max_error:g}"
        error = f", and keep their error within {self.max_error:g}" if self.max_error < 1 else ""
        return f"lose at most {self.max_loss:g} points of top-1{error}"


def loss(row: Row) -> float:
    """Percentage points of top-1 that a row loses against the reference; infinite where it is not known."""
    accuracy = None if row.figures is None else row.figures.accuracy
    return UNKNOWN if accuracy is None or accuracy.top1_loss is None else 100 * accuracy.top1_loss


def choose(rows: Sequence[Row], *, goal: str, bound: Bound, noise: float = 0.0) -> Choice:
    """The best row by the goal of those within `bound`.

    Rows within `noise` (a share) of the best are as good as it as far as was measured: of them the most accurate is
    taken, then the one with the least memory.
    """
    axis = AXES[goal][0]
    ran = [row for row in rows if value(row, axis) < UNKNOWN]
    if not ran:
        return Choice(row=None, reason=f"nothing was measured that has a figure for {goal}")
    exact = [row for row in ran if bound.holds(row)]
    if not exact:
        return Choice(row=None, reason=_none(ran, rows, bound))
    best = min(exact, key=lambda row: value(row, axis))
    even = [row for row in exact if value(row, axis) <= value(best, axis) * (1 + min(noise, MOST_NOISE))]
    taken = min(even, key=lambda row: (value(row, "error"), value(row, "memory_bytes"), value(row, axis)))
    return Choice(row=taken, reason=_reason(taken, best, exact, rows, goal, bound, noise))


def _none(ran: Sequence[Row], rows: Sequence[Row], bound: Bound) -> str:
    least = min(ran, key=lambda row: (loss(row) if bound.max_loss is not None else 0.0, value(row, "error")))
    error = f"{_named(least, rows)} with {value(least, 'error'):.2g}"
    if bound.max_loss is None:
        return f"no engine keeps its error within {bound.max_error:g}; the least is {error}"
    return f"none of {len(ran)} that ran {bound.told()}; the least is {error} and {loss(least):.2g} points"


def _reason(
    taken: Row, best: Row, exact: Sequence[Row], rows: Sequence[Row], goal: str, bound: Bound, noise: float
) -> str:
    axis = AXES[goal][0]
    among = f"{len(exact)} of {sum(row.figures is not None for row in rows)} that ran {bound.told()}"
    if taken is not best:
        why = "more accurate" if value(taken, "error") < value(best, "error") else "with less memory"
        even = f"with {_figure(taken, goal)} within the spread of {min(noise, MOST_NOISE):.0%} as good as"
        return f"{even} {_named(best, rows)}, and {why}; {among}"
    told = f"{_superlative(goal)}, {_figure(taken, goal)}; {among}"
    others = [row for row in exact if row is not taken]
    if not others:
        return f"{told}, and it is the only one"
    second = min(others, key=lambda row: value(row, axis))
    ahead = value(second, axis) / value(taken, axis)
    unsure = f", less than the spread of {noise:.0%}" if ahead < 1 + noise else ""
    return f"{told}; {ahead:.2f}× better than the next, {_named(second, rows)}{unsure}"


def _figure(row: Row, goal: str) -> str:
    least = value(row, AXES[goal][0])
    match goal:
        case "latency":
            return f"{least * 1e3:.3g} ms"
        case "throughput":
            return f"{1 / least:.4g} answers a second"
        case "energy":
            return f"{least:.3g} J a request"
        case _:
            return f"${least:.3g} a million answers"


def _superlative(goal: str) -> str:
    return {"latency": "the lowest median latency", "throughput": "the most", "energy": "the least energy"}.get(
        goal, "the cheapest"
    )


def _named(row: Row, rows: Sequence[Row]) -> str:
    several = len({one.node for one in rows}) > 1
    return f"{row.cell.name} on {row.node}" if several else row.cell.name


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other
