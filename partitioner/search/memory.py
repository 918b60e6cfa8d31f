"""Weights against memory along one chain: what a stage would hold, and a price per byte that makes it hold less.

A node's memory bounds the weights of its stage, a weight that several operators of the stage read counted once.
For bounds, each weight is split evenly over all its readers, so that the parts in a stage never sum to more than
the stage holds: a price on the parts then underestimates the price on the whole (Lagrangian relaxation).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from partitioner.problem import Problem, Site
from partitioner.tables import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """Read i is of weight `weight[i]` by operator `reader[i]`; `share_bytes` is per operator."""

    nbytes: Ints
    weight: Ints
    reader: Ints
    share_bytes: Floats
    whole_bytes: Ints

    def held(self, members: Bools) -> int:
        """Bytes that a stage of these operators holds. `members` is a mask over operators."""
        return int(self.nbytes[np.unique(self.weight[members[self.reader]])].sum())


def weights_of(problem: Problem) -> Weights:
    """The model's weights as arrays; none where no site's memory could be too small."""
    graph = problem.graph
    if all(most is None for most in limits(problem).values()):
        nothing = np.zeros(0, dtype=np.int64)
        zeros = np.zeros(len(graph.operators))
        return Weights(
            nbytes=nothing, weight=nothing, reader=nothing, share_bytes=zeros, whole_bytes=zeros.astype(np.int64)
        )
    names = {name: i for i, name in enumerate(graph.weights_bytes)}
    pairs = [(names[name], i) for i, operator in enumerate(graph.operators) for name in operator.weights]
    weight, reader = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    nbytes = np.array(list(graph.weights_bytes.values()), dtype=np.int64)
    readers = np.bincount(weight, minlength=len(nbytes))
    count = len(graph.operators)
    return Weights(
        nbytes=nbytes,
        weight=weight,
        reader=reader,
        share_bytes=np.bincount(reader, weights=nbytes[weight] / readers[weight], minlength=count).astype(np.float64),
        whole_bytes=np.bincount(reader, weights=nbytes[weight], minlength=count).astype(np.int64),
    )


def limits(problem: Problem) -> dict[Site, int | None]:
    """Each site's memory in bytes; None where it could hold the whole model anyhow, or has no known limit."""
    found = {site: problem.topology.node(site.node).memory_bytes for site in problem.sites}
    if all(limit is None for limit in found.values()):
        return found
    total = problem.graph.weights_of(range(len(problem.graph.operators)))
    return {site: None if limit is None or limit >= total else limit for site, limit in found.items()}


def excess(weights: Weights, limit: Sequence[int | None], position_of: Ints) -> tuple[int, int] | None:
    """First position whose stage is too heavy, and by how many bytes; None if all fit."""
    for position, most in enumerate(limit, start=1):
        over = 0 if most is None else weights.held(position_of == position) - most
        if over > 0:
            return position, over
    return None
