"""Machines that run stages: a queue before each stage, as live (nodes.batching), and so many runs at once.

A batch of b takes what one takes, times the batch curve of the machine and its model as measured, else b. Whose turn
it is among a machine's stages goes by priority, the least first, then by arrival. A machine that is lost forgets what
it had.
"""

from collections import deque
from collections.abc import Callable, Mapping
from math import inf, nextafter
from typing import Any

from nodes.batching import Batcher, BatchRules, Refuse, Run, Wait
from simulations.engine import Engine
from simulations.stations import Held

Key = tuple[int, str]  # of a stage: the epoch, everywhere unique, and its name
Curve = Mapping[int, float]  # seconds of a batch by its size


class Work:
    """One attempt's turn at one stage."""

    __slots__ = ("arrived_s", "attempt", "began_s", "curve", "key", "priority", "seconds", "ticket")

    def __init__(
        self, key: Key, seconds: float, attempt: Any = None, priority: int = 0, curve: Curve | None = None
    ) -> None:
        """`curve`: seconds of batches by size; None for nothing known."""
        self.key, self.seconds, self.attempt, self.priority, self.curve = key, seconds, attempt, priority, curve
        self.ticket, self.arrived_s, self.began_s = 0, 0.0, -1.0


class Load:
    """What a stage did since somebody looked: `busy_s` as if the machine's servers were one that is as fast as all."""

    __slots__ = ("arrived", "busy_s", "served")

    def __init__(self) -> None:
        self.arrived = self.served = 0
        self.busy_s = 0.0


class Machine:
    """One machine under simulated time."""

    def __init__(self, engine: Engine, name: str, servers: int, rules: BatchRules) -> None:
        """`served` and `refused` are called with work that is done, or that its deadline has overtaken."""
        self.name, self.held, self.is_up = name, Held(engine), True
        self.served: Callable[[Work], None] = _ignored
        self.refused: Callable[[Work], None] = _ignored
        self._engine, self._servers, self._free, self._rules = engine, servers, servers, rules
        self._queues: dict[Key, Batcher] = {}
        self._turns: deque[Work] = deque()  # by priority and arrival; those that wait no more are passed over
        self._looks_s: dict[Key, float] = {}  # when a stage that lets more join is looked at again
        self._waiting: dict[int, Work] = {}
        self._ticket = self._life = 0
        self.loads: dict[Key, Load] | None = None  # counted where somebody wants to know

    def submit(self, work: Work, deadline_s: float | None = None) -> bool:
        """Queue a request's turn; False if the queue is full, and nothing will be called."""
        queue = self._queues.get(work.key)
        if queue is None:
            queue = self._queues[work.key] = Batcher(self._rules)
        self._ticket += 1
        ticket, now_s, held = self._ticket, self._engine.now_s, self.held
        work.ticket, work.arrived_s = ticket, now_s
        held.came += 1
        if self.loads is not None:
            self.loads.setdefault(work.key, Load()).arrived += 1
        if queue.add(ticket, now_s, deadline_s=deadline_s, priority=work.priority) is not None:
            held.refused += 1
            return False
        held.change(1, 0)
        if not self._turns and self._free:
            decision = queue.decide(now_s)  # nobody else waits here, so it can be of this one only
            if type(decision) is Run:
                self._begin([work])
                return True
            if type(decision) is Refuse:
                self._refuse(work)
                return True
        self._wait(work)
        if self._free:
            self._go_on()
        return True

    def _wait(self, work: Work) -> None:
        """Take a turn: after all of its priority, before all of a greater one."""
        self._waiting[work.ticket] = work
        turns = self._turns
        if not turns or turns[-1].priority <= work.priority:
            turns.append(work)
        else:
            turns.insert(next(at for at, other in enumerate(turns) if other.priority > work.priority), work)

    def withdraw(self, work: Work) -> bool:
        """Take a turn back; False if it has begun or is over."""
        if self._waiting.pop(work.ticket, None) is None:
            return False
        self._queues[work.key].remove(work.ticket)
        self.held.withdrawn += 1
        self.held.change(-1, 0)
        return True

    def fall(self) -> None:
        """The machine is lost with all that is there; nobody is called."""
        self.is_up = False
        self._life += 1
        self.held.withdrawn += self.held.there
        self.held.change(-self.held.there, -self.held.busy)
        self._free = self._servers
        self._queues.clear()
        self._turns.clear()
        self._looks_s.clear()
        self._waiting.clear()

    def rise(self) -> None:
        """It is back, empty."""
        self.is_up = True

    def load(self, key: Key) -> tuple[Load, int]:
        """What a stage did since this was asked last, and how many wait there now."""
        assert self.loads is not None
        queue = self._queues.get(key)
        return self.loads.pop(key, None) or Load(), 0 if queue is None else len(queue)

    def forget(self, epoch: int) -> None:
        """An epoch's stages are unloaded."""
        self._queues = {key: queue for key, queue in self._queues.items() if key[0] != epoch or len(queue)}
        self._looks_s = {key: at_s for key, at_s in self._looks_s.items() if key in self._queues}
        if self.loads is not None:
            self.loads = {key: load for key, load in self.loads.items() if key in self._queues}

    def _go_on(self) -> None:
        """Begin what can be begun. A stage that lets more join keeps its turn, and is passed over."""
        turns, passed = self._turns, list[Work]()
        while turns and self._free:
            work = turns.popleft()
            if work.ticket not in self._waiting:
                continue  # it went with an earlier one, or is gone
            if passed and any(work.key == one.key for one in passed):
                passed.append(work)
                continue
            decision = self._queues[work.key].decide(self._engine.now_s)
            if isinstance(decision, Run):
                self._begin([self._waiting.pop(ticket) for ticket in decision.tickets])
            elif isinstance(decision, Refuse):
                turns.appendleft(work)
                self._refuse(self._waiting.pop(decision.ticket))
            elif isinstance(decision, Wait) and decision.until_s is not None:
                passed.append(work)
                self._look_later(work.key, decision.until_s)
        if passed:
            turns.extendleft(reversed(passed))

    def _look_later(self, key: Key, until_s: float) -> None:
        """Once for each time. Never now: `until_s` may be now by rounding alone, and then would be for ever."""
        until_s = max(until_s, nextafter(self._engine.now_s, inf))
        if self._looks_s.get(key) != until_s:
            self._looks_s[key] = until_s
            self._engine.at(until_s, self._look_again, self._life)

    def _look_again(self, life: int) -> None:
        if life == self._life and self._free:
            self._go_on()

    def _refuse(self, work: Work) -> None:
        self.held.refused += 1
        self.held.change(-1, 0)
        self.refused(work)

    def _begin(self, batch: list[Work]) -> None:
        now_s = self._engine.now_s
        for work in batch:
            work.began_s = now_s
        self._free -= 1
        self.held.change(0, 1)
        seconds = max(work.seconds for work in batch)
        if len(batch) > 1:
            seconds *= batch_factor(batch[0].curve or {}, len(batch))
        self._engine.after(seconds, self._end, batch, self._life)

    def _end(self, batch: list[Work], life: int) -> None:
        if life != self._life:
            return
        self._free += 1
        self.held.change(-len(batch), -1)
        self.held.left += len(batch)
        if self.loads is not None:
            load = self.loads.setdefault(batch[0].key, Load())
            load.served += len(batch)
            load.busy_s += (self._engine.now_s - batch[0].began_s) / self._servers
        for work in batch:
            self.served(work)
        if self._turns and self._free:
            self._go_on()


def batch_factor(curve: Curve, size: int) -> float:
    """What a batch of that size takes over one of 1: measured, in between linear, else the size itself."""
    if size in curve and 1 in curve:
        return curve[size] / curve[1]
    below = max((rows for rows in curve if rows < size), default=0)
    if not below or 1 not in curve:
        return float(size)
    above = min((rows for rows in curve if rows > size), default=0)
    low = curve[below]
    per_row = (curve[above] - low) / (above - below) if above else low / below
    return (low + per_row * (size - below)) / curve[1]


def _ignored(work: Work) -> None:
    del work
