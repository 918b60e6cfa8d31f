"""Checks a caller's tensors against what a session takes, and says everything that is wrong at once."""

from collections.abc import Mapping, Sequence

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.held import holds


def check_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """BadInput, naming every missing, surplus, wrong-dtype and wrong-shape tensor, unless `feeds` fits."""
    if len(feeds) == len(specs) and all(spec.name in feeds and fits(spec, feeds[spec.name]) for spec in specs):
        return
    faults = [
        _fault(spec, feeds[spec.name]) if spec.name in feeds else f"missing {spec.name!r}"
        for spec in specs
        if spec.name not in feeds or not fits(spec, feeds[spec.name])
    ]
    names = [spec.name for spec in specs]
    faults += [f"surplus {name!r}" for name in feeds if name not in names]
    raise BadInput(f"{'; '.join(faults)} (takes {', '.join(describe(spec) for spec in specs) or 'nothing'})")


def fits(spec: TensorSpec, array: Array) -> bool:
    """Whether dtype, rank and every dimension that is not free agree."""
    if not holds(array.dtype, spec.dtype) or array.ndim != len(spec.shape):
        return False
    return all(want is None or want == have for want, have in zip(spec.shape, array.shape, strict=True))


def describe(spec: TensorSpec) -> str:
    """A tensor in a message: name, dtype and shape, ? for a free dimension."""
    return f"{spec.name} {spec.dtype}[{', '.join('?' if dim is None else str(dim) for dim in spec.shape)}]"


def engine_ready(array: Array) -> Array:
    """The array itself if an engine can read it in place, else a copy: contiguous, aligned, native byte order."""
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _fault(spec: TensorSpec, array: Array) -> str:
    if not holds(array.dtype, spec.dtype):
        return f"{spec.name!r} is {array.dtype.name}, must be {spec.dtype}"
    return f"{spec.name!r} has shape {list(array.shape)}, must be {describe(spec).removeprefix(spec.name)[1:]}"
