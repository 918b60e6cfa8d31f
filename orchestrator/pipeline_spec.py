"""A spec's `steps:` as pydantic reads it, and the pipeline that it means.

    steps:
      samples: {function: decode_sound, reads: sound, params: {rate: 16000}}
      mel:     {function: log_mel, reads: samples}
      hear:    {model: encoder.onnx, reads: mel, at: cloud}
      text:    {function: detokenise, reads: hear.tokens, params: {tokenizer: {text: tokenizer.json}}}
      match:   {fusion: cosine, reads: [hear.embedding, seen]}

A step is a model, a registered function, a fusion or a declared decoder loop. It reads wires: an input's name, or
STEP.PORT, of a step with one port STEP alone. A parameter may lie in a file: {text: FILE}, {lines: FILE} for a list of
text, or {json: FILE}. Paths are relative to the spec's folder.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nodes.functions.params import Param
from nodes.joining.steps import FunctionCall, Fusion, Loop, ModelCall, Pipeline, Source, Step
from orchestrator.errors import SpecError
from orchestrator.yaml_file import StrictModel, check
from partitioner.graph import DTYPE_BYTES

Wire = Annotated[str, Field(min_length=1)]
STEP_NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$"
Token = Annotated[int, Field(ge=0)]
Tokens = list[Token] | dict[str, str]


class ModelStep(StrictModel):
    """Runs an ONNX file."""

    model: str
    reads: Wire | Annotated[dict[str, Wire], Field(min_length=1)]
    at: str | None = None


class FunctionStep(StrictModel):
    """Calls a registered function."""

    function: str
    reads: Wire | Annotated[list[Wire], Field(min_length=1)]
    params: dict[str, Any] = Field(default_factory=dict)
    at: str | None = None


class FusionStep(StrictModel):
    """Makes one tensor of several."""

    fusion: str
    reads: Annotated[list[Wire], Field(min_length=2)]
    params: dict[str, Any] = Field(default_factory=dict)
    at: str | None = None


class LoopStep(StrictModel):
    """Says tokens with a model that makes one step (nodes.joining.steps.Loop)."""

    loop: str
    reads: Wire | Annotated[dict[str, Wire], Field(min_length=1)]
    state: Annotated[dict[str, str], Field(min_length=1)]
    prefix: Annotated[list[Token], Field(min_length=1)]
    end: Token
    most: Annotated[int, Field(ge=1, le=100_000)]
    never: Tokens = Field(default_factory=list)
    never_first: Tokens = Field(default_factory=list)
    token: str = "token"
    position: str = "position"
    logits: str = "logits"
    at: str | None = None


Written = ModelStep | FunctionStep | FusionStep | LoopStep
_KINDS: Mapping[str, type[Written]] = {
    "model": ModelStep,
    "function": FunctionStep,
    "fusion": FusionStep,
    "loop": LoopStep,
}


def pipeline_of(
    name: str, steps: Mapping[str, Any], sources: Sequence[Source], outputs: Mapping[str, str], *, where: str, at: Path
) -> Pipeline:
    """The pipeline that `steps` mean; `where` names the file in errors, `at` is its folder. SpecError for a fault."""
    made = (_step(key, _written(key, given, where), where, at) for key, given in steps.items())
    return Pipeline(name=name, sources=tuple(sources), steps=tuple(made), outputs=outputs, where=where)


def source_of(name: str, dtype: str | None, shape: Sequence[int | None] | None, where: str) -> Source:
    """An input as where data comes in: without a shape, a row of any length."""
    if dtype is None:
        known = ", ".join(DTYPE_BYTES)
        raise SpecError(f"{where}: inputs.{name}.dtype: is missing; steps must know it, one of {known}")
    return Source(name=name, dtype=dtype, shape=(None,) if shape is None else tuple(shape))


def pins_of(steps: Mapping[str, Any], where: str) -> dict[str, str]:
    """The nodes that steps are to run at, where they say one."""
    written = {key: _written(key, given, where) for key, given in steps.items()}
    return {key: step.at for key, step in written.items() if step.at is not None}


def _written(key: str, given: Any, where: str) -> Written:
    kinds = [kind for kind in _KINDS if isinstance(given, dict) and kind in given]
    if len(kinds) != 1:
        told = " and ".join(kinds) if kinds else "none of them"
        raise SpecError(f"{where}: steps.{key}: should have one of {', '.join(_KINDS)}, has {told}")
    return check(_KINDS[kinds[0]], given, where=where, within=("steps", key))


def _step(name: str, step: Written, where: str, folder: Path) -> Step:
    label = f"{where}: steps.{name}"
    match step:
        case ModelStep():
            return ModelCall(name=name, model=_file(folder, step.model, f"{label}.model"), inputs=step.reads)
        case FunctionStep():
            wires = (step.reads,) if isinstance(step.reads, str) else tuple(step.reads)
            params = _params(step.params, label, folder)
            return FunctionCall(name=name, function=step.function, wires=wires, params=params)
        case FusionStep():
            params = _params(step.params, label, folder)
            return Fusion(name=name, fusion=step.fusion, wires=tuple(step.reads), params=params)
        case LoopStep():
            return Loop(
                name=name,
                model=_file(folder, step.loop, f"{label}.loop"),
                inputs=step.reads,
                state=step.state,
                prefix=tuple(step.prefix),
                end=step.end,
                most=step.most,
                never=_tokens(step.never, f"{label}.never", folder),
                never_first=_tokens(step.never_first, f"{label}.never_first", folder),
                token=step.token,
                position=step.position,
                logits=step.logits,
            )


def _tokens(given: Tokens, where: str, folder: Path) -> tuple[int, ...]:
    found: Any = _read(given, where, folder) if isinstance(given, dict) else given
    if not isinstance(found, list) or not all(isinstance(one, int) and one >= 0 for one in found):
        raise SpecError(f"{where}: should be tokens, whole numbers from 0, or {{json: FILE}} with a list of such")
    return tuple(found)


def _params(given: Mapping[str, Any], where: str, folder: Path) -> dict[str, Param]:
    return {name: _param(value, f"{where}.params.{name}", folder) for name, value in given.items()}


def _param(given: Any, where: str, folder: Path) -> Param:
    found = _read(given, where, folder) if isinstance(given, dict) else given
    if isinstance(found, bool):
        return int(found)
    if isinstance(found, int | float | str):
        return found
    if isinstance(found, list) and found:
        for kind in (int, str, int | float):
            if all(isinstance(one, kind) and not isinstance(one, bool) for one in found):
                return found if kind is not int | float else [float(one) for one in found]
    raise SpecError(f"{where}: should be a number, text or a list of either, or in a file, is {found!r:.60}")


def _read(given: Mapping[str, Any], where: str, folder: Path) -> Any:
    """What {text: FILE}, {lines: FILE} or {json: FILE} has."""
    if len(given) != 1 or not set(given) <= {"text", "lines", "json"}:
        raise SpecError(f"{where}: should be {{text: FILE}}, {{lines: FILE}} or {{json: FILE}}, is {dict(given)!r:.60}")
    kind, name = next(iter(given.items()))
    if not isinstance(name, str):
        raise SpecError(f"{where}.{kind}: should be a file's path, is {name!r:.60}")
    path = _file(folder, name, f"{where}.{kind}")
    try:
        content = path.read_text(encoding="utf-8")
        return json.loads(content) if kind == "json" else content.splitlines() if kind == "lines" else content
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SpecError(f"{where}.{kind}: {path} can't be read: {error}") from None


def _file(folder: Path, given: str, where: str) -> Path:
    path = folder / given
    if not path.is_file():
        raise SpecError(f"{where}: no file {path}; paths are relative to the spec's folder")
    return path
