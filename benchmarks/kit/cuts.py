"""Where to cut a model for a benchmark: at a share of its compute, near which few bytes cross.

Not the best cut (partitioner/search finds that), but one whose stages are as heavy as a benchmark wants them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from partitioner.cost import evaluate
from partitioner.graph import Graph
from partitioner.plan import Plan
from partitioner.problem import Problem


def chain_plan(problem: Problem, nodes: Sequence[str], shares: Sequence[float], *, near: float) -> Plan:
    """A plan over these nodes in turn; the next takes over where each share of the operators' seconds is done."""
    sites = {site.node: site for site in problem.sites}
    operator_s = problem.profile.engines[sites[nodes[-1]].engine].operator_s
    cuts = [cut_at(problem.graph, operator_s, share, near) for share in shares]
    ends = [0, *cuts, len(problem.graph.operators)]
    counts = np.diff(ends).tolist()
    return evaluate(problem, [sites[node] for node, count in zip(nodes, counts, strict=True) for _ in range(count)])


def cut_at(graph: Graph, operator_s: Mapping[str, float], share: float, near: float) -> int:
    """How many operators come before the cut: of those within `near` of the share, where the fewest bytes cross."""
    done = np.cumsum([operator_s[operator.name] for operator in graph.operators])
    crossing = np.zeros(len(graph.operators) + 1)
    for one in graph.activations.values():
        if one.consumers:
            made = 0 if one.producer is None else one.producer + 1
            crossing[made : max(one.consumers) + 1] += one.nbytes
    within = np.flatnonzero(np.abs(done / done[-1] - share) <= near) + 1
    return int(within[np.argmin(crossing[within])])
