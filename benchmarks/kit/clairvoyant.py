"""What someone who knows the whole trace would take: the best plan second by second, and with switches held apart.

Each request counts as if it met no other (its plan's compute, its bytes over the trace from when they are ready), so
what comes out is a lower bound on what any schedule of plans can reach, not a schedule that was run.
"""

from collections.abc import Sequence

import numpy as np

from kit.served import Shape
from kit.trace_link import Floats, TraceLink


def alone_s(link: TraceLink, shapes: Sequence[Shape], rate_per_s: float, fallback: int | None) -> Floats:
    """Each plan's latency for each request, [plans, requests]; of the fallback, if there is one, where that is less."""
    starts_s = np.arange(int(link.seconds * rate_per_s)) / rate_per_s
    rows = []
    for shape in shapes:
        made_s = starts_s + shape.camera_s
        through_s = link.all_through_s(made_s, shape.nbytes) if shape.nbytes else made_s
        rows.append(through_s + shape.rest_s - starts_s)
    found = np.array(rows)
    return found if fallback is None else np.minimum(found, found[fallback])


def by_second(latency_s: Floats, rate_per_s: float) -> Floats:
    """The requests' latencies summed over each second in which they come, [plans, seconds]."""
    seconds = (np.arange(latency_s.shape[1]) / rate_per_s).astype(np.int64)
    return np.array([np.bincount(seconds, row) for row in latency_s])


def least_unlimited(costs: Floats) -> float:
    """Sum over the seconds of the least plan's cost in each."""
    return float(costs.min(axis=0).sum())


def least_spaced(costs: Floats, spacing: int) -> float:
    """The least sum where two switches are at least `spacing` seconds apart; it may begin with any plan.

    Dynamic programming over plans and seconds since the last switch.
    """
    plans = len(costs)
    ages = np.full((plans, spacing + 1), np.inf)
    ages[:, spacing] = 0.0
    for cost in costs.T:
        switched = ages.copy()
        switched[:, 0] = np.minimum(switched[:, 0], ages[:, spacing].min())
        older = np.full_like(ages, np.inf)
        older[:, 1:] = switched[:, :-1]
        older[:, spacing] = np.minimum(older[:, spacing], switched[:, spacing])
        ages = older + cost[:, None]
    return float(ages.min())
