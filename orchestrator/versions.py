"""The versions of a deployment, numbered as they came, each with what became of it and why. A record; no rules.

A version is a pipeline as a whole: its models, its plan or the terms for finding one, its policies. `spec` is the
digest over all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.events import NodeRoom
from orchestrator.links_seen import LinkEstimate

MOST = 50  # versions that are remembered
MOST_STEPS = 20  # of each, the newest

WANTED, TRIAL, RUNNING = "wanted", "on trial", "running"
REPLACED, REFUSED, ROLLED_BACK, FAILED = "replaced", "refused", "rolled back", "failed"


@dataclass(frozen=True, slots=True)
class VersionStep:
    """What became of a version at that time, and why."""

    at_s: float
    state: str
    why: str


@dataclass(slots=True)
class VersionRecord:
    """One version, with the links and room that it was given."""

    number: int
    spec: str
    links: list[LinkEstimate] = field(default_factory=list)
    room: list[NodeRoom] = field(default_factory=list)
    steps: list[VersionStep] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Where it stands."""
        return self.steps[-1].state if self.steps else WANTED

    @property
    def has_run(self) -> bool:
        """Whether it was once the version in force, as far as is remembered."""
        return any(step.state in (RUNNING, REPLACED) for step in self.steps)

    def note(self, state: str, why: str, now_s: float) -> None:
        """Something became of it."""
        self.steps.append(VersionStep(now_s, state, why))
        del self.steps[:-MOST_STEPS]


def add_version(
    versions: list[VersionRecord], spec: str, links: Sequence[LinkEstimate], room: Sequence[NodeRoom]
) -> VersionRecord:
    """The next version; beyond MOST the oldest is forgotten."""
    number = versions[-1].number + 1 if versions else 1
    versions.append(VersionRecord(number, spec, list(links), list(room)))
    del versions[:-MOST]
    return versions[-1]


def version_of(versions: Sequence[VersionRecord], number: int) -> VersionRecord | None:
    """The version of that number, while it is remembered."""
    return next((version for version in versions if version.number == number), None)


def before(versions: Sequence[VersionRecord], number: int) -> VersionRecord | None:
    """The newest version before that one which was once in force and not rolled back since."""
    good = (one for one in versions if one.number < number and one.has_run and one.state != ROLLED_BACK)
    return max(good, key=lambda one: one.number, default=None)
