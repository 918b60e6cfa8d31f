"""The control core with its journal: nothing is done that was not recorded, and nothing is decided that cannot be.

While the journal takes no more (a full disk, above all), requests go on being answered by what runs, and the
core is left alone: news waits here, in its order, wishes are refused, ticks are let go. The instruction that
could not be recorded is not carried out. Every second it is tried again; then all that waited is handled.

Pure but for the journal's writes: the time comes in as an argument. It carries nothing out.
"""

from collections.abc import Callable

from orchestrator.control import Control
from orchestrator.errors import JournalError, OrchestratorError
from orchestrator.events import DeleteRequested, DeployRequested, Event, LinkObserved, Tick
from orchestrator.instructions import Instruction
from orchestrator.journal import Journal

SNAPSHOT_EVERY, SNAPSHOT_EVERY_BYTES = 500, 16 << 20  # records, or what they take, if that is reached sooner
SHORT_SNAPSHOT_EVERY = 20  # while the disk is full: the room of what a snapshot removes is used again
RETRY_S = 1.0
WISHES = (DeployRequested, DeleteRequested)


class Recorder:
    """Hands events to `control` and records them in `journal`. `on_late` hears of news that came too late to matter."""

    def __init__(
        self,
        control: Control,
        journal: Journal,
        *,
        on_late: Callable[[Event, OrchestratorError], None] = lambda event, error: None,
    ) -> None:
        self._control = control
        self._journal = journal
        self._on_late = on_late
        self._unwritten: tuple[Event, tuple[Instruction, ...], float] | None = None
        self._waiting: list[Event] = []
        self._owed: tuple[Instruction, ...] = ()
        self._tried_s = 0.0
        self._since_s = 0.0
        self._since_snapshot = 0
        self.fault: str | None = None

    def take(self, event: Event, now_s: float) -> tuple[Instruction, ...]:
        """What may be carried out now, in this order: of this event, and of those before it that had to wait.

        JournalError for a wish while the journal takes no more; UnknownDeployment and IllegalTransition as from
        `Control.handle`.
        """
        if self._unwritten is not None and now_s - self._tried_s >= RETRY_S:
            self._catch_up(now_s)
        if self._unwritten is None:
            self._handle(event, now_s)  # if that raises, what is owed is given with the next event
        elif isinstance(event, WISHES):
            raise JournalError(f"{self.fault}; until then nothing is changed, what runs goes on answering")
        else:
            self._keep(event)
        owed, self._owed = self._owed, ()
        return owed

    def status(self) -> dict[str, object]:
        """Where the journal lies, why it takes no more and since when, and how much news waits."""
        return {
            "path": str(self._journal.path),
            "fault": self.fault,
            "since_s": self._since_s if self.fault else None,
            "waiting": len(self._waiting),
            "short_of_room": self._journal.is_short,
        }

    def _handle(self, event: Event, now_s: float) -> None:
        instructions = self._control.handle(event, now_s)
        if instructions or not isinstance(event, Tick):
            self._record(event, instructions, now_s)

    def _record(self, event: Event, instructions: tuple[Instruction, ...], now_s: float) -> None:
        """The instructions are owed once they are on disk; until then they and all that comes after are held back."""
        try:
            self._journal.append(event, instructions, now_s)
        except JournalError as error:
            self._since_s = self._since_s if self.fault else now_s
            self._unwritten, self._tried_s, self.fault = (event, instructions, now_s), now_s, str(error)
            return
        self._unwritten, self.fault = None, None
        self._owed += instructions
        self._since_snapshot += 1
        every = SHORT_SNAPSHOT_EVERY if self._journal.is_short else SNAPSHOT_EVERY
        if self._since_snapshot >= every or self._journal.unbounded_bytes >= SNAPSHOT_EVERY_BYTES:
            self._snapshot(now_s)

    def _catch_up(self, now_s: float) -> None:
        """Write what could not be written, then handle what waited, for as long as the journal takes it."""
        if self._unwritten is not None:
            self._tried_s = now_s
            self._record(*self._unwritten)
        while self._unwritten is None and self._waiting:
            event = self._waiting.pop(0)
            try:
                self._handle(event, now_s)
            except OrchestratorError as late:
                self._on_late(event, late)

    def _keep(self, event: Event) -> None:
        """Have news wait. Of what is observed again and again only the newest word counts."""
        if isinstance(event, LinkObserved):
            self._waiting = [each for each in self._waiting if not _same_link(each, event)]
        if not isinstance(event, Tick):
            self._waiting.append(event)

    def _snapshot(self, now_s: float) -> None:
        """A snapshot that finds no room is tried again after the next record: what is recorded is whole without."""
        try:
            self._journal.snapshot(self._control, now_s)
        except JournalError:
            return
        self._since_snapshot = 0


def _same_link(one: Event, other: LinkObserved) -> bool:
    return isinstance(one, LinkObserved) and (one.source, one.target) == (other.source, other.target)
