"""Where work waits and is done: queues with servers, and links or processors that all their work shares.

Each counts what it holds over time, so that Little's law holds to the last digit. Work is what a caller says it is: a
number of seconds, or of bits. When it is done its callback is called; what is refused or withdrawn is not.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from simulations.engine import Engine
from simulations.errors import OutOfRange

Done = Callable[..., None]


class Held:
    """How much a station holds, over time: the integral of the number there, of servers at work, and what came."""

    __slots__ = ("_engine", "_since_s", "busy", "busy_s", "came", "left", "refused", "there", "there_s", "withdrawn")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._since_s = engine.now_s
        self.there = self.busy = self.came = self.left = self.refused = self.withdrawn = 0
        self.there_s = self.busy_s = 0.0

    def change(self, there: int, busy: int) -> None:
        """From now on so much more is there, and so many more servers work."""
        now_s = self._engine.now_s
        span_s = now_s - self._since_s
        if span_s:
            self.there_s += self.there * span_s
            self.busy_s += self.busy * span_s
            self._since_s = now_s
        self.there += there
        self.busy += busy

    def settle(self) -> None:
        """Count until now."""
        self.change(0, 0)


class Queue:
    """First come, first served within a priority, by one or more servers. The least priority goes first.

    `room`: how many may wait; one that finds no server free and no room is refused.
    """

    __slots__ = ("_engine", "_free", "_number", "_room", "_waiting", "held", "waiting")

    def __init__(self, engine: Engine, servers: int = 1, room: float = inf) -> None:
        if servers < 1 or room < 0:
            raise OutOfRange(f"a queue of {servers} servers and room for {room:g}: from 1, and from 0")
        self._engine, self._free, self._room = engine, servers, room
        self._waiting: list[list[Any]] = []  # priority, number, seconds, callback, given
        self._number = 0
        self.waiting = 0
        self.held = Held(engine)

    def submit(self, seconds: float, done: Done, *given: Any, priority: int = 0) -> list[Any] | None:
        """Have work of so many seconds done; what `withdraw` takes, or None if it is refused."""
        self.held.came += 1
        if self._free:
            self._free -= 1
            self.held.change(1, 1)
            self._engine.after(seconds, self._served, done, given)
            return []
        if self.waiting >= self._room:
            self.held.refused += 1
            return None
        self._number += 1
        entry = [priority, self._number, seconds, done, given]
        heappush(self._waiting, entry)
        self.waiting += 1
        self.held.change(1, 0)
        return entry

    def withdraw(self, entry: list[Any]) -> bool:
        """Take work back that waits; False if it has begun, is done, or was taken back before."""
        if not entry or entry[3] is None:
            return False
        entry[3] = None
        self.waiting -= 1
        self.held.withdrawn += 1
        self.held.change(-1, 0)
        return True

    def _served(self, done: Done, given: tuple[Any, ...]) -> None:
        self.held.left += 1
        waiting = self._waiting
        while waiting:
            entry = heappop(waiting)
            if entry[3] is not None:
                self.waiting -= 1
                self.held.change(-1, 0)
                self._engine.after(entry[2], self._served, entry[3], entry[4])
                entry[3] = None
                break
        else:
            self._free += 1
            self.held.change(-1, -1)
        done(*given)


class Shared:
    """Everything there advances together, each by an equal share of the rate: a link, or processor sharing.

    Work is in units of which `rate` does so many a second, alone. The rate may change at any time, to 0 as well.
    """

    __slots__ = ("_done", "_due", "_engine", "_number", "_rate", "_since_s", "_turn", "held")

    def __init__(self, engine: Engine, rate: float) -> None:
        if not 0 <= rate < inf:
            raise OutOfRange(f"a rate of {rate:g}: from 0")
        self._engine, self._rate = engine, rate
        self._due: list[tuple[float, int, list[Any]]] = []  # by what each will have had done when it is through
        self._done = 0.0  # of any that was there all the while
        self._since_s = engine.now_s
        self._number = self._turn = 0
        self.held = Held(engine)

    def submit(self, work: float, done: Done, *given: Any) -> list[Any]:
        """Have so much work done; what `withdraw` takes."""
        self._advance()
        self._number += 1
        entry = [done, given]
        heappush(self._due, (self._done + work, self._number, entry))
        self.held.came += 1
        self.held.change(1, 0 if self.held.busy else 1)
        self._plan()
        return entry

    def withdraw(self, entry: list[Any]) -> bool:
        """Take work back; the others go faster from now on. False if it is through."""
        if entry[0] is None:
            return False
        self._advance()
        entry[0] = None
        self.held.withdrawn += 1
        self.held.change(-1, -1 if self.held.there == 1 else 0)
        self._plan()
        return True

    def change_rate(self, rate: float) -> None:
        """From now on."""
        if not 0 <= rate < inf:
            raise OutOfRange(f"a rate of {rate:g}: from 0")
        self._advance()
        self._rate = rate
        self._plan()

    def _advance(self) -> None:
        now_s = self._engine.now_s
        if self.held.there and now_s > self._since_s:
            self._done += (now_s - self._since_s) * self._rate / self.held.there
        self._since_s = now_s

    def _plan(self) -> None:
        """Ask for the next one's end; an end asked for before is void."""
        self._turn += 1
        while self._due and self._due[0][2][0] is None:
            heappop(self._due)
        if not self._due:
            self._done = 0.0
        elif self._rate:
            left = max(self._due[0][0] - self._done, 0.0)
            self._engine.after(left * self.held.there / self._rate, self._through, self._turn)

    def _through(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        due, _, entry = heappop(self._due)
        self._done = due  # to the digit, whatever the clock rounds
        done, given = entry
        entry[0] = None
        self.held.left += 1
        self.held.change(-1, -1 if self.held.there == 1 else 0)
        self._plan()
        done(*given)
