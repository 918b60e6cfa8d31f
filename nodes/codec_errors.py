"""What codecs do to a model's activations: how far each shrinks them, and how far its error moves the outputs.

One activation at a time is encoded and decoded on its way to those that read it, on real (calibration) inputs: with
noise for input every codec looks good. `error_together` codes several at once. Controller only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import NamedTuple

import numpy as np
import onnx

from nodes.backend import Array
from nodes.codec import KINDS, decode, encode_named, runs_here, worth_trying
from nodes.model_parts import ModelParts
from nodes.normalising.evaluate import Evaluator, Values
from nodes.normalising.functions import type_of, value_info
from nodes.normalising.source import graphs
from nodes.variants.errors_of import relative_error
from partitioner.errors import InvalidModel
from partitioner.profile import CodecFigure, TensorFigure

TIMED, CACHE_BYTES = 7, 8 << 20
DECODED = "isthmus.decoded."  # before an activation's name: what stands in for it where it is read


class _Effect(NamedTuple):
    """What one codec did to the outputs for one input; `agreement` is the share of rows whose top label stayed."""

    error: float
    agreement: float | None


def codec_errors(
    model: Path, tensors: Sequence[str], feeds: Sequence[Mapping[str, Array]], codecs: Sequence[str]
) -> dict[str, dict[str, TensorFigure]]:
    """For each activation (or input) and codec: coded bytes per raw byte, and the worst output error over `feeds`.

    The error is the largest absolute difference of any output over that output's largest magnitude, as TensorFigure
    defines it. "raw" is left out; codecs for images are tried only on inputs that look like one, JPEG only where
    Pillow is. InvalidModel for a tensor that the model hasn't.
    """
    with ModelParts(model, feeds[0]) as parts:
        runs = _runs(parts, tensors, feeds)
        inputs = {spec.name for spec in parts.inputs}
        here = tuple(codec for codec in codecs if runs_here(codec))
        figures = {}
        for tensor in tensors:
            array = runs[0].value(tensor)
            tried = worth_trying(here, array.shape, array.dtype.name, model_input=tensor in inputs)
            figures[tensor] = _figures_of(parts, tensor, runs, tried)
        return figures


def error_together(model: Path, codecs: Mapping[str, str], feeds: Sequence[Mapping[str, Array]]) -> float:
    """The worst output error over `feeds` with all these activations under their codecs at once.

    What a plan promises is the sum of what each does alone, which holds as long as errors are small. InvalidModel
    for a tensor that the model hasn't.
    """
    with ModelParts(model, feeds[0]) as parts:
        runs = _runs(parts, tuple(codecs), feeds)
        made = {name: i for i, node in enumerate(parts.proto.graph.node) for name in node.output}
        order = sorted(codecs, key=lambda name: made.get(name, -1))
        evaluator, read_as = _rewired(parts.evaluator, order)
        worst = 0.0
        for values in runs:
            given = {spec.name: values.value(spec.name) for spec in parts.inputs}
            replaced: dict[str, Array] = {}
            for tensor in order:
                array = Values(evaluator, given).value(tensor)
                replaced[tensor] = decode(*encode_named(tensor, array, codecs[tensor]))
                given[read_as[tensor]] = replaced[tensor]
            changed = _outputs(parts, evaluator, given | replaced)
            wanted = [values.value(name) for name in parts.outputs]
            worst = max(worst, relative_error(zip(wanted, changed, strict=True)))
        return worst


def codec_figures(sample: Array, codecs: Sequence[str]) -> dict[str, CodecFigure]:
    """Encode and decode seconds per raw byte, each codec on `sample`, a real activation of some 100 KB or more.

    Codecs for images are timed on a picture made up for it, and JPEG left out where Pillow is missing.
    """
    picture = _picture()
    return {
        codec: _speed(picture if KINDS[codec].images_only else sample, codec) for codec in codecs if runs_here(codec)
    }


def _runs(parts: ModelParts, tensors: Sequence[str], feeds: Sequence[Mapping[str, Array]]) -> list[Values]:
    """The undisturbed values for each of the feeds, `tensors` and outputs worked out."""
    runs = [Values(parts.evaluator, parts.completed(given)) for given in feeds]
    known = parts.evaluator.made | set(parts.evaluator.function_of) | {spec.name for spec in parts.inputs}
    if unknown := [name for name in tensors if name not in known]:
        raise InvalidModel(f"{parts.label} has no activation {unknown[0]!r}")
    inner = tuple(dict.fromkeys(name for name in (*tensors, *parts.outputs) if name in parts.evaluator.made))
    for values in runs:
        values.run_core(inner)
    return runs


def _picture() -> Array:
    """A photograph's like: slopes, an edge and some grain in 8 bits, normalised; float32 [1, 3, 224, 224]."""
    down, right = np.mgrid[0:224, 0:224]
    grain = np.random.default_rng(0).normal(0, 6, (3, 224, 224))
    pixels = np.clip(0.4 * down + 0.3 * right + 80 * (down > right) + grain, 0, 255).astype(np.uint8)
    picture: Array = ((pixels - 127.0) / 64.0).astype(np.float32)[None]
    return picture


def _speed(array: Array, codec: str) -> CodecFigure:
    """Timed with caches emptied, as a stage's engine leaves them: on a tensor still in them, half the time was seen."""
    meta, buffer = encode_named("sample", array, codec)
    elsewhere = np.zeros(CACHE_BYTES, np.uint8)
    encode_s, decode_s = [], []
    for _ in range(TIMED):
        elsewhere += 1
        begun_s = perf_counter()
        encode_named("sample", array, codec)
        encode_s.append(perf_counter() - begun_s)
        elsewhere += 1
        begun_s = perf_counter()
        decode(meta, buffer)
        decode_s.append(perf_counter() - begun_s)
    nbytes = max(array.nbytes, 1)
    return CodecFigure(encode_s_per_byte=median(encode_s) / nbytes, decode_s_per_byte=median(decode_s) / nbytes)


def _figures_of(
    parts: ModelParts, tensor: str, runs: Sequence[Values], codecs: Sequence[str]
) -> dict[str, TensorFigure]:
    evaluator, read_as = _rewired(parts.evaluator, [tensor])
    ratios: dict[str, list[float]] = {codec: [] for codec in codecs}
    effects: dict[str, list[_Effect]] = {codec: [] for codec in codecs}
    for values in runs:
        array = values.value(tensor)
        reference = [values.value(output) for output in parts.outputs]
        inputs = {spec.name: values.value(spec.name) for spec in parts.inputs}
        seen: dict[str, _Effect] = {"raw": _effect(reference, reference)}  # by what was used in the end, zstd aside
        for codec in codecs:
            meta, buffer = encode_named(tensor, array, codec)
            ratios[codec].append((len(buffer) + len(meta.scales)) / max(array.nbytes, 1))
            used = meta.codec.partition("+")[0]
            if used not in seen:
                decoded = decode(meta, buffer)
                changed = _outputs(parts, evaluator, {**inputs, read_as[tensor]: decoded, tensor: decoded})
                seen[used] = _effect(reference, changed)
            effects[codec].append(seen[used])
    sample = runs[0].value(tensor)
    return {codec: _summed(ratios[codec], effects[codec], _speed(sample, codec)) for codec in codecs}


def _summed(ratios: Sequence[float], effects: Sequence[_Effect], speed: CodecFigure) -> TensorFigure:
    """The mean ratio, the worst error and the mean agreement of all inputs."""
    agreements = [effect.agreement for effect in effects if effect.agreement is not None]
    return TensorFigure(
        ratio=fmean(ratios),
        error=max(effect.error for effect in effects),
        encode_s_per_byte=speed.encode_s_per_byte,
        decode_s_per_byte=speed.decode_s_per_byte,
        label_agreement=fmean(agreements) if agreements else None,
    )


def _outputs(parts: ModelParts, evaluator: Evaluator, given: Mapping[str, Array]) -> list[Array]:
    values = Values(evaluator, given)
    made = tuple(name for name in parts.outputs if name in evaluator.made and name not in given)
    if made:
        values.run_core(made)
    return [values.value(name) for name in parts.outputs]


def _rewired(evaluator: Evaluator, tensors: Sequence[str]) -> tuple[Evaluator, dict[str, str]]:
    """The same model with `tensors` read under other names, as inputs, and those names.

    What no pure operator makes (an input, a function's output) can be given under its own.
    """
    read_as = {name: DECODED + name if name in evaluator.made else name for name in tensors}
    changed = {name: other for name, other in read_as.items() if name != other}
    if evaluator.core is None or not changed:
        return evaluator, read_as
    core = onnx.ModelProto()
    core.CopyFrom(evaluator.core)
    entries = [*core.graph.value_info, *core.graph.output]
    types = {entry.name: type_of(entry) for entry in entries if entry.type.tensor_type.elem_type}
    functions = []
    for node in evaluator.functions:
        functions.append(onnx.NodeProto())
        functions[-1].CopyFrom(node)
    for node in [*functions, *(node for inner in graphs(core.graph) for node in inner.node)]:
        for index, name in enumerate(node.input):
            if name in changed:
                node.input[index] = changed[name]
    core.graph.input.extend(value_info(other, types[name]) for name, other in changed.items())
    return Evaluator(core, functions, {}, evaluator.label, evaluator.directory), read_as


def _effect(reference: Sequence[Array], changed: Sequence[Array]) -> _Effect:
    """Labels are the largest of each row of an output of floats [rows, classes]; None for a model without any."""
    scores = [place for place, one in enumerate(reference) if one.ndim == 2 and one.shape[1] > 1 and one.shape[0]]
    same = [reference[i].argmax(axis=1) == changed[i].argmax(axis=1) for i in scores if reference[i].dtype.kind == "f"]
    error = relative_error(zip(reference, changed, strict=True))
    return _Effect(error, float(np.concatenate(same).mean()) if same else None)
