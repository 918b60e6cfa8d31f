"""A plan that fits, when the exact search ran out of effort before it met one: cuts along the graph's own order.

Every stage takes a run of operators in graph order, which is always forward-only. Not the best cut, and not
always there; its certificate says how far from the bound it may be.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from partitioner.constraints import violation
from partitioner.cost import additive_latency_s, price_stages
from partitioner.search.branch import Candidate, Found
from partitioner.search.chains import Chain
from partitioner.search.memory import limits, weights_of
from partitioner.stages import Placed
from partitioner.tables import Prices

CUTS = {2: 2000, 3: 40}  # cut positions tried by number of stages; beyond three, GRID
GRID = 12


def fitting(prices: Prices, chains: Sequence[Chain]) -> Found:
    """The fastest such plan of each chain, with a bound that holds for every chain; perhaps none."""
    found = [best for chain in chains if len(chain.sites) > 1 and (best := _best(prices, chain)) is not None]
    bound_s = min((chain.bound_s for chain in chains), default=float("inf"))
    return Found(candidates=tuple(sorted(found, key=lambda one: one.latency_s)), bound_s=bound_s, cuts=0)


def _best(prices: Prices, chain: Chain) -> Candidate | None:
    fits = (placed for placed in _placements(prices, chain) if violation_free(prices, placed))
    priced = (Candidate(placed=placed, latency_s=additive_latency_s(prices, placed)) for placed in fits)
    return min(priced, key=lambda one: one.latency_s, default=None)


def violation_free(prices: Prices, placed: tuple[Placed, ...]) -> bool:
    """Whether the stages break no limit of the problem."""
    return violation(prices.problem, price_stages(prices, placed)) is None


def _placements(prices: Prices, chain: Chain) -> Iterator[tuple[Placed, ...]]:
    """Stages in graph order that every site can run and hold."""
    problem, count = prices.problem, len(prices.problem.graph.operators)
    weights, most = weights_of(problem), limits(problem)
    tried = min(CUTS.get(len(chain.sites), GRID), count - 1)
    places = np.unique(np.linspace(1, count - 1, tried).astype(int)).tolist()
    for cuts in combinations(places, len(chain.sites) - 1):
        runs = [np.arange(begin, end) for begin, end in pairwise((0, *cuts, count))]
        for position, (site, run) in enumerate(zip(chain.sites, runs, strict=True)):
            mask = np.zeros(count, dtype=bool)
            mask[run] = True
            room = most.get(site)
            if not np.isfinite(chain.seconds[run, position]).all() or (room is not None and weights.held(mask) > room):
                break
        else:
            yield tuple(zip(chain.sites, runs, strict=True))
