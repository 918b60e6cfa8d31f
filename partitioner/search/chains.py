"""The ordered rows of sites that a forward-only plan may use, each with what every operator costs there.

A chain takes at most one site per tier, tiers ascending, and all its sites are to run something: what a
message pays whatever its size is then the same for every plan of the chain. It solves nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from partitioner.cost import call_s
from partitioner.messages import Route, route_over
from partitioner.problem import Problem, Site
from partitioner.tables import Floats, GraphTable, Ints, Prices
from partitioner.topology import Tier


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Sites in order; `seconds[i, p-1]` of operator i at position p, infinite where it may not be."""

    sites: tuple[Site, ...]
    route: Route
    seconds: Floats
    fixed_s: float  # every forward message's propagation and software, every stage's call

    @property
    def bound_s(self) -> float:
        """No plan of the chain is faster: its fixed seconds and each operator at its fastest place."""
        return self.fixed_s + float(self.seconds.min(axis=1).sum())


def chains_of(prices: Prices) -> tuple[Chain, ...]:
    """Every chain in which each operator has a place, cheapest bound first (ties by the sites' order)."""
    return _chains(prices, _rows(prices.problem))


def returning_chains(prices: Prices, most_stages: int) -> tuple[Chain, ...]:
    """Every sequence of up to `most_stages` sites in any order of tiers, neighbours different, as `chains_of`."""
    sites = prices.problem.sites
    rows = (row for size in range(1, most_stages + 1) for row in product(sites, repeat=size))
    return _chains(prices, (row for row in rows if all(a != b for a, b in pairwise(row))))


def _chains(prices: Prices, rows: Iterable[tuple[Site, ...]]) -> tuple[Chain, ...]:
    found = [chain for sites in rows if (chain := _chain(prices, sites)) is not None]
    return tuple(sorted(found, key=lambda chain: (len(chain.sites) > 1, chain.bound_s)))


def _rows(problem: Problem) -> Iterator[tuple[Site, ...]]:
    tier_of = {site: problem.topology.node(site.node).tier for site in problem.sites}
    choices: list[list[Site | None]] = [[None, *(s for s in problem.sites if tier_of[s] == tier)] for tier in Tier]
    for row in product(*choices):
        sites = tuple(site for site in row if site is not None)
        if sites:
            yield sites


def _chain(prices: Prices, sites: tuple[Site, ...]) -> Chain | None:
    problem = prices.problem
    route = route_over(problem, sites)
    if route is None or _leaks_on_the_way(problem, sites):
        return None
    seconds = np.stack([prices.operator_s[site] for site in sites], axis=1)
    keep_to_nodes(problem, sites, seconds)
    _keep_returnable(prices, route, seconds)
    _leave_none_empty(prices.table, seconds)
    if not np.isfinite(seconds).any(axis=1).all():
        return None
    fixed_s = sum(route.leg_fixed_s) + sum(call_s(problem, site) for site in sites)
    return Chain(sites=sites, route=route, seconds=seconds, fixed_s=fixed_s)


def _leaks_on_the_way(problem: Problem, sites: tuple[Site, ...]) -> bool:
    """Whether an input that is read must not be at the first site, where all inputs enter."""
    made = problem.graph.activations
    read = (name for name in problem.kept if made[name].producer is None and made[name].consumers)
    return any(not problem.may_be_on(name, sites[0].node) for name in read)


def keep_to_nodes(problem: Problem, sites: tuple[Site, ...], seconds: Floats) -> None:
    """Rule out the places where what an operator touches may not be, and every place but the pin for what is pinned."""
    for name in problem.kept:
        one = problem.graph.activations[name]
        touching = (*one.consumers, *(() if one.producer is None else (one.producer,)))
        barred = [not problem.may_be_on(name, site.node) for site in sites]
        seconds[np.ix_(touching, np.flatnonzero(barred))] = np.inf
        to = problem.outputs_to.get(name)
        if one.producer is not None and to is not None and not problem.may_be_on(name, to):
            seconds[one.producer] = np.inf  # an output asked for where it may not be can be made nowhere
    if problem.pinned:
        index = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
        for name, node in problem.pinned.items():
            seconds[index[name], [site.node != node for site in sites]] = np.inf


def _keep_returnable(prices: Prices, route: Route, seconds: Floats) -> None:
    """Rule out places from which an output has no way to its node."""
    for tensor in prices.table.outputs.tolist():
        to = prices.problem.outputs_to[prices.table.names[tensor]]
        for position in range(1, len(route.nodes)):
            if route.back[to][position] is None:
                seconds[prices.table.producer[tensor], position - 1] = np.inf


def _leave_none_empty(table: GraphTable, seconds: Floats) -> None:
    """Put the only root at the first site and the only sink at the last, where a model has but one of them.

    Every operator descends from the only root, so a first stage that holds anything holds it; likewise the
    sink. Plans that leave an end empty belong to a shorter chain.
    """
    if seconds.shape[1] < 2:
        return
    roots, sinks = ends(table, len(seconds))
    if len(roots) == 1:
        seconds[roots[0], 1:] = np.inf
    if len(sinks) == 1:
        seconds[sinks[0], :-1] = np.inf


def ends(table: GraphTable, count: int) -> tuple[Ints, Ints]:
    """Operators that read no operator's result, and operators whose results no operator reads."""
    from_operator = table.producer[table.read_tensor] >= 0
    reads, read = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    reads[table.reader[from_operator]] = True
    read[table.producer[table.read_tensor[from_operator]]] = True
    return np.flatnonzero(~reads), np.flatnonzero(~read)
