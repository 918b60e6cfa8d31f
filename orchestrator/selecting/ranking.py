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


def choose(rows: Sequence[Row], *, goal: str, max_error: float, noise: float = 0.0) -> Choice:
    """The best row by the goal of those whose error is at most `max_error`.

    Rows within `noise` (a share) of the best are as good as it as far as was measured: of them the most accurate is
    taken, then the one with the least memory.
    """
    axis = AXES[goal][0]
    ran = [row for row in rows if value(row, axis) < UNKNOWN]
    if not ran:
        return Choice(row=None, reason=f"nothing was measured that has a figure for {goal}")
    exact = [row for row in ran if value(row, "error") <= max(max_error, SAME_ERROR)]
    if not exact:
        least = min(ran, key=lambda row: value(row, "error"))
        return Choice(
            row=None,
            reason=f"no engine keeps its error within {max_error:g}; "
            f"the least is {_named(least, rows)} with {value(least, 'error'):.2g}",
        )
    best = min(exact, key=lambda row: value(row, axis))
    even = [row for row in exact if value(row, axis) <= value(best, axis) * (1 + min(noise, MOST_NOISE))]
    taken = min(even, key=lambda row: (value(row, "error"), value(row, "memory_bytes"), value(row, axis)))
    return Choice(row=taken, reason=_reason(taken, best, exact, rows, goal, max_error, noise))


def _reason(
    taken: Row, best: Row, exact: Sequence[Row], rows: Sequence[Row], goal: str, max_error: float, noise: float
) -> str:
    axis = AXES[goal][0]
    among = f"{len(exact)} of {sum(row.figures is not None for row in rows)} that ran keep their error within"
    if taken is not best:
        why = "more accurate" if value(taken, "error") < value(best, "error") else "with less memory"
        even = f"with {_figure(taken, goal)} within the spread of {min(noise, MOST_NOISE):.0%} as good as"
        return f"{even} {_named(best, rows)}, and {why}; {among} {max_error:g}"
    told = f"{_superlative(goal)}, {_figure(taken, goal)}; {among} {max_error:g}"
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
