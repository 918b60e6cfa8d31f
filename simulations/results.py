"""What simulations come to: one outcome a replication, and all of a scenario's. Plain values; nothing is run here.

`figures` are flat, units in their names (`_s`, `_per_s`, `_share`, `_j`, `_usd`, `_bytes`): those of all requests plain
("latency_p99_s"), those of a group, a machine, a wire or a cell behind its name and a dot ("cameras.latency_p99_s",
"mec.utilisation", "cell.up_load").
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulations.scenario import Scenario

KEPT = 200


@dataclass(frozen=True, slots=True)
class Note:
    """One decision of a control core: when, of which deployment, what, about which epoch, and why."""

    at_s: float
    deployment: str
    what: str  # "open", "prepare", "switch", "keep" or "fail"
    epoch: int | None
    why: str


class Notes:
    """Decisions as they come: those that did something, and the newest KEPT of those that left all as it was."""

    def __init__(self) -> None:
        self._done: list[Note] = []
        self._kept: deque[Note] = deque(maxlen=KEPT)

    def add(self, note: Note) -> None:
        """One more."""
        (self._kept if note.what == "keep" else self._done).append(note)

    def told(self) -> tuple[Note, ...]:
        """In the order of time."""
        return tuple(sorted([*self._done, *self._kept], key=lambda note: note.at_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One replication. `series` are sampled at `series["at_s"]`, named as figures are.

    `latency_cdf`: by group and for "all", seconds ascending and the share of answers that do not exceed them.
    `requests` and `events` were simulated, `seconds` of the processor spent; the latter hangs on the machine.
    `overloads`: what was foreseen to be asked for more than it can do (ρ ≥ 1), a line each.
    """

    replication: int
    figures: Mapping[str, float]
    notes: tuple[Note, ...] = ()
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    latency_cdf: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)
    requests: int = 0
    events: int = 0
    seconds: float = 0.0
    overloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All replications of a scenario, in their order."""

    scenario: Scenario
    outcomes: tuple[Outcome, ...]

    def values(self, figure: str) -> tuple[float, ...]:
        """A figure in each replication. KeyError if there is none of that name."""
        return tuple(outcome.figures[figure] for outcome in self.outcomes)
