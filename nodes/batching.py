"""Which waiting requests run next, together or alone. Pure: time comes in, decisions go out.

The rule is Triton's dynamic batching: the largest preferred size that can be formed runs at once; else the largest
batch, as soon as it is full or its oldest request has waited `max_delay_s`. Requests of different groups (shapes
that can't be stacked) never share a batch; order is first come, first served within a priority, the least first.

Nobody changes a decision or what waits. They aren't `frozen` only because that doubles what making one costs, and a
simulation makes some for each of millions of requests.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf

Ticket = int  # chosen by the caller, unique among those waiting


@dataclass(slots=True, unsafe_hash=True)
class Run:
    """Run these together, now."""

    tickets: tuple[Ticket, ...]


@dataclass(slots=True, unsafe_hash=True)
class Wait:
    """Nothing to run before `until_s`, unless more arrives; None: not before more arrives."""

    until_s: float | None


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True)
class _Waiting:
    ticket: Ticket
    arrived_s: float
    deadline_s: float | None
    group: Hashable
    priority: int


@dataclass(slots=True)
class Batcher:
    """The queue before one stage."""

    rules: BatchRules = field(default_factory=BatchRules)
    _queue: deque[_Waiting] = field(default_factory=deque)
    _soonest_s: float = inf  # no deadline in the queue is before it

    def __len__(self) -> int:
        return len(self._queue)

    def add(
        self,
        ticket: Ticket,
        now_s: float,
        *,
        deadline_s: float | None = None,
        group: Hashable = None,
        priority: int = 0,
    ) -> Refuse | None:
        """Queue a request, or refuse it when the queue is full."""
        queue = self._queue
        if len(queue) >= self.rules.queue_limit:
            return Refuse(ticket, "queue full")
        if deadline_s is not None and deadline_s < self._soonest_s:
            self._soonest_s = deadline_s
        waiting = _Waiting(ticket, now_s, deadline_s, group, priority)
        if not queue or queue[-1].priority <= priority:
            queue.append(waiting)
        else:
            queue.insert(next(at for at, other in enumerate(queue) if other.priority > priority), waiting)
        return None

    def remove(self, ticket: Ticket) -> bool:
        """Take a request out, as when it was cancelled; False if it wasn't waiting."""
        for at, waiting in enumerate(self._queue):
            if waiting.ticket == ticket:
                del self._queue[at]
                return True
        return False

    def decide(self, now_s: float) -> Decision:
        """What to do now; ask again until it says Wait."""
        queue = self._queue
        if not queue:
            return Wait(None)
        if self._soonest_s <= now_s and (overdue := self._overdue(now_s)) is not None:
            return overdue
        if self.rules.max_batch == 1:
            return Run((queue.popleft().ticket,))
        first = queue[0]
        together = [waiting.arrived_s for waiting in takewhile(lambda waiting: waiting.group == first.group, queue)]
        oldest_s = min(together)
        size = self._size(len(together), now_s - oldest_s, closed=len(together) < len(queue))
        if size:
            return Run(tuple(queue.popleft().ticket for _ in range(size)))
        return Wait(oldest_s + self.rules.max_delay_s)

    def _overdue(self, now_s: float) -> Refuse | None:
        """The first whose deadline has come; where none has, when the next one does is known again."""
        for at, waiting in enumerate(self._queue):
            if waiting.deadline_s is not None and waiting.deadline_s <= now_s:
                del self._queue[at]
                return Refuse(waiting.ticket, "deadline")
        self._soonest_s = min((one.deadline_s for one in self._queue if one.deadline_s is not None), default=inf)
        return None

    def _size(self, together: int, waited_s: float, *, closed: bool) -> int:
        """How many of `together` run now; 0 to wait. `closed`: another group stands behind, so none will join."""
        if fitting := [size for size in self.rules.preferred if size <= together]:
            return max(fitting)
        if together >= self.rules.max_batch or closed or waited_s >= self.rules.max_delay_s:
            return min(together, self.rules.max_batch)
        return 0
