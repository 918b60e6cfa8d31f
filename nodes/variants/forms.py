"""The forms that a float32 model can take, by name, and what a finished one is.

A form is one function `(core, feeds, read) -> core`: the pure ONNX part of a model, calibration inputs of that part,
and the options, read by name. It neither saves nor measures; registry.py does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from onnx import ModelProto

from nodes.backend import Array, Option
from nodes.options import Options
from nodes.variants.errors import UnknownForm
from nodes.variants.errors_of import Errors
from nodes.variants.ranges import TensorRange

Feeds = Sequence[Mapping[str, Array]]
Maker = Callable[[ModelProto, Feeds, Options], ModelProto]


@dataclass(frozen=True, slots=True)
class Form:
    """Where a form's maker is, whether it needs calibration inputs, and what it does in one line."""

    module: str
    function: str
    calibrated: Literal["needed", "useful", "unused"]
    summary: str

    def maker(self) -> Maker:
        """The function; its module loads now."""
        return cast("Maker", getattr(import_module(self.module), self.function))


FORMS: Mapping[str, Form] = {
    "float16": Form("nodes.variants.float16", "float16", "useful", "weights and activations in half precision"),
    "bfloat16": Form("nodes.variants.float16", "bfloat16", "unused", "weights in bfloat16, computed in float32"),
    "int8": Form("nodes.variants.choosing", "int8", "useful", "int8-static or int8-dynamic, whichever suits the graph"),
    "int8-static": Form(
        "nodes.variants.int8_static", "int8_static", "needed", "8-bit weights and activations, scales from calibration"
    ),
    "int8-dynamic": Form(
        "nodes.variants.int8_dynamic", "int8_dynamic", "useful", "8-bit weights, activations scaled at each run"
    ),
    "weights8": Form("nodes.variants.weight_only", "weights8", "useful", "weights in 8 bits, computed in float32"),
    "weights4": Form(
        "nodes.variants.weight_only", "weights4", "useful", "weights of matrix products in 4 bits, computed in float32"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured: the outputs' errors against float32, and each activation's range in the float32 model."""

    errors: Errors
    ranges: Mapping[str, TensorRange]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A finished form. `nbytes` are the file's; `recipe` is all it was made by; `figures` None if nothing was fed."""

    name: str
    path: Path
    nbytes: int
    form: str
    recipe: Mapping[str, Option]
    figures: Figures | None


def form_named(name: str) -> Form:
    """The form of that name; UnknownForm, listing those there are, for another."""
    if name not in FORMS:
        raise UnknownForm(f"there is no form {name!r}; there are {', '.join(FORMS)}")
    return FORMS[name]
