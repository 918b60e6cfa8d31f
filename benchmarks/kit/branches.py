"""What a pipeline's joint plan is compared with: each branch whole on one node, and everything at the cloud.

A branch is all operators that depend on the same inputs: what is made of the sound alone, of the photograph alone, and
what needs both. So models stay whole, and functions with them.
"""

from collections.abc import Mapping
from itertools import product

from partitioner.cost import price_stages
from partitioner.errors import InvalidProblem
from partitioner.graph import Graph
from partitioner.plan import Plan
from partitioner.problem import Problem, Site
from partitioner.stages import form_stages
from partitioner.tables import Prices, price_list

Branch = frozenset[str]  # the inputs that it depends on


def branches(graph: Graph) -> list[Branch]:
    """The branch of each operator."""
    above: list[Branch] = []
    for operator in graph.operators:
        found: set[str] = set()
        for name in operator.inputs:
            maker = graph.activations[name].producer
            found |= {name} if maker is None else above[maker]
        above.append(frozenset(found))
    for at in reversed(range(len(above))):  # what depends on none goes with what reads it
        readers = [reader for name in graph.operators[at].outputs for reader in graph.activations[name].consumers]
        if not above[at] and readers:
            above[at] = above[readers[0]]
    return above


def best_whole(problem: Problem) -> Plan:
    """The fastest of all placements of whole branches, by trying them all."""
    prices, of = price_list(problem), branches(problem.graph)
    kinds = sorted(set(of), key=sorted)
    tried = (_placed(prices, dict(zip(kinds, sites, strict=True)), of) for sites in product(problem.sites, repeat=len(kinds)))
    return min((plan for plan in tried if plan is not None), key=lambda plan: plan.predicted.latency_s)


def all_at(problem: Problem, node: str) -> Plan:
    """Everything at a node, but for what sensors hold."""
    prices, of = price_list(problem), branches(problem.graph)
    site = next(site for site in problem.sites if site.node == node)
    plan = _placed(prices, dict.fromkeys(of, site), of)
    if plan is None:
        raise SystemExit(f"{problem.graph.name}: not everything may be at {node}")
    return plan


def _placed(prices: Prices, where: Mapping[Branch, Site], of: list[Branch]) -> Plan | None:
    problem = prices.problem
    pinned = {site.node: site for site in problem.sites}
    sites = [
        pinned[problem.pinned[operator.name]] if operator.name in problem.pinned else where[branch]
        for operator, branch in zip(problem.graph.operators, of, strict=True)
    ]
    try:
        return price_stages(prices, form_stages(problem, sites))
    except InvalidProblem:  # no link leads there, or no engine there has an operator
        return None
