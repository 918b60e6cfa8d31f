"""A cell (an engine in one setting) and what one process measured of it. Values only; nothing is decided.

A request is one set of the model's inputs as it stands; in a batch of 4 there are four of them.
"""

from dataclasses import dataclass

from nodes.backend import Option

RAN, REFUSED, FAILED, CRASHED = "ran", "refused", "failed", "crashed"
OVER_TIME, LEFT_OUT = "over time", "left out"
BUILT = "built"  # compiled, kept and run once; to be measured in a process that finds it compiled
FINAL = (RAN, REFUSED, FAILED, CRASHED)  # states that asking again would not change
PLAIN = "float32"  # the variant that is the model itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """An engine in one setting. `variant` names the form of the model that it runs, `options` are the engine's own."""

    backend: str
    precision: str = "float32"
    threads: int = 1
    variant: str = PLAIN
    options: tuple[tuple[str, Option], ...] = ()

    @property
    def name(self) -> str:
        """Such as "openvino bfloat16 ×2", or "openvino int8 form ×2" of a variant."""
        what = self.precision if self.variant == PLAIN else f"{self.variant} form"
        more = "".join(f" {key}={value}" for key, value in self.options)
        return f"{self.backend} {what}{more} ×{self.threads}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """So many requests in one run: the run's median seconds, and requests a second."""

    batch: int
    p50_s: float
    answers_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """`first_s`: from a process without the engine to the first answer; `cached_first_s`: the same where an earlier
    compile is found, for an engine that keeps it. `runs` is how many p50 and p99 are of.
    """

    first_s: float
    p50_s: float
    p99_s: float
    runs: int
    batches: tuple[BatchRow, ...] = ()
    batch_note: str = ""
    cached_first_s: float | None = None

    @property
    def answers_per_s(self) -> float:
        """Requests a second, back to back, at the best batch that was measured."""
        return max([1 / self.p50_s, *(row.answers_per_s for row in self.batches)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a cell takes to run.

    `memory_bytes`: growth of the process from before the engine was loaded to its peak in the runs. `artifact_bytes`:
    what is compiled and kept, else the model's files. `build_s`: loading and compiling, `cached` if an earlier
    compile was found. `cpu_s` and `rapl_j`: processor seconds, and joules by RAPL's counters, a request. `needs`:
    what the installed distributions ask of the machine.
    """

    memory_bytes: int
    artifact_bytes: int
    build_s: float
    cached: bool
    cpu_s: float
    rapl_j: float | None = None
    install_bytes: int | None = None
    distributions: tuple[str, ...] = ()
    needs: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one process said of a cell. `reason` is one line: why it didn't run, or what to know of how it did.

    `first_s` and `build_s` are those of a cell that was built only.
    """

    state: str
    reason: str = ""
    version: str = ""
    speed: Speed | None = None
    footprint: Footprint | None = None
    limit_s: float = 0.0
    first_s: float = 0.0
    build_s: float = 0.0
