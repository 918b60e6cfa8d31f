"""A spec's `align:` held against its inputs: whose items have which, and what stands for those that are missing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nodes.backend import Array
from orchestrator.aligning.kept_array import KeptArray
from orchestrator.aligning.terms import AlignModel, AlignTerms, ModalityModel
from orchestrator.errors import SpecError

MOST_BYTES = 4_000_000  # of one that stands in: it is kept with the deployment
TEXT = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputForm:
    """What a spec tells of an input: None where it leaves that to the model, or to each item."""

    dtype: str | None
    shape: tuple[int, ...] | None


def terms_for(align: AlignModel, inputs: Mapping[str, InputForm], *, where: str, folder: Path) -> AlignTerms:
    """What `align` means for a deployment with these inputs; files are relative to `folder`.

    SpecError for an input that no modality has, that several have, or that nothing can stand for.
    """
    terms = align.terms()
    of: dict[str, str] = {}
    for name, one in align.modalities.items():
        for own in one.inputs or [name]:
            here = f"{where}: align.modalities.{name}"
            if own not in inputs:
                told = "" if one.inputs is not None else "; say which of them its items have (inputs: [NAME])"
                raise SpecError(f"{here}: no input {own!r}; inputs are {', '.join(inputs)}{told}")
            if own in of:
                raise SpecError(f"{here}: input {own!r} is one of modality {of[own]!r} already; leave it out of one")
            of[own] = name
    if lacking := next((name for name in inputs if name not in of), None):
        raise SpecError(f"{where}: align: no modality has input {lacking!r}, which every request needs; add it to one")
    stands = {name: _instead(name, one, inputs, where, folder) for name, one in align.modalities.items()}
    filled = {
        name: replace(one, inputs=tuple(align.modalities[name].inputs or (name,)), instead=stands[name])
        for name, one in terms.modalities.items()
    }
    return replace(terms, modalities=filled)


def _instead(
    name: str, one: ModalityModel, inputs: Mapping[str, InputForm], where: str, folder: Path
) -> dict[str, KeptArray]:
    here = f"{where}: align.modalities.{name}.instead"
    if one.missing != "without":
        if one.instead is not None:
            raise SpecError(
                f"{here}: goes with missing: without, while it is {one.missing!r}; leave out one of the two"
            )
        return {}
    own = one.inputs or [name]
    given = one.instead if isinstance(one.instead, dict) else dict.fromkeys(own, one.instead)
    if unknown := next((key for key in given if key not in own), None):
        raise SpecError(f"{here}: {unknown!r} is none of its inputs, which are {', '.join(own)}")
    found = {}
    for key in own:
        value = given.get(key)
        if value is None:
            raise SpecError(
                f"{here}: is missing for {key!r}, without which it may be asked; give a number or a .npy file"
            )
        found[key] = KeptArray.of(_array(value, key, inputs[key], here, folder))
    return found


def _array(value: float | str, name: str, form: InputForm, here: str, folder: Path) -> Array:
    if form.dtype == TEXT:
        return np.full(form.shape or (1,), str(value), np.object_)
    if isinstance(value, str):
        return _read(folder / value, form, here)
    if form.dtype is None or form.shape is None:
        raise SpecError(f"{here}: {value:g}, while inputs.{name} tells no dtype, or no shape in full; give a .npy file")
    size = np.dtype(form.dtype).itemsize * int(np.prod(form.shape))
    if size > MOST_BYTES:
        raise SpecError(f"{here}: {size / 1e6:.1f} MB for {name!r}; at most {MOST_BYTES / 1e6:g} MB can stand in")
    with np.errstate(invalid="ignore"):
        filled = np.full(form.shape, value).astype(form.dtype)
    if filled.size and filled.flat[0] != value and np.dtype(form.dtype).kind != "f":
        raise SpecError(f"{here}: {value:g} is no {form.dtype}, which inputs.{name} is")
    return filled


def _read(path: Path, form: InputForm, here: str) -> Array:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SpecError(f"{here}: {path} has {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:g} MB can stand in")
        array: Array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise SpecError(f"{here}: {path}: {error.strerror or error}; give a number or a .npy file") from None
    except ValueError as error:
        raise SpecError(f"{here}: {path}: {error}; save it with numpy.save") from None
    if form.dtype is not None and array.dtype != form.dtype:
        raise SpecError(f"{here}: {path} holds {array.dtype}, while the input is {form.dtype}")
    if form.shape is not None and array.shape != form.shape:
        raise SpecError(f"{here}: {path} holds {list(array.shape)}, while the input is {list(form.shape)}")
    return array
