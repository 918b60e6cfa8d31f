"""ONNX to MNN by the converter in MNN's wheel, kept in the cache; a file that answers wrong is refused.

The converter says "Converted Success!" of models that it got wrong, exits with 0 when it failed, prints, and crashes
on some. So it runs in a process of its own, and what it made must answer seeded samples as ONNX Runtime does (as
onnx's reference implementation, slowly, where that is not installed). The verdict is kept with the file: a later
start, on this machine or another, needs neither the converter nor `onnx`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from nodes.backend import Array, Option
from nodes.backends import mnn_source, mnn_verdict
from nodes.backends.mnn_source import NAME, Port
from nodes.backends.mnn_trial import CONVERTED, ports_of
from nodes.cache import CacheKey, engine_cache, model_digest
from nodes.errors import CompileError, UnsupportedOperator

# What the converter is told per form of the weights. Computing stays in float32.
WEIGHTS: Mapping[str, Sequence[str]] = {
    "float32": (),
    "float16": ("--fp16",),
    "int8": ("--weightQuantBits", "8", "--weightQuantAsymmetric"),
}
_EXACT = ("--useGeluApproximation", "0")  # the cheap form of GELU, its default, is off by 1e-4
_FORM = 1  # of an entry in the cache: with another number, older entries are not looked at
_HALF_AN_HOUR_S = 1800
# Of the converter's list, what is no operator of ONNX's own domain.
_FOREIGN = frozenset(
    {
        "ATan", "ATen", "Erfc", "Erfinv", "Expm1", "GridSampler", "Hardtexture", "LayerNorm", "Log1p", "raster_grad",
        "texture", "texture_mipmap",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversion:
    """A verified MNN file, what goes in and out of it, and the largest error seen beside what was allowed."""

    model: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    error: float
    bound: float
    reference: str


@contextmanager
def conversion(model: bytes | Path, *, weights: str, version: str) -> Iterator[Conversion]:
    """The model's verified MNN file, from the cache where it was made before; it stays until the block ends.

    UnsupportedOperator by name before converting; CompileError where MNN lacks a dtype, the converter fails or
    crashes, the file cannot be run, or answers wrong: then with the error that was measured.
    """
    if isinstance(model, Path) and not model.is_file():
        raise CompileError(f"{NAME}: no file {model}")
    options: Mapping[str, Option] = {"weights": weights, "form": _FORM}
    key = CacheKey(model=model_digest(model), engine=f"{NAME} {version}", target="any", options=options)
    with engine_cache().entry(key, lambda folder: _make(model, weights, folder)) as folder:
        facts = json.loads((folder / "conversion.json").read_text())
        inputs, outputs = (ports_of(facts.pop(name)) for name in ("inputs", "outputs"))
        yield Conversion(model=folder / "model.mnn", inputs=inputs, outputs=outputs, **facts)


@cache
def operators() -> frozenset[str]:
    """Types of ONNX's own domain that the converter knows, as it lists them itself. CompileError if it does not."""
    code, told = _in_a_process("operators")
    _, found, listed = told.partition("Dump ONNX support Ops")
    if code or not found:
        raise CompileError(f"{NAME}'s converter does not list its operators: {_reason(code, told)}")
    return frozenset(listed.partition("Total:")[0].split()) - _FOREIGN


def _make(model: bytes | Path, weights: str, folder: Path) -> None:
    """Fill an entry of the cache. The float32 form is judged too: coarse weights would hide a wrong conversion."""
    source = mnn_source.read(model, operators())
    with tempfile.TemporaryDirectory(prefix="isthmus-mnn-") as place:
        work = Path(place)
        mnn_source.write(source.proto, source.directory, work / "source.onnx")
        mnn_source.write(source.reference, source.directory, work / "reference.onnx")
        trials = mnn_verdict.trials(work / "reference.onnx", source.inputs, bounded=source.bounded)
        for number, trial in enumerate(trials):
            np.savez(work / f"samples-{number}.npz", *(trial.feeds[port.name] for port in source.inputs))
        outputs = _ranked(source.outputs, trials[0].answers)
        facts = {"inputs": [asdict(port) for port in source.inputs], "outputs": [asdict(port) for port in outputs]}
        (work / "conversion.json").write_text(json.dumps(facts))
        for form in dict.fromkeys(("float32", weights)):
            _convert(work, form)
            verdict = mnn_verdict.judge(trials, [_answers(work, n, outputs) for n in range(len(trials))], form)
        shutil.copyfile(work / "model.mnn", folder / "model.mnn")
    facts["outputs"] = facts["outputs"][: source.answers]
    (folder / "conversion.json").write_text(json.dumps(facts | asdict(verdict)))


def _ranked(outputs: Sequence[Port], answers: Mapping[str, Array]) -> tuple[Port, ...]:
    """Outputs whose rank the model doesn't state get it from an answer, every dimension free."""
    return tuple(
        replace(port, shape=tuple(f"{port.name} {axis}" for axis in range(answers[port.name].ndim)))
        if port.shape is None
        else port
        for port in outputs
    )


def _convert(work: Path, form: str) -> None:
    """Make model.mnn of source.onnx, and its answers to the samples. One line of error, whatever happens to it."""
    (work / "model.mnn").unlink(missing_ok=True)
    code, told = _in_a_process("convert", str(work.absolute()), *_EXACT, *WEIGHTS[form])
    if not code:
        return
    _, lacks, kind = told.partition("These Op Not Support: ONNX::")
    if lacks:
        op_type = kind.split()[0]
        raise UnsupportedOperator(f"{NAME} does not support operator {op_type}", op_type=op_type, backend=NAME)
    what = "MNN cannot run what its converter made" if CONVERTED in told else "MNN's converter failed"
    raise CompileError(f"{NAME}: {what}: {_reason(code, told)}")


def _answers(work: Path, number: int, outputs: Sequence[Port]) -> dict[str, Array]:
    with np.load(work / f"answers-{number}.npz") as arrays:
        return {port.name: arrays[f"arr_{place}"] for place, port in enumerate(outputs)}


def _in_a_process(*arguments: str) -> tuple[int, str]:
    """Exit code (negative: the signal it died of) and all that was printed."""
    command = [sys.executable, "-P", "-m", "nodes.backends.mnn_trial", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)}
    try:
        with tempfile.TemporaryDirectory(prefix="isthmus-mnn-") as scratch:  # a converter that crashes leaves a file
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                check=False, timeout=_HALF_AN_HOUR_S, cwd=scratch,
            )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{NAME}'s converter: {error}") from None
    return done.returncode, done.stdout.decode(errors="replace")


def _reason(code: int, told: str) -> str:
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    before, _, after = told.partition(CONVERTED)
    lines = [line.strip() for line in (after or before).splitlines() if line.strip()]
    spoken = lines if after else [line for line in lines if line.startswith("[ERROR]")] or lines[-1:]
    return "; ".join(line.removeprefix(f"{NAME}: ") for line in spoken)[:500] or f"exit {code}"
