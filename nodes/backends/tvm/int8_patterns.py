"""Quantising and dequantising in a relax module: written so that layouts pass through, and found again behind that.

Nothing is computed in 8 bits here: int8_network.py does that with what is found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backends.tvm.rewrites import rewritten

Look = Callable[[Any], Any]  # a variable's expression


@dataclass(frozen=True, slots=True)
class Given:
    """Dequantised activations: the integers, turned by `turns` (axes) one after another, less `zero`, by `scale`."""

    integers: Any
    turns: Sequence[Sequence[int]]
    zero: int
    scale: float


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights, their outputs' axis last, and the scale of each output."""

    values: NDArray[Any]
    scales: NDArray[Any]


def plain_quantisation(module: Any) -> Any:
    """Quantising and dequantising by one scale as arithmetic: a change of layout passes through that."""
    from tvm import relax

    def rewrite(call: Any, name: str, look: Look, builder: Any) -> Any:
        if name not in {"relax.quantize", "relax.dequantize"} or _number(call.args[0]) is not None:
            return call
        scale, zero = _number(call.args[1]), _number(call.args[2])
        if scale is None or zero is None or scale.size != 1 or zero.size != 1 or scale.dtype != np.float32:
            return call
        step, shift = (relax.const(float(value), "float32") for value in (scale.item(), zero.item()))
        if name == "relax.dequantize":
            centred = builder.emit(relax.op.subtract(builder.emit(relax.op.astype(call.args[0], "float32")), shift))
            return relax.op.multiply(centred, step)
        bounds = np.iinfo(zero.dtype)
        rounded = builder.emit(relax.op.round(builder.emit(relax.op.divide(call.args[0], step))))
        moved = builder.emit(relax.op.add(rounded, shift))
        above = builder.emit(relax.op.maximum(moved, relax.const(float(bounds.min), "float32")))
        inside = builder.emit(relax.op.minimum(above, relax.const(float(bounds.max), "float32")))
        return relax.op.astype(inside, str(zero.dtype))

    return rewritten(module, rewrite)


def dequantised(value: Any, look: Look) -> Given | None:
    """What `plain_quantisation` wrote for a DequantizeLinear, wherever its layout was changed; None for all else."""
    turns: list[Sequence[int]] = []
    numbers: dict[str, float] = {}
    for wanted in ("relax.multiply", "relax.subtract", "relax.astype", ""):
        call = look(value)
        while _op(call) == "relax.permute_dims" and call.attrs.axes is not None:
            turns.append([int(axis) for axis in call.attrs.axes])
            value = call.args[0]
            call = look(value)
        if not wanted:
            break
        if _op(call) != wanted:
            return None
        if len(call.args) > 1:
            number = _number(call.args[1])
            if number is None or number.size != 1:
                return None
            numbers[wanted] = float(number)
        value = call.args[0]
    if str(value.ty.dtype) not in {"int8", "uint8"}:
        return None
    return Given(value, turns[::-1], int(numbers["relax.subtract"]), numbers["relax.multiply"])


def quantised_weights(value: Any, look: Look) -> Weights | None:
    """int8 weights without zero points, dequantised by a scale for each output or one for all; None for all else."""
    turns: list[Sequence[int]] = []
    call = look(value)
    while _op(call) == "relax.permute_dims":
        rank = call.args[0].ty.ndim
        turns.append([int(a) for a in call.attrs.axes] if call.attrs.axes is not None else range(rank)[::-1])
        call = look(call.args[0])
    if _op(call) != "relax.dequantize":
        return None
    values, scales, zeros = (_number(argument) for argument in call.args)
    if values is None or scales is None or zeros is None or values.dtype != np.int8 or zeros.any():
        return None
    axis = int(call.attrs.axis) % values.ndim
    for axes in turns[::-1]:
        values, axis = values.transpose(axes), list(axes).index(axis)
    if scales.size > 1 and axis != values.ndim - 1:
        return None
    return Weights(values, np.broadcast_to(scales.reshape(-1), values.shape[-1:]))


def fold_weights(module: Any) -> Any:
    """Dequantised weights as the floats that they are."""
    from tvm import relax

    def rewrite(call: Any, name: str, look: Look, builder: Any) -> Any:
        if name != "relax.dequantize":
            return call
        values, scales, zeros = (_number(argument) for argument in call.args)
        if values is None or scales is None or zeros is None or scales.dtype != np.float32:
            return call
        shape = [-1 if place == int(call.attrs.axis) % values.ndim else 1 for place in range(values.ndim)]
        scales, zeros = (part.reshape(shape if part.size > 1 else ()) for part in (scales, zeros))
        return relax.const(((values.astype(np.int64) - zeros).astype(np.float32) * scales).astype(np.float32))

    return rewritten(module, rewrite)


def _op(call: Any) -> str:
    return str(getattr(getattr(call, "op", None), "name", ""))


def _number(value: Any) -> NDArray[Any] | None:
    """A constant's numbers, None for what is none."""
    from tvm.ir.expr import GenericConst

    return value.value.numpy() if isinstance(value, GenericConst) else None
