"""Fusions as ONNX operators, so that engines run them and a plan can cut there.

Each takes tensors of float32 [rows, width] and gives one. `concatenate`: side by side (early fusion). `late`: their
sum by `weights` (equal ones), of which the sum is 1. `attention`: the first asks, all answer by how alike they are:
softmax(q·kᵀ/√width)·k, scaled dot-product attention (Vaswani et al., arXiv:1706.03762) without projections.
`cosine`: how alike two are, from −1 to 1, [rows]. `pooled`: the rows of one, summed by the weights [rows] that another
gives and divided by their sum, [1, width]: many answers of one model, by how sure it is of each.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nodes.errors import UnsupportedOperator
from nodes.functions.params import Inferred, Params, numbers

Parts = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]
PORT = "fused"
_TINY = 1e-12


def fused(kind: str, name: str, wires: Sequence[str], params: Params) -> Parts:
    """Operators and constants that make NAME.fused of these tensors."""
    return _FUSIONS[kind](name, list(wires), params)


def check(kind: str, params: Params, given: Sequence[Inferred]) -> str | None:
    """Why these can't be fused so, or None."""
    if kind not in _FUSIONS:
        return f"no fusion {kind!r}; there are {', '.join(_FUSIONS)}"
    least = 2
    two = kind in ("cosine", "pooled")
    if len(given) < least or (two and len(given) > least):
        return f"{kind} takes {'two' if two else 'two or more'} tensors, {len(given)} are given"
    return _not_pooled(given) if kind == "pooled" else _unlike(kind, params, given)


def _unlike(kind: str, params: Params, given: Sequence[Inferred]) -> str | None:
    for dtype, shape in given:
        if dtype != "float32" or len(shape) != 2:
            return f"{kind} takes float32 [rows, width], not {dtype} {['?' if one is None else one for one in shape]}"
    widths = {shape[1] for _, shape in given}
    if kind != "concatenate" and len(widths) > 1:
        return f"{kind} takes tensors of one width, they have {', '.join(map(str, sorted(widths, key=str)))}"
    if kind == "late" and len(_weights(params, len(given))) != len(given):
        return f"late: {len(given)} tensors, {len(_weights(params, len(given)))} weights"
    return None


def _not_pooled(given: Sequence[Inferred]) -> str | None:
    (rows, shape), (weights, count) = given
    if (rows, weights) != ("float32", "float32") or (len(shape), len(count)) != (2, 1):
        told = f"{rows} and {weights} of {len(shape)} and {len(count)} axes"
        return f"pooled takes float32 [rows, width] and [rows], not {told}"
    if None not in (shape[0], count[0]) and shape[0] != count[0]:
        return f"pooled: {shape[0]} rows, {count[0]} weights"
    return None


def shape_of(kind: str, given: Sequence[Inferred]) -> Inferred:
    """What comes of them."""
    rows, width = given[0][1]
    if kind == "cosine":
        return "float32", (rows,)
    if kind == "concatenate":
        widths = [shape[1] for _, shape in given]
        width = None if None in widths else sum(one for one in widths if one is not None)
    return "float32", (1 if kind == "pooled" else rows, width)


def _concatenate(name: str, wires: list[str], _params: Params) -> Parts:
    return [helper.make_node("Concat", wires, [f"{name}.{PORT}"], name, axis=1)], []


def _late(name: str, wires: list[str], params: Params) -> Parts:
    weights = _weights(params, len(wires))
    nodes, constants = [], []
    for at, (wire, weight) in enumerate(zip(wires, weights, strict=True)):
        constants.append(numpy_helper.from_array(np.float32(weight / sum(weights)), f"{name}.weight{at}"))
        nodes.append(helper.make_node("Mul", [wire, f"{name}.weight{at}"], [f"{name}.part{at}"], f"{name}.scale{at}"))
    parts = [f"{name}.part{at}" for at in range(len(wires))]
    return [*nodes, helper.make_node("Sum", parts, [f"{name}.{PORT}"], name)], constants


def _attention(name: str, wires: list[str], params: Params) -> Parts:
    """Stacked [rows, tensors, width]; the query [rows, 1, width]."""
    axis = numpy_helper.from_array(np.array([1]), f"{name}.axis")
    root = numpy_helper.from_array(np.float32(sqrt(numbers(params, "width", 0)[0])), f"{name}.root")
    make, stacked = helper.make_node, [f"{name}.row{at}" for at in range(len(wires))]
    nodes = [
        make("Unsqueeze", [wire, f"{name}.axis"], [row], f"{name}.unsqueeze{at}")
        for at, (wire, row) in enumerate(zip(wires, stacked, strict=True))
    ]
    nodes += [
        make("Concat", stacked, [f"{name}.all"], f"{name}.stack", axis=1),
        make("Transpose", [f"{name}.all"], [f"{name}.turned"], f"{name}.turn", perm=[0, 2, 1]),
        make("MatMul", [stacked[0], f"{name}.turned"], [f"{name}.alike"], f"{name}.compare"),
        make("Div", [f"{name}.alike", f"{name}.root"], [f"{name}.scaled"], f"{name}.scale"),
        make("Softmax", [f"{name}.scaled"], [f"{name}.shares"], f"{name}.share", axis=-1),
        make("MatMul", [f"{name}.shares", f"{name}.all"], [f"{name}.answer"], f"{name}.mix"),
        make("Squeeze", [f"{name}.answer", f"{name}.axis"], [f"{name}.{PORT}"], name),
    ]
    return nodes, [axis, root]


def _cosine(name: str, wires: list[str], _params: Params) -> Parts:
    make = helper.make_node
    constants = [
        numpy_helper.from_array(np.array([1]), f"{name}.axis"),
        numpy_helper.from_array(np.float32(_TINY), f"{name}.tiny"),
    ]
    nodes = []
    for label, pair in (("dot", wires), ("one", wires[:1] * 2), ("other", wires[1:] * 2)):
        product = f"{name}.{label}.products"
        nodes.append(make("Mul", pair, [product], f"{name}.{label}.multiply"))
        nodes.append(
            make("ReduceSum", [product, f"{name}.axis"], [f"{name}.{label}"], f"{name}.{label}.add", keepdims=0)
        )
    nodes += [
        make("Mul", [f"{name}.one", f"{name}.other"], [f"{name}.square"], f"{name}.lengths"),
        make("Sqrt", [f"{name}.square"], [f"{name}.length"], f"{name}.root"),
        make("Max", [f"{name}.length", f"{name}.tiny"], [f"{name}.whole"], f"{name}.bound"),
        make("Div", [f"{name}.dot", f"{name}.whole"], [f"{name}.{PORT}"], name),
    ]
    return nodes, constants


def _pooled(name: str, wires: list[str], _params: Params) -> Parts:
    axis = numpy_helper.from_array(np.array([0]), f"{name}.axis")
    make = helper.make_node
    nodes = [
        make("ReduceSum", [wires[1], f"{name}.axis"], [f"{name}.all"], f"{name}.add", keepdims=1),
        make("Div", [wires[1], f"{name}.all"], [f"{name}.shares"], f"{name}.share"),
        make("Unsqueeze", [f"{name}.shares", f"{name}.axis"], [f"{name}.row"], f"{name}.turn"),
        make("MatMul", [f"{name}.row", wires[0]], [f"{name}.{PORT}"], name),
    ]
    return nodes, [axis]


def _weights(params: Params, count: int) -> list[float]:
    found = numbers(params, "weights", 1.0)
    found = found * count if len(found) == 1 else found
    if min(found) < 0 or not sum(found) > 0:
        raise UnsupportedOperator(f"late: weights are 0 or more, and not all 0; they are {found}")
    return found


_FUSIONS: Mapping[str, Callable[[str, list[str], Params], Parts]] = {
    "concatenate": _concatenate,
    "late": _late,
    "attention": _attention,
    "cosine": _cosine,
    "pooled": _pooled,
}
FUSIONS = tuple(_FUSIONS)
