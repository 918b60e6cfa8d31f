"""What is measured of one cell, in the process that has nothing else to do.

Two warm-up runs, then runs over the samples in turn for the seconds given: the median and the 99th percentile of the
wall clock, and the processor seconds and RAPL joules of all of them over their number. At least FEWEST runs, but for
an engine so slow that they would take three times the seconds given: then SLOWEST. Cells can't be interleaved over
processes; what the machine did meanwhile is told by the reference cell, which is measured again and again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter, process_time

import numpy as np

from nodes.backend import Array, Session
from nodes.selecting.cells import BatchRow
from nodes.selecting.energy import read_uj, spent_j
from nodes.timing import FEWEST, MOST, WARM_UPS

SLOWEST = 2  # runs of an engine for which more would take too long

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Seconds of each run, and what a run took of the processor."""

    taken_s: tuple[float, ...]
    cpu_s: float
    rapl_j: float | None

    @property
    def p50_s(self) -> float:
        """The median."""
        return float(np.percentile(self.taken_s, 50))

    @property
    def p99_s(self) -> float:
        """The 99th percentile; of fewer than a hundred runs nearly the slowest."""
        return float(np.percentile(self.taken_s, 99))


def runs_of(session: Session, samples: Sequence[Feeds], *, seconds: float) -> Runs:
    """Time runs over the samples in turn. RunError or BadInput as the session raises."""
    begun_s = perf_counter()
    session.run(samples[0])
    once_s = perf_counter() - begun_s
    slow = once_s * (FEWEST + WARM_UPS) > 3 * seconds
    for _ in range(0 if slow else WARM_UPS - 1):
        session.run(samples[0])
    taken: list[float] = []
    least, given = SLOWEST if slow else FEWEST, cycle(samples)
    joules, cpu_s, begun_s = read_uj(), process_time(), perf_counter()
    while len(taken) < least or (perf_counter() - begun_s < seconds and len(taken) < MOST):
        feeds = next(given)
        start_s = perf_counter()
        session.run(feeds)
        taken.append(perf_counter() - start_s)
    spent = spent_j(joules, read_uj())
    return Runs(
        taken_s=tuple(taken),
        cpu_s=(process_time() - cpu_s) / len(taken),
        rapl_j=None if spent is None else spent / len(taken),
    )


def batch_row(session: Session, samples: Sequence[Feeds], batch: int, *, seconds: float) -> BatchRow:
    """Time a session compiled for `batch` requests at once, on as many samples stacked."""
    p50_s = runs_of(session, [stacked(samples, batch)], seconds=seconds).p50_s
    return BatchRow(batch=batch, p50_s=p50_s, answers_per_s=batch / p50_s)


def stacked(samples: Sequence[Feeds], batch: int) -> dict[str, Array]:
    """`batch` samples, again from the first if they are fewer, as one: end to end along the first dimension."""
    chosen = [samples[i % len(samples)] for i in range(batch)]
    return {name: np.concatenate([one[name] for one in chosen]) for name in samples[0]}
