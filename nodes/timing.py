"""Times sessions and programs on the machine it runs on. A worker uses it: nothing here knows of ONNX or plans.

Machines are noisy: what is compared runs interleaved, and the median stands for the time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from nodes.backend import Array, Session, TensorSpec
from nodes.held import as_held, held_as
from nodes.program import Program

WARM_UPS = 2  # the first runs allocate and page in
FEWEST, MOST = 5, 2_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one run: the median, and the quartiles' distance over the median."""

    median_s: float
    spread: float
    repeats: int


def time_session(
    session: Session, feeds: Mapping[str, Array], *, seconds: float = 0.5, repeats: int | None = None
) -> Timing:
    """Run for about `seconds` (at least 5 times), or exactly `repeats` times. BadInput, RunError as `run` raises."""
    return time_together({"": lambda: session.run(feeds)}, seconds=seconds, repeats=repeats)[""]


def time_together(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 0.5, repeats: int | None = None
) -> dict[str, Timing]:
    """Time several calls in turn, round by round, for about `seconds` each, so that noise meets all alike."""
    for call in calls.values():
        for _ in range(WARM_UPS):
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < (repeats or MOST) and (repeats or rounds < FEWEST or perf_counter() < end):
        for name, call in calls.items():
            start = perf_counter()
            call()
            taken[name].append(perf_counter() - start)
        rounds += 1
    return {name: summary(times) for name, times in taken.items()}


def time_segment(
    folder: Path, feeds: Mapping[str, Array], *, backend: str, precision: str, threads: int, seconds: float = 0.5
) -> Timing:
    """Compile the artifact in `folder`, time it and free it again."""
    program = Program.load(folder, backend=backend, precision=precision, threads=threads)
    try:
        return time_session(program, feeds, seconds=seconds)
    finally:
        program.close()


def summary(times: Sequence[float]) -> Timing:
    """Median and spread of measured seconds."""
    low, median, high = np.percentile(times, (25, 50, 75))
    return Timing(float(median), float((high - low) / median) if median else 0.0, len(times))


def sample_feeds(inputs: Sequence[TensorSpec], seed: int = 0) -> dict[str, Array]:
    """Arrays that fit a session, where real ones are not at hand: uniform floats, integers 0 and 1, free dims 1.

    Times of engines hardly depend on values; a program that begins with a picture function needs a real one.
    """
    random = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for spec in inputs:
        shape = [1 if dim is None else dim for dim in spec.shape]
        dtype = held_as(spec.dtype)
        drawn: Array = random.random(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
        feeds[spec.name] = as_held(drawn.astype(np.bytes_)) if dtype.kind == "O" else np.asarray(drawn).astype(dtype)
    return feeds
