"""A model whose state goes from one request to the next, as planning sees it: without that state.

A state is an output that is an input of the next request of its sequence. It stays where it is made, so it is no input
or output of the graph that is planned, and no message carries it; what makes it and what reads it must share a stage.
Inputs that are kept come with a sequence's first request only and cost nothing afterwards: they are left out, too.
The stages that are cut out of the model have all of them back (`beside`).
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from partitioner.errors import InvalidModel
from partitioner.graph import Activation, Graph, Operator
from partitioner.load import Model


def stateful(model: Model, state: Mapping[str, str], kept: Iterable[str] = ()) -> Model:
    """The model with a graph to plan without `state` (output → input) and `kept` inputs.

    InvalidModel, in one line that names both ends, for what is no output and input of the model's that agree.
    """
    whole, kept = model.whole, tuple(kept)
    for made, given in state.items():
        _check_state(whole, made, given)
    for name in kept:
        if name not in whole.inputs:
            raise InvalidModel(f"{whole.name}: kept {name!r} is no input; it has {', '.join(whole.inputs)}")
    hidden = {*state.values(), *kept}
    inputs = tuple(name for name in whole.inputs if name not in hidden)
    outputs = tuple(name for name in whole.outputs if name not in state)
    if not inputs or not outputs:
        raise InvalidModel(f"{whole.name}: with its state taken away no {'output' if inputs else 'input'} is left")
    hidden |= {made for made in state if not whole.activations[made].consumers}
    graph = Graph(
        name=whole.name,
        operators=tuple(_without(operator, hidden) for operator in whole.operators),
        activations={name: one for name, one in whole.activations.items() if name not in hidden},
        inputs=inputs,
        outputs=outputs,
        weights_bytes=whole.weights_bytes,
    )
    return replace(model, graph=graph, full=whole, state=dict(state), kept=kept)


def together(model: Model) -> tuple[tuple[str, ...], ...]:
    """Operators that must share a stage, since one makes the state that others read."""
    operators, found = model.whole.operators, []
    for made, given in model.state.items():
        ends = (model.whole.activations[made].producer, *model.whole.activations[given].consumers)
        group = tuple(operators[index].name for index in sorted({index for index in ends if index is not None}))
        if len(group) > 1:
            found.append(group)
    return tuple(found)


def beside(model: Model, operators: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a stage of these operators has besides its plan's tensors: state (output → input), and kept inputs."""
    names = frozenset(operators)
    activations, every = model.whole.activations, model.whole.operators

    def reads(name: str) -> bool:
        return any(every[index].name in names for index in activations[name].consumers)

    state = {made: given for made, given in model.state.items() if reads(given)}
    return state, tuple(name for name in model.kept if reads(name))


def _check_state(graph: Graph, made: str, given: str) -> None:
    where = f"{graph.name}: state {made!r} → {given!r}"
    if made not in graph.outputs:
        raise InvalidModel(f"{where}: {made!r} is no output; it has {', '.join(graph.outputs)}")
    if given not in graph.inputs:
        raise InvalidModel(f"{where}: {given!r} is no input; it has {', '.join(graph.inputs)}")
    after, before = graph.activations[made], graph.activations[given]
    if after.producer is None or not before.consumers:
        raise InvalidModel(f"{where}: no operator {'reads' if after.producer is not None else 'makes'} it")
    if (after.dtype, after.shape) != (before.dtype, before.shape):
        raise InvalidModel(f"{where}: {made!r} is {_told(after)}, {given!r} is {_told(before)}; they must agree")
    if after.dynamic or before.dynamic:
        raise InvalidModel(f"{where}: its shape changes from run to run; a state's must be fixed")


def _told(activation: Activation) -> str:
    return f"{activation.dtype}{list(activation.shape)}"


def _without(operator: Operator, hidden: Set[str]) -> Operator:
    if hidden.isdisjoint(operator.inputs) and hidden.isdisjoint(operator.outputs):
        return operator
    inputs = tuple(name for name in operator.inputs if name not in hidden)
    outputs = tuple(name for name in operator.outputs if name not in hidden)
    return replace(operator, inputs=inputs, outputs=outputs)
