"""What a caller gives a router, checked before anything is sent."""

from collections.abc import Mapping

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.held import as_held, holds
from orchestrator.padding import padded, too_long
from orchestrator.routes import EpochRoutes


def taken(routes: EpochRoutes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds as stages take them: what is too short filled up where it may be, numpy's text as objects."""
    return {name: as_held(array) for name, array in padded(routes.inputs, routes.pads, feeds, routes.lengths).items()}


def check_feeds(
    deployment: str, routes: EpochRoutes, feeds: Mapping[str, Array], also: tuple[TensorSpec, ...] = ()
) -> None:
    """BadInput that names every missing, surplus, wrongly typed or wrongly shaped tensor at once.

    `also` is wanted beside the epoch's inputs.
    """
    inputs = (*routes.inputs, *also)
    faults = [f"{spec.name} is missing" for spec in inputs if spec.name not in feeds]
    known = {spec.name: spec for spec in inputs}
    for name, array in feeds.items():
        spec = known.get(name)
        if spec is None:
            faults.append(f"{name} is not an input")
            continue
        if not holds(array.dtype, spec.dtype):
            faults.append(f"{name} is {array.dtype.name}, wants {spec.dtype}")
        if long := too_long(name, routes.pads, routes.lengths, array.shape):
            faults.append(long)
            continue
        wanted = spec.shape
        if not _fits(routes, spec, array):
            faults.append(f"{name} has shape {list(array.shape)}, wants {['?' if d is None else d for d in wanted]}")
    if faults:
        takes = ", ".join(f"{s.name}: {s.dtype}{['?' if d is None else d for d in s.shape]}" for s in inputs)
        raise BadInput(f"{deployment}: {'; '.join(faults)} (it takes {takes})")


def _fits(routes: EpochRoutes, spec: TensorSpec, array: Array) -> bool:
    lengths = routes.lengths.get(spec.name)
    ragged = routes.pads[spec.name][0] if lengths else None
    return len(spec.shape) == array.ndim and all(
        has in lengths if lengths and axis == ragged else wanted in (None, has)
        for axis, (wanted, has) in enumerate(zip(spec.shape, array.shape, strict=True))
    )


def non_finite(feeds: Mapping[str, Array]) -> list[str]:
    """Inputs that hold NaN or an infinity; looked for only once an output was bad."""
    return [name for name, array in feeds.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
