"""A graph's branches, and the placements that keep each of them whole.

A branch is all operators that depend on the same inputs: what is made of the sound alone, of the picture alone, and
what needs both. Whole models chained over machines are such placements, so that a plan known to be no worse than these
is no worse than theirs.
"""

from collections.abc import Iterator, Sequence
from itertools import product

from partitioner.graph import Graph
from partitioner.problem import Problem, Site

Branch = frozenset[str]  # the inputs that it depends on


def branches(graph: Graph) -> list[Branch]:
    """The branch of each operator; one that depends on no input goes with the first that reads it."""
    found: list[Branch] = []
    for operator in graph.operators:
        above: set[str] = set()
        for name in operator.inputs:
            maker = graph.activations[name].producer
            above |= {name} if maker is None else found[maker]
        found.append(frozenset(above))
    for at in reversed(range(len(found))):
        readers = [reader for name in graph.operators[at].outputs for reader in graph.activations[name].consumers]
        if not found[at] and readers:
            found[at] = found[min(readers)]
    return found


def whole_branches(problem: Problem, most: int) -> Iterator[list[Site]]:
    """Each operator's site, for every way to give each branch one; pinned operators are where they are pinned.

    None at all if there are more than `most` ways.
    """
    of = branches(problem.graph)
    kinds = sorted(set(of), key=sorted)
    if len(problem.sites) ** len(kinds) > most:
        return
    for chosen in product(problem.sites, repeat=len(kinds)):
        yield placed_so(problem, [chosen[kinds.index(branch)] for branch in of])


def placed_so(problem: Problem, sites: Sequence[Site]) -> list[Site]:
    """These sites, but for operators that are pinned: the first site of their node."""
    at = {site.node: site for site in reversed(problem.sites)}
    names = (operator.name for operator in problem.graph.operators)
    return [at.get(problem.pinned.get(name, ""), site) for name, site in zip(names, sites, strict=True)]
