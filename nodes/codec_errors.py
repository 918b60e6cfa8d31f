"""What codecs do to a model's activations: how far each shrinks them, and how far its error moves the outputs.

One activation at a time is encoded and decoded on its way to those that read it, on real (calibration) inputs: with
noise for input every codec looks good. Controller only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnx

from nodes.backend import Array
from nodes.codec import decode, encode_named
from nodes.model_parts import ModelParts
from nodes.normalising.evaluate import Evaluator, Values
from nodes.normalising.functions import type_of, value_info
from nodes.normalising.source import graphs
from partitioner.errors import InvalidModel
from partitioner.profile import CodecFigure, TensorFigure

TIMED, CACHE_BYTES = 7, 8 << 20
DECODED = "isthmus.decoded"  # what stands in for the activation where it is read


def codec_errors(
    model: Path, tensors: Sequence[str], feeds: Sequence[Mapping[str, Array]], codecs: Sequence[str]
) -> dict[str, dict[str, TensorFigure]]:
    """For each activation (or input) and codec: coded bytes per raw byte, and the worst output error over `feeds`.

    The error is the largest absolute difference of any output over that output's largest magnitude, as TensorFigure
    defines it. "raw" is left out. InvalidModel for a tensor that the model hasn't.
    """
    wanted = [codec for codec in codecs if codec != "raw"]
    with ModelParts(model, feeds[0]) as parts:
        runs = [Values(parts.evaluator, parts.completed(given)) for given in feeds]
        known = parts.evaluator.made | set(parts.evaluator.function_of) | {spec.name for spec in parts.inputs}
        if unknown := [name for name in tensors if name not in known]:
            raise InvalidModel(f"{parts.label} has no activation {unknown[0]!r}")
        inner = tuple(dict.fromkeys(name for name in (*tensors, *parts.outputs) if name in parts.evaluator.made))
        for values in runs:
            values.run_core(inner)
        return {tensor: _figures_of(parts, tensor, runs, wanted) for tensor in tensors}


def codec_figures(sample: Array, codecs: Sequence[str]) -> dict[str, CodecFigure]:
    """Encode and decode seconds per raw byte, each codec on `sample`, a real activation of some 100 KB or more."""
    return {codec: _speed(sample, codec) for codec in codecs}


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
    evaluator, name = _rewired(parts.evaluator, tensor)
    found: dict[str, list[TensorFigure]] = {codec: [] for codec in codecs}
    for values in runs:
        array = values.value(tensor)
        reference = [values.value(output) for output in parts.outputs]
        for codec in codecs:
            meta, buffer = encode_named(tensor, array, codec)
            decoded = decode(meta, buffer)
            given = {spec.name: values.value(spec.name) for spec in parts.inputs}
            changed = _outputs(parts, evaluator, {**given, name: decoded, tensor: decoded})
            ratio = (len(buffer) + len(meta.scales)) / max(array.nbytes, 1)
            found[codec].append(TensorFigure(ratio=ratio, error=_error(reference, changed)))
    summed = {}
    for codec, figures in found.items():
        speed = _speed(runs[0].value(tensor), codec)
        summed[codec] = TensorFigure(
            ratio=float(np.mean([figure.ratio for figure in figures])),
            error=max(figure.error for figure in figures),
            encode_s_per_byte=speed.encode_s_per_byte,
            decode_s_per_byte=speed.decode_s_per_byte,
        )
    return summed


def _outputs(parts: ModelParts, evaluator: Evaluator, given: Mapping[str, Array]) -> list[Array]:
    values = Values(evaluator, given)
    made = tuple(name for name in parts.outputs if name in evaluator.made and name not in given)
    if made:
        values.run_core(made)
    return [values.value(name) for name in parts.outputs]


def _rewired(evaluator: Evaluator, tensor: str) -> tuple[Evaluator, str]:
    """The same model with `tensor` read under another name, as an input, and that name.

    What no pure operator makes (an input, a function's output) can be given under its own.
    """
    if evaluator.core is None or tensor not in evaluator.made:
        return evaluator, tensor
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
            if name == tensor:
                node.input[index] = DECODED
    core.graph.input.append(value_info(DECODED, types[tensor]))
    return Evaluator(core, functions, {}, evaluator.label, evaluator.directory), DECODED


def _error(reference: Sequence[Array], changed: Sequence[Array]) -> float:
    """Largest absolute difference of any output over that output's largest magnitude."""
    worst = 0.0
    for before, after in zip(reference, changed, strict=True):
        magnitude = float(np.abs(before.astype(np.float64)).max(initial=0.0))
        difference = float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max(initial=0.0))
        worst = max(worst, difference / magnitude if magnitude else difference)
    return worst
