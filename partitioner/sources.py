"""Inputs that are not where requests arise: an operator at their node gives them, whom a request names what it means.

So planning knows one place where requests begin, and all solvers stay what they are: of such an input what the request
brings is eight bytes, the item's number, and the tensor is made by an operator that is pinned to the sensor's node.
"""

from collections.abc import Mapping
from dataclasses import replace

from partitioner.graph import Graph
from partitioner.profile import Profile

HELD = "held"  # the registered function: an item's number → the tensor that its node holds under it


def operator_of(name: str) -> str:
    """The operator that gives an input."""
    return f"{name}.source"


def item_of(name: str) -> str:
    """The input, int64 [1], that tells which item is meant."""
    return f"{name}.item"


def sources_of(graph: Graph) -> Mapping[str, str]:
    """Inputs that are held at nodes of their own, by the names of the inputs that stand for them."""
    held = (operator for operator in graph.operators if operator.is_function and operator.op_type == HELD)
    return {operator.inputs[0]: operator.outputs[0] for operator in held}


def told_inputs(graph: Graph) -> tuple[str, ...]:
    """The inputs as users know them, wherever they are."""
    held = sources_of(graph)
    return tuple(held.get(name, name) for name in graph.inputs)


def with_sources_held(profile: Profile, graph: Graph) -> Profile:
    """The profile where each engine takes no time for what a sensor holds ready; itself for a graph without sensors."""
    names = [operator.name for operator in graph.operators if operator.is_function and operator.op_type == HELD]
    engines = {
        key: replace(one, operator_s={**dict.fromkeys(names, 0.0), **one.operator_s}) if one.operator_s else one
        for key, one in profile.engines.items()
    }
    return replace(profile, engines=engines) if names else profile
