"""Which codec carries each tensor so that the busiest resource is least busy: branch and bound over the few that cross.

A codec may spare a link and cost its nodes, so that no order of merit exists; under a few tensors and codecs, trying
them with a bound is quick. It knows nothing of plans.
"""

from typing import NamedTuple

import numpy as np

from partitioner.tables import Bools, Floats

MOST_TRIES = 20_000
CLOSE = 1e-12


class Choice(NamedTuple):
    """One codec a tensor, by number; the busiest resource's seconds; whether nothing is better."""

    codecs: tuple[int, ...]
    load_s: float
    is_best: bool


def choose(settled_s: Floats, costs_s: Floats, most_tries: int = MOST_TRIES) -> Choice:
    """The choice with the least busiest resource. `costs_s[tensor, codec, resource]`, infinite where not allowed."""
    options = [_undominated(costs) for costs in costs_s]
    order = sorted(range(len(options)), key=lambda i: (-_spread(costs_s[i, options[i]]), i))
    least = [costs_s[i, options[i]].min(axis=0) for i in order]
    ahead = np.concatenate([np.cumsum([np.zeros_like(settled_s), *reversed(least)], axis=0)[::-1]])
    best_s, best, tries = np.inf, np.zeros(len(options), dtype=np.int64), 0
    stack: list[tuple[int, Floats, tuple[int, ...]]] = [(0, settled_s, ())]
    while stack and tries < most_tries:
        depth, loads, taken = stack.pop()
        tries += 1
        if float((loads + ahead[depth]).max()) >= best_s * (1 - CLOSE):
            continue
        if depth == len(order):
            best_s = float(loads.max())
            best[order] = taken
            continue
        tensor = order[depth]
        after = [(loads + costs_s[tensor, codec], codec) for codec in options[tensor]]
        after.sort(key=lambda one: (-float((one[0] + ahead[depth + 1]).max()), -one[1]))  # the best on top
        stack.extend((depth + 1, then, (*taken, codec)) for then, codec in after)
    return Choice(tuple(best.tolist()), best_s, not stack)


def _undominated(costs: Floats) -> list[int]:
    """Codecs that no other is at least as cheap as for every resource; the first of equal ones."""
    allowed = [codec for codec, row in enumerate(costs) if np.isfinite(row).all()]
    return [a for a in allowed if not any(_beats(costs, b, a) for b in allowed)]


def _beats(costs: Floats, b: int, a: int) -> bool:
    no_worse: Bools = costs[b] <= costs[a]
    return bool(no_worse.all()) and (bool((costs[b] < costs[a]).any()) or b < a)


def _spread(costs: Floats) -> float:
    return float((costs.max(axis=0) - costs.min(axis=0)).max(initial=0.0))
