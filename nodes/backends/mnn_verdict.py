"""Whether a converted model answers as the original does: seeded samples, a reference's answers, a bound.

It finds conversions that are wrong, not weights that are too coarse for a task: that takes the task's own data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.backends.mnn_source import NAME, Port
from nodes.errors import CompileError, EngineMissing, NodesError, RunError
from nodes.length_names import extents_of
from nodes.timing import sample_feeds

# Largest difference allowed, in parts of an output's largest magnitude; of integers, the share that differs. Seen
# where the conversion was right: 4e-7 to 3e-5 in float32; in float16 to 2e-2, in int8 to .14.
BOUNDS = {"float32": 1e-3, "float16": 5e-2, "int8": 0.25}
# Noise drives some models where rounding decides: an OCR detector's two orders of summing, both right, are 8e-3 apart.
INFINITE = float("inf")
_SPREADS, _MOST = 4.0, 5e-2

Answers = Mapping[str, Array]
Reference = Callable[[Mapping[str, Array]], Answers]


@dataclass(frozen=True, slots=True)
class Trial:
    """Samples, the reference's answers, and how far a second right way of computing them is from those.

    `bounded` outputs lie between 0 and 1, or -1 and 1: what is tiny among them is no signal but rounding.
    """

    feeds: Mapping[str, Array]
    answers: Answers
    spread: float
    reference: str
    bounded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The error of the sample that came closest to its bound, and that bound."""

    error: float
    bound: float
    reference: str


def trials(model: Path, inputs: Sequence[Port], *, bounded: frozenset[str] = frozenset()) -> tuple[Trial, ...]:
    """Two sample feeds and what they should give; the two differ in free dimensions as far as the model lets them.

    CompileError where the reference cannot compile the model or refuses every sample.
    """
    name, run, rerun = _reference(model)
    found: list[Trial] = []
    refused = ""
    sizes = list(_sizes(inputs))
    for number, size in enumerate(sizes if len(sizes) > 1 else sizes * 2):
        feeds = _feeds(inputs, size, signed=bool(found), seed=number)
        try:
            answers = run(feeds)
            found.append(Trial(feeds, answers, difference(rerun(feeds), answers, bounded), name, bounded))
        except RunError as error:
            refused = str(error)
        if len(found) == 2:
            break
    if not found:
        raise CompileError(f"{NAME}: no samples were found to verify the conversion with; fix the shapes: {refused}")
    return tuple(found)


def judge(trials: Sequence[Trial], answers: Sequence[Answers], form: str) -> Verdict:
    """The verdict on what the file with this form of weights answered; CompileError with the error if it is wrong."""
    verdicts = []
    for trial, have in zip(trials, answers, strict=True):
        bound = max(BOUNDS[form], min(_SPREADS * trial.spread, _MOST))
        verdicts.append(Verdict(difference(have, trial.answers, trial.bounded), bound, trial.reference))
    worst = max(verdicts, key=lambda verdict: verdict.error / verdict.bound)
    if not worst.error <= worst.bound:
        off = f"{worst.error:.2g} of the largest magnitude" if worst.error < INFINITE else "a shape or an infinity"
        way_out = "another engine" if form == "float32" else "weights float32"
        raise CompileError(
            f"{NAME}'s conversion to {form} weights answers wrong: {off} off {worst.reference}'s answers to random "
            f"samples, where {worst.bound:.2g} is allowed; use {way_out}"
        )
    return worst


def difference(have: Answers, want: Answers, bounded: frozenset[str] = frozenset()) -> float:
    """The largest over the outputs; infinite for another name, shape, or place of what is not finite."""
    if have.keys() != want.keys():
        return INFINITE
    return max(_difference(np.asarray(have[name]), np.asarray(want[name]), name in bounded) for name in want)


def _difference(have: Array, want: Array, bounded: bool) -> float:
    if have.shape != want.shape:
        return INFINITE
    if not want.size:
        return 0.0
    if want.dtype.kind != "f":
        return float(np.mean(have != want))
    one, other = have.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True) or not np.isfinite(one[finite]).all():
        return INFINITE
    scale = 1.0 if bounded else float(np.abs(other[finite]).max(initial=0.0)) or 1.0
    return float(np.abs(one[finite] - other[finite]).max(initial=0.0)) / scale


def _reference(model: Path) -> tuple[str, Reference, Reference]:
    """Its name, and two ways to run it that sum in different orders where it has them."""
    from nodes.backends import onnxruntime

    try:
        fused, plain = (onnxruntime.load(fuse=fuse) for fuse in (True, False))
    except EngineMissing:
        run = _evaluator(model)
        return "onnx.reference", run, run
    try:
        return "ONNX Runtime", fused.compile(model).run, plain.compile(model).run
    except NodesError as error:
        raise CompileError(f"{NAME}: the conversion cannot be verified: {error}") from None


def _evaluator(model: Path) -> Reference:
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(str(model))
    except Exception as error:
        raise CompileError(f"{NAME}: the conversion cannot be verified: {' '.join(str(error).split())}") from None

    def run(feeds: Mapping[str, Array]) -> Answers:
        try:
            answers = evaluator.run(None, dict(feeds))
        except Exception as error:
            raise RunError(f"onnx.reference: {' '.join(str(error).split())}") from None
        return dict(zip(evaluator.output_names, map(np.asarray, answers), strict=True))

    return run


def _sizes(inputs: Sequence[Port]) -> Iterator[Mapping[str, int]]:
    """Sizes of the free dimensions to try: all different, then all alike, as pictures want them.

    Of a stage with several lengths its shortest and its longest: it runs at no others.
    """
    free = list(dict.fromkeys(dim for port in inputs for dim in port.shape or () if isinstance(dim, str)))
    if not free:
        yield {}
        return
    told = {name: extents for name in free if (extents := extents_of(name))}
    if told:
        for place in (0, -1):
            yield {name: told[name][place] if name in told else 3 + number for number, name in enumerate(free)}
        return
    yield {name: 3 + number for number, name in enumerate(free)}
    for size in (12, 32, 64, 1):
        yield dict.fromkeys(free, size)


def _feeds(inputs: Sequence[Port], sizes: Mapping[str, int], *, signed: bool, seed: int) -> dict[str, Array]:
    """Floats from 0 to 1, or from -1 to 1; integers 0 and 1."""
    specs = [
        TensorSpec(
            port.name, port.dtype, tuple(sizes.get(dim, 1) if isinstance(dim, str) else dim for dim in port.shape or ())
        )
        for port in inputs
    ]
    feeds = sample_feeds(specs, seed)
    return {
        name: (2 * array - 1).astype(array.dtype) if signed and array.dtype.kind == "f" else array
        for name, array in feeds.items()
    }
