"""A declared decoder loop as one ONNX Loop: the likeliest token each time, until the end token or `most` of them.

The step model takes one token at a time and keeps its state in tensors of fixed shapes, zeros at first. What it reads
besides (what an encoder made) is the loop's to read from outside. The answer is int64 `tokens` [1, most], filled up
with the end token, so that every shape is known whatever is said; its cost still depends on how much that is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from nodes.backend import Array
from nodes.functions import Inferred
from nodes.joining.steps import Loop
from nodes.normalising.functions import type_of, value_info

PORT = "tokens"
_UNSAID = -1e9  # added to the logits of what is not to be said
# What follows a step: operator, what it reads, what it makes. Trips before `free` hand the prefix on.
_CHOICE = (
    ("Equal", ("trip", "free"), "is_first"),
    ("Where", ("is_first", "unsaid_first", "unsaid"), "bias"),
    ("Add", ("logits", "bias"), "allowed"),
    ("ArgMax", ("allowed",), "likeliest"),
    ("Less", ("trip", "free"), "is_forced"),
    ("Min", ("trip", "free"), "forced_place"),
    ("Gather", ("forced", "forced_place"), "forced_token"),
    ("Where", ("is_forced", "forced_token", "likeliest"), "next"),
    ("Sub", ("trip", "free"), "place"),
    ("Equal", ("places", "place"), "is_here"),
    ("Where", ("is_here", "next", "said"), "said_next"),
    ("Equal", ("next", "end"), "is_end"),
    ("Not", ("is_end",), "goes_on_wide"),
    ("Squeeze", ("goes_on_wide",), "goes_on"),
)
Parts = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def ports(model: onnx.ModelProto) -> tuple[dict[str, Inferred], dict[str, Inferred]]:
    """Dtype and shape of what the step takes and gives, by name."""
    heavy = {tensor.name for tensor in model.graph.initializer}
    takes = {entry.name: type_of(entry) for entry in model.graph.input if entry.name not in heavy}
    return takes, {entry.name: type_of(entry) for entry in model.graph.output}


def check(step: Loop, model: onnx.ModelProto) -> str | None:
    """Why the model is no step of such a loop, or None."""
    takes, gives = ports(model)
    for name, wanted in ((step.token, (1, 1)), (step.position, (1,))):
        if takes.get(name) != ("int64", wanted):
            return f"a loop's step takes int64 {name!r} {list(wanted)}, which {step.model.name} doesn't"
    kind, shape = gives.get(step.logits, ("", ()))
    if kind != "float32" or len(shape) != 2 or shape[0] != 1 or not isinstance(shape[1], int):
        return f"a loop's step gives float32 {step.logits!r} [1, vocabulary], which {step.model.name} doesn't"
    for made, kept in step.state.items():
        if made not in gives or kept not in takes or gives[made] != takes[kept] or None in takes[kept][1]:
            return f"state goes from an output to an input of one type and fixed shape, not from {made!r} to {kept!r}"
    return _check_tokens(step, shape[1])


def _check_tokens(step: Loop, words: int) -> str | None:
    if not step.prefix or step.most < 1:
        return "a loop starts with a token at least, and gives one at least"
    if step.end in step.prefix or step.end in step.never:
        return f"token {step.end} ends the answer, so it can't start it or be one never said"
    if wrong := [one for one in (*step.prefix, step.end, *step.never, *step.never_first) if not 0 <= one < words]:
        return f"token {wrong[0]} is none of the {words} that the step knows"
    return None


def looped(step: Loop, model: onnx.ModelProto, fed: Mapping[str, str]) -> Parts:
    """Operators and weights that make STEP.tokens. `fed`: the step's other inputs → tensors outside."""
    takes, gives = ports(model)
    part = compose.add_prefix(model, f"{step.name}.").graph
    weights, nodes = list(part.initializer), list(part.node)
    for node in nodes:
        rename_reads(node, {f"{step.name}.{name}": wire for name, wire in fed.items()})
    vocabulary = gives[step.logits][1][1]
    assert vocabulary is not None
    constants = {f"{step.name}.loop.{name}": value for name, value in _constants(step, vocabulary).items()}
    zeros = {f"{step.name}.loop.{kept}": takes[kept] for kept in step.state.values()}
    constants |= {name: np.zeros([dim or 0 for dim in shape], kind) for name, (kind, shape) in zeros.items()}
    weights += [numpy_helper.from_array(value, name) for name, value in constants.items()]
    body = _body(step, nodes, {name: takes[name] for name in step.state.values()})
    starts = [f"{step.name}.loop.{name}" for name in ("trips", "going", "first", "silence")]
    lasts = [f"{step.name}.loop.last.{made}" for made in ("token", *step.state)]
    made = [lasts[0], f"{step.name}.{PORT}", *lasts[1:]]
    return [helper.make_node("Loop", [*starts, *zeros], made, step.name, body=body)], weights


def rename_reads(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    """Let a node, and the bodies that it holds, read other tensors, in place."""
    for at, name in enumerate(node.input):
        node.input[at] = renamed.get(name, name)
    for attribute in node.attribute:
        for body in [attribute.g, *attribute.graphs]:
            for inner in body.node:
                rename_reads(inner, renamed)


def _constants(step: Loop, vocabulary: int) -> dict[str, Array]:
    given, first = len(step.prefix), np.zeros((2, 1, vocabulary), np.float32)
    first[:, :, list(step.never)] = _UNSAID
    first[1][:, list(step.never_first)] = _UNSAID
    return {
        "trips": np.array(given - 1 + step.most),
        "going": np.array(True),
        "first": np.array([[step.prefix[0]]]),
        "silence": np.full((1, step.most), step.end),
        "forced": np.array([*step.prefix[1:], step.end]),  # by trip; the last stands where none is
        "free": np.array(given - 1),  # the first trip whose token is the model's own choice
        "flat": np.array([1]),
        "unsaid": first[0],
        "unsaid_first": first[1],
        "places": np.arange(step.most)[np.newaxis],
        "end": np.array([[step.end]]),
    }


def _body(step: Loop, nodes: Sequence[onnx.NodeProto], state: Mapping[str, Inferred]) -> onnx.GraphProto:
    """Trip, going, token, row, state → going, token, row, state."""
    own = f"{step.name}.loop."
    row: Inferred = ("int64", (1, step.most))
    token, position, logits = (f"{step.name}.{name}" for name in (step.token, step.position, step.logits))
    graph = onnx.GraphProto(name=f"{own}step")
    graph.node.append(helper.make_node("Reshape", [f"{own}trip", f"{own}flat"], [position], f"{own}position"))
    graph.node.extend(nodes)
    graph.node.append(helper.make_node("Identity", [logits], [f"{own}logits"], f"{own}logits"))
    for kind, reads, made in _CHOICE:
        attributes = {"axis": 1, "keepdims": 1} if kind == "ArgMax" else {}
        wires = [f"{own}{name}" for name in reads]
        node = helper.make_node(kind, wires, [f"{own}{made}"], f"{own}{made}", **attributes)
        graph.node.append(node)
    inputs: dict[str, Inferred] = {
        f"{own}trip": ("int64", ()),
        f"{own}going_on": ("bool", ()),
        token: ("int64", (1, 1)),
        f"{own}said": row,
    }
    outputs: dict[str, Inferred] = {
        f"{own}goes_on": ("bool", ()),
        f"{own}next": ("int64", (1, 1)),
        f"{own}said_next": row,
    }
    inputs |= {f"{step.name}.{name}": kind for name, kind in state.items()}
    outputs |= {f"{step.name}.{made}": state[kept] for made, kept in step.state.items()}
    graph.input.extend(value_info(name, kind) for name, kind in inputs.items())
    graph.output.extend(value_info(name, kind) for name, kind in outputs.items())
    return graph
