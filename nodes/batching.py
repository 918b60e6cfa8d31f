"""Which waiting requests run next, together or alone. Pure: time comes in, decisions go out.

The rule is Triton's dynamic batching: the largest preferred size that can be formed runs at once; else the largest
batch, as soon as it is full or the oldest request has waited `max_delay_s`. Requests of different groups (shapes
that can't be stacked) never share a batch; order is first come, first served.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import takewhile

Ticket = int  # chosen by the caller, unique among those waiting


@dataclass(frozen=True, slots=True)
class Run:
    """Run these together, now."""

    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to run before `until_s`, unless more arrives; None: not before more arrives."""

    until_s: float | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not run this request; the reason is "queue full" or "deadline"."""

    ticket: Ticket
    reason: str


Decision = Run | Wait | Refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """How requests share a run. The default runs each alone, at once."""

    max_batch: int = 1
    preferred: tuple[int, ...] = ()
    max_delay_s: float = 0.0
    queue_limit: int = 1024

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.max_delay_s < 0 or self.queue_limit < 1:
            raise ValueError(f"batch and queue sizes start at 1, delays at 0: {self}")
        if any(not 1 <= size <= self.max_batch for size in self.preferred):
            raise ValueError(f"preferred sizes {self.preferred} lie outside 1…{self.max_batch}")


@dataclass(frozen=True, slots=True)
class _Waiting:
    ticket: Ticket
    arrived_s: float
    deadline_s: float | None
    group: Hashable


@dataclass(slots=True)
class Batcher:
    """The queue before one stage."""

    rules: BatchRules = field(default_factory=BatchRules)
    _queue: deque[_Waiting] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._queue)

    def add(
        self, ticket: Ticket, now_s: float, *, deadline_s: float | None = None, group: Hashable = None
    ) -> Refuse | None:
        """Queue a request, or refuse it when the queue is full."""
        if len(self._queue) >= self.rules.queue_limit:
            return Refuse(ticket, "queue full")
        self._queue.append(_Waiting(ticket, now_s, deadline_s, group))
        return None

    def remove(self, ticket: Ticket) -> bool:
        """Take a request out, as when it was cancelled; False if it wasn't waiting."""
        for waiting in self._queue:
            if waiting.ticket == ticket:
                self._queue.remove(waiting)
                return True
        return False

    def decide(self, now_s: float) -> Decision:
        """What to do now; ask again until it says Wait."""
        if not self._queue:
            return Wait(None)
        for waiting in self._queue:
            if waiting.deadline_s is not None and waiting.deadline_s <= now_s:
                self._queue.remove(waiting)
                return Refuse(waiting.ticket, "deadline")
        if self.rules.max_batch == 1:
            return Run((self._queue.popleft().ticket,))
        oldest = self._queue[0]
        together = len(list(takewhile(lambda waiting: waiting.group == oldest.group, self._queue)))
        size = self._size(together, now_s - oldest.arrived_s, closed=together < len(self._queue))
        if size:
            return Run(tuple(self._queue.popleft().ticket for _ in range(size)))
        return Wait(oldest.arrived_s + self.rules.max_delay_s)

    def _size(self, together: int, waited_s: float, *, closed: bool) -> int:
        """How many of `together` run now; 0 to wait. `closed`: another group stands behind, so none will join."""
        if fitting := [size for size in self.rules.preferred if size <= together]:
            return max(fitting)
        if together >= self.rules.max_batch or closed or waited_s >= self.rules.max_delay_s:
            return min(together, self.rules.max_batch)
        return 0
