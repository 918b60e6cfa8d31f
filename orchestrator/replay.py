"""A recorded incident, decided again: what the core would instruct today beside what it instructed then.

Two cores go over the record. One folds what was recorded, one decides anew; where they differ, the second is put
back on the recorded track, so that one divergence does not make everything after it look like another. It writes
nothing and carries nothing out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nodes.code_version import code_version
from orchestrator.control import Control
from orchestrator.errors import JournalError, OrchestratorError
from orchestrator.instructions import Instruction
from orchestrator.plain import to_plain
from orchestrator.recording import Recording
from orchestrator.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A record and what would be decided now. `error`: this version refuses the event altogether."""

    record: Record
    decided: tuple[Instruction, ...]
    error: str | None = None

    @property
    def diverges(self) -> bool:
        """Whether it would be decided otherwise now."""
        return self.error is not None or _plain(self.decided) != _plain(self.record.instructions)

    @property
    def is_failure(self) -> bool:
        """Whether the very code that wrote the record decides otherwise: then it is not deterministic."""
        return self.diverges and self.record.code_version == code_version()


def replay(recording: Recording, control: Control | None = None) -> Iterator[Step]:
    """Every record decided again by a core with the parameters of `control`, from the last snapshot on.

    JournalError where what was recorded can't be folded by this version: beyond that nothing can be said.
    """
    told = control or Control()
    if recording.snapshot is not None:
        told = told.restored(recording.snapshot.knowledge)
    deciding = told.restored(told.snapshot())
    for record in recording.records:
        step = _decided(deciding, record)
        yield step
        _fold(told, record, recording)
        if step.diverges:
            deciding = told.restored(told.snapshot())


def _decided(control: Control, record: Record) -> Step:
    try:
        return Step(record=record, decided=control.handle(record.event, record.now_s))
    except OrchestratorError as error:
        return Step(record=record, decided=(), error=str(error))


def _fold(control: Control, record: Record, recording: Recording) -> None:
    try:
        control.fold(record.event, record.instructions, record.now_s)
    except (OrchestratorError, AssertionError, LookupError, AttributeError) as error:
        raise JournalError(
            f"journal {recording.path}: record {record.seq}, written by {record.code_version}, cannot be followed by "
            f"{code_version()}: {error}; replay it with that version"
        ) from error


def _plain(instructions: tuple[Instruction, ...]) -> list[object]:
    return [to_plain(each) for each in instructions]
