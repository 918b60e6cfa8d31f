"""Which waiting requests run next, together or alone. Pure: time comes in, decisions go out.

The rule is Triton's dynamic batching: the largest preferred size that can be formed runs at once; else the largest
batch, as soon as it is full or its oldest request has waited `max_delay_s`. Requests of different groups (shapes
that can't be stacked) never share a batch, and each group waits for its own; order is first come, first served within
a priority and a group, the least priority first, and of several groups that are ready whose first came first.
Sizes count rows: a request may bring several. Whoever runs batches may tell what they take at the least; then
a request that can't be done by its deadline is refused at once, not after it has waited in vain.

Nobody changes a decision or what waits. They aren't `frozen` only because that doubles what making one costs, and a
simulation makes some for each of millions of requests.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
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


def _soonest_s(waiting: Iterable[_Waiting]) -> float:
    return min((one.deadline_s for one in waiting if one.deadline_s is not None), default=inf)


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
        self._soonest_s = _soonest_s(self._queue)
        return None

    def _together(self, now_s: float) -> Run | Wait:
        """The first of the queue that may share a run, if they are to run now."""
        group, most, rows = self._queue[0].group, self.rules.max_batch, 0
        first: list[_Waiting] = []
        for waiting in self._queue:
            if waiting.group != group:
                return self._of_groups(now_s)
            if first and rows + waiting.rows > most:
                return Run(tuple(self._taken(self._largest(first))))
            rows += waiting.rows
            first.append(waiting)
        chosen, due_s = self._ready(first, rows, now_s)
        return Run(tuple(self._taken(chosen))) if chosen else Wait(due_s)

    def _of_groups(self, now_s: float) -> Run | Wait:
        """The same where several groups wait: the first of which some are to run now. Each waits for its own others.

        Of those of one priority the one whose deadline is next goes first.
        """
        groups: dict[tuple[int, Hashable], list[_Waiting]] = {}
        for waiting in self._queue:
            groups.setdefault((waiting.priority, waiting.group), []).append(waiting)
        until_s = inf
        by_deadline = sorted(groups.items(), key=lambda one: (one[0][0], _soonest_s(one[1])))  # else as they came
        for _, members in by_deadline:
            sizes = [size for size in accumulate(one.rows for one in members) if size <= self.rules.max_batch]
            first = members[: max(1, len(sizes))]
            if len(first) < len(members):
                return self._apart(self._largest(first), first)
            chosen, due_s = self._ready(first, sizes[-1] if sizes else first[0].rows, now_s)
            if chosen:
                return self._apart(chosen, first)
            until_s = min(until_s, due_s)
        return Wait(until_s)

    def _ready(self, members: Sequence[_Waiting], rows: int, now_s: float) -> tuple[int, float]:
        """How many of these, after whom none of theirs waits, are to run now; where none is, when they are."""
        due_s = min(one.arrived_s for one in members) + self.rules.max_delay_s
        if self.run_s:
            due_s = min(due_s, _soonest_s(members) - IN_TIME * self.own_s)
        if rows >= self.rules.max_batch or now_s >= due_s:
            return self._largest(members), due_s
        return self._preferred(members), due_s  # others may still join

    def _largest(self, members: Sequence[_Waiting]) -> int:
        return self._preferred(members) or len(members)

    def _preferred(self, members: Sequence[_Waiting]) -> int:
        """How many of these have together the largest preferred size that can be formed; 0 where none can."""
        if not self.rules.preferred:
            return 0
        sizes = enumerate(accumulate(one.rows for one in members), 1)
        return max((many for many, size in sizes if size in self.rules.preferred), default=0)

    def _taken(self, many: int) -> Iterator[Ticket]:
        for _ in range(many):
            waiting = self._queue.popleft()
            self.rows -= waiting.rows
            yield waiting.ticket

    def _apart(self, many: int, members: Sequence[_Waiting]) -> Run:
        """Run the first so many of a group, from wherever they are in the queue."""
        tickets = tuple(one.ticket for one in members[:many])
        self.rows -= sum(one.rows for one in members[:many])
        self._queue = deque(one for one in self._queue if one.ticket not in tickets)
        return Run(tickets)
