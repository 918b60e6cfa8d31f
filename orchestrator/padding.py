"""Inputs shorter than the model's shape: filled up with a value, where the spec says that the model allows it.

A model that is compiled for sentences of 32 tokens answers one of 20 when 12 more follow that its mask hides. Which
value hides them, and along which axis, only the spec can know:

    inputs: {ids: {at: phone, shape: [1, 128], pad: {axis: 1, value: 0, lengths: [16, 32, 64, 128]}}}

With `lengths` the model runs at several: an input is filled up to the first that holds it. Inputs go together: all of
a request run at the same place of their lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from nodes.backend import Array, TensorSpec
from nodes.held import BFLOAT16, STRING, held_as
from orchestrator.yaml_file import StrictModel

MOST_LENGTHS = 16
Pads = Mapping[str, tuple[int, float]]  # by input: the axis, and what it is filled up with
Lengths = Mapping[str, tuple[int, ...]]  # by input, ascending: extents along its pad's axis; none where it has one only


class PadModel(StrictModel):
    """The key `pad` of an input."""

    axis: Annotated[int, Field(ge=1)]
    value: float | int = 0
    lengths: list[Annotated[int, Field(ge=1)]] | None = None

    @field_validator("lengths")
    @classmethod
    def _ascending(cls, lengths: list[int] | None) -> list[int] | None:
        if lengths is None:
            return None
        if not 2 <= len(lengths) <= MOST_LENGTHS:
            raise ValueError(f"should be 2 to {MOST_LENGTHS} lengths, are {len(lengths)}; one is the shape's own")
        if lengths != sorted(set(lengths)):
            raise ValueError(f"should ascend, are {lengths}")
        return lengths


def unlike(pads: Mapping[str, PadModel | None]) -> str | None:
    """Why the lengths of some inputs don't go together, as `inputs` has it; None if they do."""
    given = {name: pad.lengths for name, pad in pads.items() if pad is not None and pad.lengths is not None}
    for name, lengths in given.items():
        first, others = next(iter(given.items()))
        if len(lengths) != len(others):
            return f"{name}.pad.lengths: are {len(lengths)}, while {first} has {len(others)}; they go in pairs"
    return None


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


def padded(
    inputs: Sequence[TensorSpec], pads: Pads, feeds: Mapping[str, Array], lengths: Lengths | None = None
) -> Mapping[str, Array]:
    """The feeds, those that are too short filled up; what is too long, or no array of that rank, stays as it is."""
    if not pads:
        return feeds
    wanted = {spec.name: spec.shape[pads[spec.name][0]] for spec in inputs if spec.name in pads}
    place = bucket(pads, lengths, {name: array.shape for name, array in feeds.items()}) if lengths else None
    if lengths and place is not None:
        wanted |= {name: extents[place] for name, extents in lengths.items()}
    ranks = {spec.name: len(spec.shape) for spec in inputs}
    return {
        name: _filled(ranks[name], pads[name], wanted[name], array) if name in wanted else array
        for name, array in feeds.items()
    }


def bucket(pads: Pads, lengths: Lengths, shapes: Mapping[str, Sequence[int]]) -> int | None:
    """The first place whose lengths hold all of these; None where one is too long for the last."""
    places = 0
    for name, extents in lengths.items():
        axis = pads[name][0]
        if len(shape := shapes.get(name, ())) <= axis:
            continue
        place = next((at for at, extent in enumerate(extents) if shape[axis] <= extent), None)
        if place is None:
            return None
        places = max(places, place)
    return places


def too_long(name: str, pads: Pads, lengths: Lengths, shape: Sequence[int]) -> str | None:
    """What is said of an input that is longer than the largest of its lengths; None if it is not."""
    if name not in lengths or bucket(pads, {name: lengths[name]}, {name: shape}) is not None:
        return None
    axis, told = pads[name][0], ", ".join(map(str, lengths[name]))
    return f"input {name!r} is {shape[axis]} long along axis {axis}, its lengths are {told}"


def _filled(rank: int, pad: tuple[int, float], wanted: int | None, array: Array) -> Array:
    axis, value = pad
    if wanted is None or array.ndim != rank or not 0 < array.shape[axis] < wanted:
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
