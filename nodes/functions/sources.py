"""What a node holds between requests (nodes/items.py).

What a sensor has put there, for partitioner/sources.py; and what one pipeline keeps there for another, which takes it
up without its crossing a link.
"""

from collections.abc import Mapping

import numpy as np

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.functions.params import Function, Inferred, Params, Shape, numbers, text
from nodes.held import holds
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


def _keep(params: Params, item: Array, value: Array) -> tuple[Array, ...]:
    """int64 [1], an item's number, and any tensor, which the node then holds under it as `tensor` → the number."""
    number = int(item.reshape(-1)[0])
    ITEMS.add(number, text(params, "tensor"), value.copy())
    return (np.array([number], np.int64),)


_TAKEN = Function(
    _held, lambda params, item: (_inferred(params),), ("int64",), ("value",), params=("tensor", "dtype", "shape")
)
SOURCES: Mapping[str, Function] = {
    "held": _TAKEN,
    "recall": _TAKEN,
    "keep": Function(
        _keep, lambda params, item, value: (("int64", (1,)),), ("int64", None), ("item",), params=("tensor",)
    ),
}
