"""Which operators of a joined pipeline belong to which of its steps.

Joined operators begin with their step's name; those that an optimiser made out of others do not, and belong to the step
of the operators that they feed.
"""

from collections.abc import Collection

from nodes.joining.ordering import SHARED
from partitioner.graph import Graph


def operators_named(graph: Graph, name: str, steps: Collection[str]) -> tuple[str, ...]:
    """The operator of that name, else all those of the step of that name; none if there is neither."""
    if any(operator.name == name for operator in graph.operators):
        return (name,)
    if name not in steps:
        return ()
    owners = steps_of(graph, steps)
    return tuple(operator.name for at, operator in enumerate(graph.operators) if name in owners[at])


def steps_of(graph: Graph, steps: Collection[str]) -> list[frozenset[str]]:
    """For each operator the steps that it belongs to: one, or all that share a batched call."""
    owners: list[frozenset[str]] = [frozenset()] * len(graph.operators)
    for at in reversed(range(len(graph.operators))):
        owners[at] = _own(graph.operators[at].name, steps) or next(
            (
                owners[reader]
                for tensor in graph.operators[at].outputs
                for reader in graph.activations[tensor].consumers
                if owners[reader]
            ),
            frozenset(),
        )
    return owners


def _own(operator: str, steps: Collection[str]) -> frozenset[str]:
    prefix = operator.partition(".")[0]
    if prefix in steps:
        return frozenset([prefix])
    parts = prefix.rstrip("_").split(SHARED)
    return frozenset(parts) if len(parts) > 1 and all(part in steps for part in parts) else frozenset()
