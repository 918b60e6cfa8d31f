"""What everything on one node would take over a range of goodputs, for comparison with the atlas's plans."""

from collections.abc import Mapping
from dataclasses import replace

from partitioner.constraints import violation
from partitioner.cost import evaluate, without_segments
from partitioner.errors import InvalidProblem
from partitioner.problem import Problem
from partitioner.search.atlas import Atlas
from partitioner.topology import NodeId, Topology

POINTS = 33

Curve = tuple[tuple[float, float], ...]  # bytes per second and seconds, by ascending goodput


def unsplit_curves(problem: Problem, atlas: Atlas) -> Mapping[NodeId, Curve]:
    """Each node's fastest allowed unsplit placement over the atlas's range, under the additive model as the atlas is.

    Nodes that may not run everything (privacy, memory, an operator without an engine, no way) are left out.
    """
    ratio = (atlas.high / atlas.low) ** (1 / (POINTS - 1))
    rates = [atlas.low * ratio**i for i in range(POINTS)]
    additive = without_segments(problem)
    found: dict[NodeId, Curve] = {}
    for node in problem.topology.nodes:
        curve = tuple(
            (rate, seconds)
            for rate in rates
            if (seconds := _unsplit_s(_at(additive, atlas, rate), node.name)) is not None
        )
        if curve:
            found[node.name] = curve
    return found


def goodput(topology: Topology, atlas: Atlas) -> float | None:
    """Bytes per second of the atlas's link as the topology has it; None where it isn't there."""
    ends = atlas.ends
    return next((one.bytes_per_s for one in topology.links if (one.source, one.target) == ends), None)


def _at(problem: Problem, atlas: Atlas, rate: float) -> Problem:
    links = [one for one in problem.topology.links if (one.source, one.target) == atlas.ends]
    topology = problem.topology.with_links(replace(one, bytes_per_s=rate) for one in links)
    return replace(problem, topology=topology)


def _unsplit_s(problem: Problem, node: NodeId) -> float | None:
    """The fastest of the node's engines with everything on it; None if none may."""
    found = []
    for site in problem.sites:
        if site.node == node:
            try:
                plan = evaluate(problem, [site] * len(problem.graph.operators))
            except InvalidProblem:
                continue  # an operator has no time there, or no link leads there: not a placement
            found += [plan.predicted.latency_s] if violation(problem, plan) is None else []
    return min(found, default=None)
