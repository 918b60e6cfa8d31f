"""The radio side of a scenario in simulated time: who is served where, and transfers that share cells.

A cell gives its time in equal parts to those who transfer at once, each at the rate that the user's channel gives alone
or, where the scheduler is proportionally fair, at more than that (radio/scheduling.py). Rates change with
each step of movement, and with the neighbours' load of the step before. A user who is handed over sends nothing for
the interruption, then the rest at the new cell. Rates and interruptions come from simulations.radio, or from traces.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

import numpy as np

from simulations.engine import Engine
from simulations.errors import OutOfRange
from simulations.mobility import Mobility
from simulations.radio.access import Generation, Radios, grant_s, slot_wait_s
from simulations.radio.carrier import Direction
from simulations.radio.energy import PHONE, RadioPower
from simulations.radio.network import RadioNetwork, Station
from simulations.radio.path_loss import Floats
from simulations.radio.scheduling import MOST, gains
from simulations.stations import ROUNDING, Piece, Shared
from simulations.traces.link_trace import LinkTrace

DIRECTIONS: tuple[Direction, Direction] = ("up", "down")
TABLE = 1024  # waits that are drawn for a cell and way
ROUND_ROBIN = gains("round-robin")
UNREACHED = 1.0  # bits/s and below: nobody gets anything through, the user is out of coverage


class Channel(Protocol):
    """What gives users their cells and rates."""

    def begin(self) -> tuple[list[int], list[float], list[float]]:
        """Each user's cell, and rates alone up and down, bits/s."""

    def step(self, span_s: float, load: dict[Direction, Floats]) -> tuple[list[int], list[float], list[float]]:
        """The same, so much later; `load` is the share of time that each cell was busy in, each way."""

    def parts_up(self) -> list[float]:
        """Of its cell's band, the part that each user has its rate up in."""

    def waits(self, cell: int, direction: Direction) -> Floats:
        """What TABLE packets wait before they go over the air; gone through again and again."""


class Positions:
    """Users of several groups, one after the other."""

    def __init__(self, movers: Sequence[tuple[Mobility, tuple[float, float]]]) -> None:
        """Each mover with the south-west corner of its area."""
        self._movers = movers

    @property
    def at_m(self) -> Floats:
        """All users' places."""
        return np.concatenate([mover.at_m + np.asarray(corner) for mover, corner in self._movers])

    def move(self, span_s: float) -> Floats:
        """Let time pass; the metres that each went."""
        return np.concatenate([mover.move(span_s) for mover, _ in self._movers])


class RadioChannel:
    """Cells by their radio."""

    def __init__(self, stations: Sequence[Station], places: Positions, draw: np.random.Generator) -> None:
        self._places, self._draw = places, draw
        self.network = RadioNetwork(stations, places.at_m, draw)

    def begin(self) -> tuple[list[int], list[float], list[float]]:
        """Nobody sends yet."""
        idle = np.zeros(len(self.network.stations))
        return self._now({"up": idle, "down": idle})

    def step(self, span_s: float, load: dict[Direction, Floats]) -> tuple[list[int], list[float], list[float]]:
        """Move, hand over, measure."""
        moved_m = self._places.move(span_s)
        self.network.move(self._places.at_m, moved_m, span_s)
        return self._now(load)

    def _now(self, load: dict[Direction, Floats]) -> tuple[list[int], list[float], list[float]]:
        up, down = (self.network.alone_bits_per_s(way, load[way]).tolist() for way in DIRECTIONS)
        return self.network.serving.tolist(), up, down

    def parts_up(self) -> list[float]:
        """Who is far off sends in a part of the band."""
        return self.network.parts_up.tolist()

    def waits(self, cell: int, direction: Direction) -> Floats:
        """A grant up, a slot down."""
        return (grant_s if direction == "up" else slot_wait_s)(self.network.stations[cell].carrier, TABLE, self._draw)


class TracedChannel:
    """Cells by traces; users stay with the cell that is nearest."""

    def __init__(
        self, traces: Sequence[tuple[LinkTrace, LinkTrace]], cells_m: Floats, places: Positions, wait_s: float = 0.0
    ) -> None:
        self._traces, self._cells_m, self._places, self._wait_s, self._now_s = traces, cells_m, places, wait_s, 0.0

    def begin(self) -> tuple[list[int], list[float], list[float]]:
        """At the traces' begin."""
        return self._now()

    def step(self, span_s: float, load: dict[Direction, Floats]) -> tuple[list[int], list[float], list[float]]:
        """Load changes nothing: a trace holds what was got."""
        del load
        self._now_s += span_s
        self._places.move(span_s)
        return self._now()

    def _now(self) -> tuple[list[int], list[float], list[float]]:
        far_m = np.linalg.norm(self._places.at_m[:, None, :] - self._cells_m[None, :, :], axis=2)
        nearest = np.argmin(far_m, axis=1)
        rates = np.array([[float(trace.rate(self._now_s)) for trace in pair] for pair in self._traces])
        return nearest.tolist(), rates[nearest, 0].tolist(), rates[nearest, 1].tolist()

    def parts_up(self) -> list[float]:
        """A trace's rate is the whole of it."""
        return [1.0] * len(self._places.at_m)

    def waits(self, cell: int, direction: Direction) -> Floats:
        """Nothing beyond what the trace's networks took."""
        del cell, direction
        return np.full(TABLE, self._wait_s)


class Transfer:
    """Bits of one user on their way over the air. `began_s`: when the first went, inf while none has.

    `user` is whose they are; `bits` were left when it began at its present cell; `sent_bits` is all of it.
    """

    __slots__ = ("began_s", "bits", "cell", "direction", "done", "given", "piece", "sent_bits", "user", "withdrawn")

    def __init__(self, user: int, direction: Direction, bits: float, done: Callable[..., None], given: Any) -> None:
        self.user, self.direction, self.bits, self.done, self.given = user, direction, bits, done, given
        self.began_s, self.cell, self.withdrawn, self.sent_bits = inf, -1, False, bits
        self.piece: Piece | None = None


class Air:
    """All cells' transfers. `cell_of` is each user's cell; `on_handover(user, old, new)` is called with each change."""

    def __init__(
        self,
        engine: Engine,
        channel: Channel,
        cells: int,
        generation: Generation,
        draw: np.random.Generator,
        gains: Sequence[float] = ROUND_ROBIN,
    ) -> None:
        """`gains`: of the cells' scheduler, by how many share a cell."""
        self._engine, self._channel, self._generation, self._gains = engine, channel, generation, gains
        self.cell_of, up, down = channel.begin()
        self.alone: dict[Direction, list[float]] = {"up": up, "down": down}
        self.parts_up = channel.parts_up()
        self.shared: dict[Direction, list[Shared]] = {
            way: [Shared(engine, 1.0, gains) for _ in range(cells)] for way in DIRECTIONS
        }
        self.waits = {way: [channel.waits(cell, way) for cell in range(cells)] for way in DIRECTIONS}
        self._next_wait = {way: [0] * cells for way in DIRECTIONS}
        self._active: dict[Transfer, None] = {}
        self._silent_s: dict[int, float] = {}  # until when users who were handed over last send nothing
        self._busy_s = {way: np.zeros(cells) for way in DIRECTIONS}
        self.radios = Radios(len(self.cell_of), generation, draw)
        self.handovers, self.radio_j = 0, 0.0
        self.power: dict[str, RadioPower] = {
            way: PHONE["LTE" if generation.name == "LTE" else "NSA", way] for way in DIRECTIONS
        }
        self.on_handover: Callable[[int, int, int], None] = _nothing

    def send(self, user: int, direction: Direction, bits: float, done: Callable[..., None], *given: Any) -> "Transfer":
        """Have so many bits of a user go up or down; `done(transfer, *given)` when the last has arrived."""
        transfer = Transfer(user, direction, bits, done, given)
        now_s = self._engine.now_s
        wait_s = self.radios.use(user, now_s) + self._wait_s(self.cell_of[user], direction)
        if wait_s:
            self._engine.after(wait_s, self._begin, transfer)
        else:
            self._begin(transfer)
        return transfer

    def withdraw(self, transfer: Transfer) -> None:
        """Nobody wants these bits any more; what has been sent of them has cost its energy."""
        transfer.withdrawn = True
        if transfer.piece is not None:
            station = self.shared[transfer.direction][transfer.cell]
            transfer.bits = station.left(transfer.piece)
            station.withdraw(transfer.piece)
            del self._active[transfer]
            transfer.piece = None
        if transfer.began_s < inf:
            self._spend(transfer, transfer.sent_bits - transfer.bits)

    def _begin(self, transfer: Transfer) -> None:
        if transfer.withdrawn:
            return
        user, way, now_s = transfer.user, transfer.direction, self._engine.now_s
        if self._silent_s.get(user, now_s) > now_s:
            self._engine.at(self._silent_s[user], self._begin, transfer)
            return
        transfer.began_s = min(transfer.began_s, now_s)
        transfer.cell = self.cell_of[user]
        rate = self.alone[way][user]
        self._active[transfer] = None
        transfer.piece = self.shared[way][transfer.cell].submit(
            transfer.bits,
            self._through,
            transfer,
            speed=rate if rate > UNREACHED else 0.0,
            part=self._part(transfer),
        )

    def _through(self, transfer: Transfer) -> None:
        del self._active[transfer]
        transfer.piece = None
        self._spend(transfer, transfer.sent_bits)
        transfer.done(transfer, *transfer.given)

    def _spend(self, transfer: Transfer, bits: float) -> None:
        """The user's radio has carried so many bits until now."""
        now_s = self._engine.now_s
        self.radios.used(transfer.user, now_s)
        if now_s > transfer.began_s:
            self.radio_j += self.power[transfer.direction].joules(bits, now_s - transfer.began_s)

    def step(self, span_s: float) -> None:
        """Let users move, and give each transfer its new rate; those handed over go on at their new cell."""
        load = {way: self._load(way, span_s) for way in DIRECTIONS}
        before = self.cell_of
        self.cell_of, up, down = self._channel.step(span_s, load)
        self.alone, self.parts_up = {"up": up, "down": down}, self._channel.parts_up()
        if before != self.cell_of:
            for user, (old, new) in enumerate(zip(before, self.cell_of, strict=True)):
                if old != new:
                    self.handovers += 1
                    self._silent_s[user] = self._engine.now_s + self._generation.handover_s
                    self.on_handover(user, old, new)
        for transfer in list(self._active):
            if transfer.cell != self.cell_of[transfer.user]:
                self._hand_over(transfer)
            elif transfer.piece is not None:
                rate, part = self.alone[transfer.direction][transfer.user], self._part(transfer)
                station = self.shared[transfer.direction][transfer.cell]
                station.change_speed(transfer.piece, rate if rate > UNREACHED else 0.0, part)

    def _hand_over(self, transfer: Transfer) -> None:
        station = self.shared[transfer.direction][transfer.cell]
        assert transfer.piece is not None
        transfer.bits = station.left(transfer.piece)
        station.withdraw(transfer.piece)
        transfer.piece = None
        del self._active[transfer]
        self._begin(transfer)

    def _part(self, transfer: Transfer) -> float:
        """Of the band, that the user can use."""
        return self.parts_up[transfer.user] if transfer.direction == "up" else 1.0

    def _load(self, way: Direction, span_s: float) -> Floats:
        """The share of each cell, over the last span, that was used this way."""
        for station in self.shared[way]:
            station.settle()
        busy_s = np.array([station.used_s for station in self.shared[way]])
        load = np.minimum((busy_s - self._busy_s[way]) / span_s, 1.0)
        self._busy_s[way] = busy_s
        return np.asarray(load)

    def _wait_s(self, cell: int, way: Direction) -> float:
        place = self._next_wait[way][cell]
        self._next_wait[way][cell] = (place + 1) % TABLE
        return float(self.waits[way][cell][place])

    def usual_wait_s(self, cell: int, way: Direction) -> float:
        """What a packet waits on average before it goes over the air."""
        return float(self.waits[way][cell].mean())

    @property
    def spent_j(self) -> float:
        """What radios have taken for what they carried."""
        return self.radio_j

    @property
    def woken(self) -> int:
        """How often a radio woke up."""
        return self.radios.woken

    def free_bits_per_s(self, user: int, way: Direction) -> float:
        """What one more transfer of this user would get now."""
        part = self.parts_up[user] if way == "up" else 1.0
        parts = self.shared[way][self.cell_of[user]].parts + part
        return self.alone[way][user] * self._gains[min(int(parts + ROUNDING), MOST)] / max(parts, 1.0)


def _nothing(user: int, old: int, new: int) -> None:
    del user, old, new


def check_reached(alone: dict[Direction, list[float]], names: Sequence[str]) -> None:
    """OutOfRange if a user gets nothing through at the begin, whoever else is there."""
    for way, rates in alone.items():
        for name, rate in zip(names, rates, strict=True):
            if rate <= UNREACHED:
                raise OutOfRange(f"{name}: out of coverage {way}: no cell reaches it")
