"""Inputs shorter than the model's shape: filled up with a value, where the spec says that the model allows it.

A model that is compiled for sentences of 32 tokens answers one of 20 when 12 more follow that its mask hides. Which
value hides them, and along which axis, only the spec can know:

    inputs: {ids: {at: phone, shape: [1, 32], pad: {axis: 1, value: 0}}}
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from nodes.backend import Array, TensorSpec
from nodes.held import BFLOAT16, STRING, held_as
from orchestrator.yaml_file import StrictModel

Pads = Mapping[str, tuple[int, float]]  # by input: the axis, and what it is filled up with


class PadModel(StrictModel):
    """The key `pad` of an input."""

    axis: Annotated[int, Field(ge=1)]
    value: float | int = 0


def misfit(dtype: str, shape: Sequence[int], axis: int, value: float) -> str | None:
    """Why an input can't be filled up so; None if it can."""
    if axis >= len(shape):
        return f"pad.axis: {axis}, while its shape is {list(shape)}"
    if dtype == STRING:
        return f"pad: it is {dtype}, which nothing fills up"
    if dtype == BFLOAT16 and value:
        return f"pad.value: {value}, while {dtype} is filled up with 0 only"
    with np.errstate(all="ignore"):
        held = np.array(value).astype(held_as(dtype))
    return None if held.dtype.kind == "f" or held == value else f"pad.value: {value} is no {dtype}"


def padded(inputs: Sequence[TensorSpec], pads: Pads, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
    """The feeds, those that are too short filled up; what is too long, or no array of that rank, stays as it is."""
    if not pads:
        return feeds
    shapes = {spec.name: spec.shape for spec in inputs if spec.name in pads}
    return {
        name: _filled(shapes[name], pads[name], array) if name in shapes else array for name, array in feeds.items()
    }


def _filled(shape: Sequence[int | None], pad: tuple[int, float], array: Array) -> Array:
    axis, value = pad
    wanted = shape[axis]
    if wanted is None or array.ndim != len(shape) or not 0 < array.shape[axis] < wanted:
        return array
    widths = [(0, wanted - array.shape[axis] if each == axis else 0) for each in range(array.ndim)]
    return np.pad(array, widths, constant_values=array.dtype.type(value))


def with_free_axes(inputs: Sequence[TensorSpec], pads: Pads) -> tuple[TensorSpec, ...]:
    """The inputs as callers may give them: what is filled up may have any extent."""
    return tuple(
        replace(spec, shape=_freed(spec, pads[spec.name][0])) if spec.name in pads else spec for spec in inputs
    )


def _freed(spec: TensorSpec, axis: int) -> tuple[int | None, ...]:
    return (*spec.shape[:axis], None, *spec.shape[axis + 1 :])
