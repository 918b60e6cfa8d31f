"""One batch through a stage: decode, run, encode. Blocking; knows no queues, streams or clocks but its own timing.

Whatever fails becomes a Fault in the result: a stage never raises into the thread that runs it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.codec import decode, encode_named
from nodes.errors import BadInput, MalformedFrame, NodesError, RunError
from nodes.framing import Buffer, Fault, Frame, TensorMeta
from nodes.held import HELD
from nodes.sequences import Sequences
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


def work(
    spec: StageSpec,
    program: Runs,
    frames: Sequence[Frame],
    unbounded: Collection[str] = (),
    sequences: Sequences | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Worked]:
    """The results of one run over `frames`, in their order; shared seconds are counted to each of them.

    Outputs are checked (soundness.py); those named in `unbounded` may overflow. `sequences`: what a stage with state
    keeps between steps; it is changed only once a run has succeeded. `sleep` passes the time of emulated slowness.
    """
    started_s = time.perf_counter()
    try:
        feeds = [_feeds(spec, program, frame, sequences) for frame in frames]
        decoded_s = time.perf_counter()
        outputs = _run(program, feeds)
        for fed, made in zip(feeds, outputs, strict=True):
            check_outputs(program.outputs, made, fed, unbounded)
        computed_s = time.perf_counter()
        tensors = [_encode(spec, program, made, frame) for made, frame in zip(outputs, frames, strict=True)]
        if sequences is not None:
            _keep(sequences, frames, feeds, outputs)
    except Exception as error:  # whatever an engine throws must end the request, not the worker
        if len(frames) > 1:  # each its own result, where one of a batch spoiled it
            return [work(spec, program, [frame], unbounded, sequences, sleep)[0] for frame in frames]
        return [Worked(fault=fault_of(error))]
    encoded_s = time.perf_counter()
    decode_s, compute_s, encode_s = decoded_s - started_s, computed_s - decoded_s, encoded_s - computed_s
    if spec.slowdown > 1:
        sleep((encoded_s - started_s) * (spec.slowdown - 1))
        decode_s, compute_s, encode_s = (each_s * spec.slowdown for each_s in (decode_s, compute_s, encode_s))
    return [Worked(sends, returns, None, decode_s, compute_s, encode_s) for sends, returns in tensors]


def fault_of(error: BaseException) -> Fault:
    """An error as it travels: class name, one line, and whether the caller's tensors were to blame."""
    kind = type(error).__name__ if isinstance(error, NodesError) else RunError.__name__
    text = str(error) if isinstance(error, NodesError) else f"{type(error).__name__}: {error}"
    return Fault(kind, " ".join(text.split()), isinstance(error, BadInput | MalformedFrame))


def _feeds(spec: StageSpec, program: Runs, frame: Frame, sequences: Sequences | None) -> dict[str, Array]:
    held = _by_name(frame)
    feeds = {tensor.name: decode(*held[tensor.name]) for tensor in program.inputs if tensor.name in held}
    if sequences is not None:
        header = frame.header
        feeds |= sequences.recall(header.sequence, header.position, feeds, rows_of(frame))
    if len(feeds) < len(program.inputs):
        missing = next(tensor.name for tensor in program.inputs if tensor.name not in held)
        raise BadInput(f"stage {spec.stage!r} needs tensor {missing!r}; the frame holds {', '.join(held) or 'none'}")
    return feeds


def _keep(
    sequences: Sequences,
    frames: Sequence[Frame],
    feeds: Sequence[Mapping[str, Array]],
    outputs: Sequence[Mapping[str, Array]],
) -> None:
    for frame, fed, made in zip(frames, feeds, outputs, strict=True):
        header = frame.header
        if header.last:
            sequences.end(header.sequence)
        else:
            sequences.keep(header.sequence, header.position, fed, made, time.monotonic())


def rows_of(frame: Frame) -> int:
    """The rows of a request that may share a run."""
    shape = frame.header.tensors[0].shape if frame.header.tensors else ()
    return max(1, shape[0]) if shape else 1


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
    sends, returns = spec.leaving if spec.further else spec.sends, spec.returns
    if spec.carries or frame.header.snapshot:
        came = {meta.name for meta in frame.header.tensors}
        sends += tuple(name for name in spec.carries if name in came and name not in sends)
        returns += tuple(name for name in spec.state if frame.header.snapshot and name not in returns)
    codecs, wanted = spec.codecs, {*sends, *returns}
    dtypes = {tensor.name: tensor.dtype for tensor in program.outputs if tensor.dtype in HELD}
    done = {
        name: encode_named(name, array, codecs.get(name, "raw"), dtypes.get(name))
        for name, array in made.items()
        if name in wanted
    }
    if len(done) < len(wanted):
        done = _by_name(frame) | done
    try:
        return tuple([done[name] for name in sends]), tuple([done[name] for name in returns])
    except KeyError as missing:
        raise RunError(f"stage {spec.stage!r} was to pass on {missing}, which it neither makes nor received") from None
