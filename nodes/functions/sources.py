"""What a node holds between requests (nodes/items.py).

What a sensor has put there, for partitioner/sources.py; and what one pipeline keeps there for another, which takes it
up without its crossing a link.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.functions.params import Function, Inferred, Params, Shape, numbers, text
from nodes.held import holds, zeros
from nodes.items import ITEMS


def _held(params: Params, item: Array) -> tuple[Array, ...]:
    """int64 [1], an item's number → its tensor `tensor`, of this `dtype` and `shape` (-1: any). ItemGone, BadInput."""
    (dtype, shape), name = _inferred(params), text(params, "tensor")
    found = ITEMS.take(int(item.reshape(-1)[0]), name)
    fits = len(shape) == found.ndim and all(dim in (None, has) for dim, has in zip(shape, found.shape, strict=True))
    if not fits or not holds(found.dtype, dtype):
        wanted = ["?" if dim is None else dim for dim in shape]
        raise BadInput(f"{name} was put as {found.dtype.name} {list(found.shape)}, wants {dtype} {wanted}")
    return (found,)


def _inferred(params: Params) -> Inferred:
    dims = numbers(params, "shape", 0) if "shape" in params else []
    shape: Shape = tuple(None if dim < 0 else int(dim) for dim in dims)
    return text(params, "dtype"), shape


def _recall(params: Params, item: Array) -> tuple[Array, ...]:
    """As `_held`; zeros for number 0, which is no item's: what an open dimension is then is 1."""
    if int(item.reshape(-1)[0]):
        return _held(params, item)
    dtype, shape = _inferred(params)
    return (zeros(tuple(1 if dim is None else dim for dim in shape), dtype),)


def _keep(params: Params, item: Array, value: Array) -> tuple[Array, ...]:
    """int64 [1], an item's number, and any tensor, which the node then holds under it as `tensor` → the number.

    Under 0, with which stages are measured, nothing is held.
    """
    number, name = int(item.reshape(-1)[0]), text(params, "tensor")
    if number:
        ITEMS.add(number, name, value.copy())
    return (np.array([number], np.int64),)


_TAKES: Mapping[str, Any] = {
    "infer": lambda params, item: (_inferred(params),),
    "takes": ("int64",),
    "outputs": ("value",),
    "params": ("tensor", "dtype", "shape"),
}
SOURCES: Mapping[str, Function] = {
    "held": Function(_held, **_TAKES),
    "recall": Function(_recall, **_TAKES),
    "keep": Function(
        _keep, lambda params, item, value: (("int64", (1,)),), ("int64", None), ("item",), params=("tensor",)
    ),
}
