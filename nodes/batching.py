"""Which waiting requests run next, together or alone. Pure: time comes in, decisions go out.

The rule is Triton's dynamic batching: the largest preferred size that can be formed runs at once; else the largest
batch, as soon as it is full or its oldest request has waited `max_delay_s`. Requests of different groups (shapes
that can't be stacked) never share a batch; order is first come, first served within a priority, the least first.
Sizes count rows: a request may bring several. Whoever runs batches may tell what they take at the least; then
a request that can't be done by its deadline is refused at once, not after it has waited in vain.

Nobody changes a decision or what waits. They aren't `frozen` only because that doubles what making one costs, and a
simulation makes some for each of millions of requests.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from math import inf

NORMAL, LOWEST = 5, 9  # priorities that requests come with, 1 the highest; who gives none has the normal one
IN_TIME = 2.0  # times `own_s`, from the end of waiting for others to a deadline
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
    """Do not run this request; the reason is "queue full", "deadline" (it has come) or "late" (it can't be kept)."""

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
    rows: int


@dataclass(slots=True)
class Batcher:
    """The queue before one stage."""

    rules: BatchRules = field(default_factory=BatchRules)
    _queue: deque[_Waiting] = field(default_factory=deque)
    run_s: float = 0.0  # that a batch before it costs a request at the least; 0: not known
    own_s: float = 0.0  # that its own batch takes at the least
    rows: int = 0  # that wait
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
        rows: int = 1,
    ) -> Refuse | None:
        """Queue a request, or refuse it: the queue is full, or those before it take until after its deadline."""
        queue = self._queue
        if len(queue) >= self.rules.queue_limit:
            return Refuse(ticket, "queue full")
        if deadline_s is not None:
            if self.run_s and now_s < deadline_s and self._ready_s(now_s, priority) > deadline_s:
                return Refuse(ticket, "late")
            self._soonest_s = min(self._soonest_s, deadline_s)
        self.rows += rows
        waiting = _Waiting(ticket, now_s, deadline_s, group, priority, rows)
        if not queue or queue[-1].priority <= priority:
            queue.append(waiting)
        else:
            queue.insert(next(at for at, other in enumerate(queue) if other.priority > priority), waiting)
        return None

    def remove(self, ticket: Ticket) -> bool:
        """Take a request out, as when it was cancelled; False if it wasn't waiting."""
        for at, waiting in enumerate(self._queue):
            if waiting.ticket == ticket:
                self.rows -= waiting.rows
                del self._queue[at]
                return True
        return False

    def _ready_s(self, now_s: float, priority: int) -> float:
        """When a newcomer is done at the earliest: full batches of all before it, then its own."""
        ahead = self.rows
        if ahead and self._queue[-1].priority > priority:
            ahead = sum(waiting.rows for waiting in self._queue if waiting.priority <= priority)
        return now_s + ahead // self.rules.max_batch * self.run_s + self.own_s

    def decide(self, now_s: float) -> Decision:
        """What to do now; ask again until it says Wait."""
        queue = self._queue
        if not queue:
            return Wait(None)
        if self._soonest_s <= now_s + self.own_s and (overdue := self._overdue(now_s)) is not None:
            return overdue
        if self.rules.max_batch == 1:
            first = queue.popleft()
            self.rows -= first.rows
            return Run((first.ticket,))
        return self._together(now_s)

    def _overdue(self, now_s: float) -> Refuse | None:
        """The first whose deadline has come or can't be kept; where there is none, when the next one comes is known."""
        for at, waiting in enumerate(self._queue):
            if waiting.deadline_s is not None and waiting.deadline_s <= now_s + self.own_s:
                self.rows -= waiting.rows
                del self._queue[at]
                return Refuse(waiting.ticket, "deadline" if waiting.deadline_s <= now_s else "late")
        self._soonest_s = min((one.deadline_s for one in self._queue if one.deadline_s is not None), default=inf)
        return None

    def _together(self, now_s: float) -> Run | Wait:
        """The first of the queue that may share a run, if they are to run now."""
        queue, rules = self._queue, self.rules
        group, rows, oldest_s = queue[0].group, 0, inf
        sizes: list[int] = []  # rows of the first, of the first two, …
        for waiting in queue:
            if waiting.group != group or (sizes and rows + waiting.rows > rules.max_batch):
                break
            rows += waiting.rows
            oldest_s = min(oldest_s, waiting.arrived_s)
            sizes.append(rows)
        else:
            due_s = oldest_s + rules.max_delay_s
            if self.run_s:
                due_s = min(due_s, self._soonest_s - IN_TIME * self.own_s)
            if rows < rules.max_batch and now_s < due_s:  # others may still join
                sizes = [size for size in sizes if size in rules.preferred]
                if not sizes:
                    return Wait(due_s)
        size = max((size for size in sizes if size in rules.preferred), default=sizes[-1])
        return Run(tuple(self._taken(size)))

    def _taken(self, rows: int) -> Iterator[Ticket]:
        while rows > 0:
            waiting = self._queue.popleft()
            self.rows -= waiting.rows
            rows -= waiting.rows
            yield waiting.ticket
