"""One batch through a stage: decode, run, encode. Blocking; knows no queues, streams or clocks but its own timing.

Whatever fails becomes a Fault in the result: a stage never raises into the thread that runs it.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.codec import decode, encode_named
from nodes.errors import BadInput, MalformedFrame, NodesError, RunError
from nodes.framing import Buffer, Fault, Frame, TensorMeta
from nodes.held import HELD
from nodes.soundness import check_outputs
from nodes.stage_spec import StageSpec

Encoded = tuple[TensorMeta, Buffer]


class Runs(Protocol):
    """What a stage needs of a program or session."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


class Worked(NamedTuple):
    """One request's result: tensors for the successor and the router, or a fault; seconds include the slowdown."""

    sends: tuple[Encoded, ...] = ()
    returns: tuple[Encoded, ...] = ()
    fault: Fault | None = None
    decode_s: float = 0.0
    compute_s: float = 0.0
    encode_s: float = 0.0


def work(spec: StageSpec, program: Runs, frames: Sequence[Frame], unbounded: Collection[str] = ()) -> list[Worked]:
    """The results of one run over `frames`, in their order; shared seconds are counted to each of them.

    Outputs are checked (soundness.py); those named in `unbounded` may overflow.
    """
    started_s = time.perf_counter()
    try:
        feeds = [_feeds(spec, program, frame) for frame in frames]
        decoded_s = time.perf_counter()
        outputs = _run(program, feeds)
        for fed, made in zip(feeds, outputs, strict=True):
            check_outputs(program.outputs, made, fed, unbounded)
        computed_s = time.perf_counter()
        tensors = [_encode(spec, program, made, frame) for made, frame in zip(outputs, frames, strict=True)]
    except Exception as error:  # whatever an engine throws must end the request, not the worker
        return _faults(spec, program, frames, error, unbounded)
    encoded_s = time.perf_counter()
    decode_s, compute_s, encode_s = decoded_s - started_s, computed_s - decoded_s, encoded_s - computed_s
    if spec.slowdown > 1:
        time.sleep((encoded_s - started_s) * (spec.slowdown - 1))
        decode_s, compute_s, encode_s = (each_s * spec.slowdown for each_s in (decode_s, compute_s, encode_s))
    return [Worked(sends, returns, None, decode_s, compute_s, encode_s) for sends, returns in tensors]


def fault_of(error: BaseException) -> Fault:
    """An error as it travels: class name, one line, and whether the caller's tensors were to blame."""
    kind = type(error).__name__ if isinstance(error, NodesError) else RunError.__name__
    text = str(error) if isinstance(error, NodesError) else f"{type(error).__name__}: {error}"
    return Fault(kind, " ".join(text.split()), isinstance(error, BadInput | MalformedFrame))


def _faults(
    spec: StageSpec, program: Runs, frames: Sequence[Frame], error: Exception, unbounded: Collection[str]
) -> list[Worked]:
    """Each request's own result where one of a batch spoiled it; a request alone gets the fault."""
    if len(frames) > 1:
        return [work(spec, program, [frame], unbounded)[0] for frame in frames]
    return [Worked(fault=fault_of(error))]


def _feeds(spec: StageSpec, program: Runs, frame: Frame) -> dict[str, Array]:
    held = _by_name(frame)
    feeds = {tensor.name: decode(*held[tensor.name]) for tensor in program.inputs if tensor.name in held}
    if len(feeds) < len(program.inputs):
        missing = next(tensor.name for tensor in program.inputs if tensor.name not in held)
        raise BadInput(f"stage {spec.stage!r} needs tensor {missing!r}; the frame holds {', '.join(held) or 'none'}")
    return feeds


def _by_name(frame: Frame) -> dict[str, Encoded]:
    return {pair[0].name: pair for pair in zip(frame.header.tensors, frame.buffers, strict=True)}


def _run(program: Runs, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """Outputs of each request; several are stacked along their first axis, run once and taken apart."""
    if len(feeds) == 1:
        return [program.run(feeds[0])]
    names = list(feeds[0])
    rows = [len(feed[names[0]]) for feed in feeds]
    made = program.run({name: np.concatenate([feed[name] for feed in feeds]) for name in names})
    ends = np.cumsum(rows)
    for name, array in made.items():
        if array.ndim == 0 or len(array) != ends[-1]:
            raise RunError(f"output {name!r} of shape {list(array.shape)} doesn't grow with the batch of {ends[-1]}")
    return [
        {name: array[end - count : end] for name, array in made.items()} for end, count in zip(ends, rows, strict=True)
    ]


def _encode(
    spec: StageSpec, program: Runs, made: Mapping[str, Array], frame: Frame
) -> tuple[tuple[Encoded, ...], tuple[Encoded, ...]]:
    """Tensors for the successor and for the router; each is encoded once, those passed on not at all."""
    codecs, wanted = spec.codecs, {*spec.sends, *spec.returns}
    dtypes = {tensor.name: tensor.dtype for tensor in program.outputs if tensor.dtype in HELD}
    done = {
        name: encode_named(name, array, codecs.get(name, "raw"), dtypes.get(name))
        for name, array in made.items()
        if name in wanted
    }
    if len(done) < len(wanted):
        done = _by_name(frame) | done
    try:
        return tuple([done[name] for name in spec.sends]), tuple([done[name] for name in spec.returns])
    except KeyError as missing:
        raise RunError(f"stage {spec.stage!r} was to pass on {missing}, which it neither makes nor received") from None
