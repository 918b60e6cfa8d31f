"""Where work waits and is done: queues with servers, and links or processors that all their work shares.

Each counts what it holds over time, so that Little's law holds to the last digit. Work is what a caller says it is: a
number of seconds, or of bits. When it is done its callback is called; what is refused or withdrawn is not.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Any

from simulations.engine import Engine
from simulations.errors import OutOfRange

Done = Callable[..., None]
ROUNDING = 1e-9


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

    Work is in units of which `rate` does so many a second, alone, and each piece may have a speed of its own: of a
    cell's time every user gets as much, and carries by it what the user's channel does, the more the more there are to
    choose from (`gains`). Rates and speeds may change at any time, to 0 as well; what has speed 0 takes no share.
    A piece that can use a `part` of the rate only, at its speed, leaves the rest to others: as long as all parts
    together are no more than the whole, nobody waits for anybody.
    """

    __slots__ = (
        "_done", "_due", "_engine", "_gains", "_number", "_parts", "_rate", "_sharing", "_since_s", "_turn", "held",
        "used_s",
    )  # fmt: skip

    def __init__(self, engine: Engine, rate: float, gains: Sequence[float] = (1.0,)) -> None:
        """`gains`: by what the rate is multiplied while so many share it, from 0; the last for all beyond."""
        self._engine, self._rate, self._gains = engine, _rate(rate), gains
        self._sharing, self._parts = 0, 0.0
        self.used_s = 0.0  # the integral of the part of it that is used
        self._due: list[tuple[float, int, Piece]] = []  # by what each will have had done when it is through
        self._done = 0.0  # of any that was there all the while, at speed 1
        self._since_s = engine.now_s
        self._number = self._turn = 0
        self.held = Held(engine)

    def submit(self, work: float, done: Done, *given: Any, speed: float = 1.0, part: float = 1.0) -> "Piece":
        """Have so much work done; what `withdraw` and `change_speed` take."""
        self._advance()
        piece = Piece(work, _rate(speed), part, done, given)
        self.held.came += 1
        self._share(1 if speed else 0, part, there=1)
        self._put(piece)
        self._plan()
        return piece

    def withdraw(self, piece: "Piece") -> bool:
        """Take work back; the others go faster from now on. False if it is through."""
        if piece.done is None:
            return False
        self._advance()
        piece.done = None
        self.held.withdrawn += 1
        self._share(-1 if piece.speed else 0, piece.part, there=-1)
        self._plan()
        return True

    def change_rate(self, rate: float) -> None:
        """From now on."""
        self._advance()
        self._rate = _rate(rate)
        self._plan()

    def change_speed(self, piece: "Piece", speed: float, part: float = 1.0) -> None:
        """Of one piece, from now on; nothing happens if it is through."""
        if piece.done is None or (speed == piece.speed and part == piece.part):
            return
        self._advance()
        piece.left = self._left(piece)
        self._share(-1 if piece.speed else 0, piece.part, there=0)
        self._share(1 if _rate(speed) else 0, part, there=0)
        piece.speed, piece.part = speed, part
        self._put(piece)
        self._plan()

    def left(self, piece: "Piece") -> float:
        """How much of its work is still to be done; 0 once it is through or was withdrawn."""
        if piece.done is None:
            return 0.0
        self._advance()
        return self._left(piece)

    def _left(self, piece: "Piece") -> float:
        return max(0.0, piece.due - self._done) * piece.speed if piece.speed else piece.left

    def _put(self, piece: "Piece") -> None:
        self._number += 1
        piece.number, piece.due = self._number, self._done + piece.left / piece.speed if piece.speed else inf
        heappush(self._due, (piece.due, piece.number, piece))

    def _share(self, more: int, part: float, *, there: int) -> None:
        """One more or less shares from now on, or none, of so many more there; it is busy while any does."""
        before, self._sharing = self._sharing, self._sharing + more
        self._parts = self._parts + more * part if self._sharing else 0.0
        self.held.change(there, (self._sharing > 0) - (before > 0))

    def _advance(self) -> None:
        now_s = self._engine.now_s
        if self._sharing and now_s > self._since_s:
            span_s = now_s - self._since_s
            self._done += span_s * self._pace()
            self.used_s += span_s * min(self._parts, 1.0)
        self._since_s = now_s

    def _pace(self) -> float:
        """Of each, at speed 1."""
        gains, parts = self._gains, self._parts
        return self._rate * gains[min(int(parts + ROUNDING), len(gains) - 1)] / max(parts, 1.0)

    @property
    def parts(self) -> float:
        """Of it, what is asked for at once; above 1 all wait for each other."""
        return self._parts

    def settle(self) -> None:
        """Count until now."""
        self._advance()
        self.held.settle()

    def _plan(self) -> None:
        """Ask for the next one's end; an end asked for before is void."""
        self._turn += 1
        due = self._due
        while due and (due[0][2].done is None or due[0][2].number != due[0][1]):
            heappop(due)
        if not due:
            self._done = 0.0
        elif self._rate and due[0][0] < inf:
            left = max(due[0][0] - self._done, 0.0)
            self._engine.after(left / self._pace(), self._through, self._turn)

    def _through(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        due, _, piece = heappop(self._due)
        self._done = due  # to the digit, whatever the clock rounds
        done, piece.done = piece.done, None
        self.held.left += 1
        self._share(-1, piece.part, there=-1)
        self._plan()
        assert done is not None
        done(*piece.given)


class Piece:
    """Work under way at a `Shared`: what is left of it as of its last change, how fast it goes, whom to call."""

    __slots__ = ("done", "due", "given", "left", "number", "part", "speed")

    def __init__(self, work: float, speed: float, part: float, done: Done, given: tuple[Any, ...]) -> None:
        self.left, self.speed, self.part, self.given = work, speed, part, given
        self.done: Done | None = done  # None once it is through or withdrawn
        self.due, self.number = inf, 0


def _rate(value: float) -> float:
    if not 0 <= value < inf:
        raise OutOfRange(f"a rate of {value:g}: from 0")
    return value
