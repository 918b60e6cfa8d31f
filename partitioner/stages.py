"""From operators on sites to stages in a total order: each stage convex, each message forward.

It only groups; prices are in cost.py.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from partitioner.errors import InvalidProblem
from partitioner.plan import Plan
from partitioner.problem import Problem, Site
from partitioner.tables import Ints

Placed = tuple[Site, Ints]  # a site and the operators it runs as one stage, ascending


def form_stages(problem: Problem, sites: Sequence[Site]) -> tuple[Placed, ...]:
    """Stages for operator i on `sites[i]`, in an order that every activation follows.

    One stage per site where the quotient graph by site is acyclic (topological order, lower tiers first).
    Where a site is left and re-entered, one stage per site and level: the level of an operator is the number
    of site changes on the longest path to it, so a path between two operators of a stage cannot leave it.
    """
    used = sorted(set(sites), key=lambda site: _rank(problem, site))
    number = {site: i for i, site in enumerate(used)}
    of_operator = [number[site] for site in sites]
    edges = _edges(problem)
    order = _topological(len(used), {(of_operator[a], of_operator[b]) for a, b in edges})
    if order is not None:
        return tuple((used[i], _members(of_operator, i)) for i in order)
    level = _levels(of_operator, edges)
    keys = sorted(set(zip(level, of_operator, strict=True)))
    of_stage = {key: i for i, key in enumerate(keys)}
    stage = [of_stage[key] for key in zip(level, of_operator, strict=True)]
    return tuple((used[site], _members(stage, i)) for i, (_, site) in enumerate(keys))


def stages_of(problem: Problem, plan: Plan) -> tuple[Placed, ...]:
    """A plan's stages as they stand, for pricing it anew, perhaps under another problem.

    InvalidProblem for a stage whose engine is no site of the problem, or an operator that is nowhere or unknown.
    """
    index = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
    sites = {(site.node, site.engine.backend, site.engine.precision): site for site in problem.sites}
    placed: list[Placed] = []
    for stage in plan.stages:
        site = sites.get((stage.node, stage.backend, stage.precision))
        if site is None:
            raise InvalidProblem(f"stage {stage.name} runs {stage.backend} on {stage.node}, which is no site any more")
        if unknown := [name for name in stage.operators if name not in index]:
            raise InvalidProblem(f"the plan has operator {unknown[0]!r}; it was made for another model")
        placed.append((site, np.array(sorted(index[name] for name in stage.operators), dtype=np.int64)))
    held = {name for stage in plan.stages for name in stage.operators}
    if missing := [name for name in index if name not in held]:
        raise InvalidProblem(f"the plan has no stage with operator {missing[0]!r}; it was made for another model")
    return tuple(placed)


def codecs_of(plan: Plan) -> dict[str, str]:
    """The codec of each tensor that the plan carries."""
    return {name: codec for c in plan.crossings for name, codec in zip(c.tensors, c.codecs, strict=True)}


def _rank(problem: Problem, site: Site) -> tuple[int, Site]:
    return (int(problem.topology.node(site.node).tier), site)


def _edges(problem: Problem) -> list[tuple[int, int]]:
    """Producer and consumer of each activation, by producer's place in graph order."""
    made = [one for one in problem.graph.activations.values() if one.producer is not None]
    return sorted((one.producer, reader) for one in made if one.producer is not None for reader in one.consumers)


def _members(stage: list[int], wanted: int) -> Ints:
    return np.array([i for i, one in enumerate(stage) if one == wanted], dtype=np.int64)


def _topological(count: int, pairs: set[tuple[int, int]]) -> list[int] | None:
    """Smallest number first among those ready; None if the pairs form a cycle."""
    after: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for before, then in sorted(pair for pair in pairs if pair[0] != pair[1]):
        after[before].append(then)
        waits[then] += 1
    ready = [i for i in range(count) if not waits[i]]
    heapify(ready)
    order = []
    while ready:
        order.append(heappop(ready))
        for then in after[order[-1]]:
            waits[then] -= 1
            if not waits[then]:
                heappush(ready, then)
    return order if len(order) == count else None


def _levels(of_operator: list[int], edges: list[tuple[int, int]]) -> list[int]:
    level = [0] * len(of_operator)
    for before, then in edges:  # sorted by producer, and producers stand before their consumers
        level[then] = max(level[then], level[before] + (of_operator[before] != of_operator[then]))
    return level
