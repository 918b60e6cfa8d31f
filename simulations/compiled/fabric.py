"""The compiled fabric with the face of the plain one: simulations.requests.Fabric, air.Air, backhaul.Backhaul, Engine.

Python is called for what decides: a machine's queue, an attempt that came back, a timer. All between is compiled. It
comes to what the plain fabric comes to (tests/simulations/test_compiled.py), and is for scenarios of many requests, as
compiling takes some seconds where nothing was compiled before.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop
from math import inf
from typing import cast

import numpy as np

from partitioner.topology import NodeId
from simulations.air import DIRECTIONS, ROUND_ROBIN, Air, Channel
from simulations.backhaul import Backhaul, Ends, Line
from simulations.compiled import calls, state
from simulations.compiled.moving import ARRIVED, CAME_BACK, DEVICE, LOST, MESSAGE, RUN
from simulations.engine import Engine
from simulations.machines import Machine, Work
from simulations.radio.access import Generation
from simulations.radio.carrier import Direction
from simulations.radio.path_loss import Floats
from simulations.requests import Attempt, turn
from simulations.scenario import Wire
from simulations.sightings import WINDOW_S, told
from simulations.stations import Shared
from simulations.ways import Run, Way


class CompiledEngine(Engine):
    """Python's timers, and between them the fabric's own time."""

    __slots__ = ("arrays", "heard", "p")

    def __init__(self, begin_s: float, cells: int) -> None:
        super().__init__(begin_s)
        self.p, self.arrays = state.fabric(cells, begin_s)
        self.heard: Callable[[int, int], None] = _unheard

    def run(self, until_s: float = inf) -> int:
        """As Engine.run; events within the fabric are counted there."""
        coming, happened, p, go, heard = self._coming, 0, self.p, calls.go, self.heard
        while True:
            limit_s = coming[0][0] if coming and coming[0][0] <= until_s else until_s
            out, at_s, slot = go(p, limit_s)
            if out:
                self.now_s = at_s
                heard(out, slot)
            elif coming and coming[0][0] <= until_s:
                self.now_s, _, call, given = heappop(coming)
                call(*given)
                happened += 1
            else:
                break
        if until_s < inf:
            self.now_s = max(self.now_s, until_s)
        return happened


Laid = tuple[int, tuple[tuple[Machine, Run], ...]]  # a route's number, and where its runs are decided


class Station:
    """A cell's direction or a line, as stations.Shared tells of itself."""

    def __init__(self, engine: CompiledEngine, number: int) -> None:
        self._engine, self._number = engine, number
        self.held = self

    def settle(self) -> None:
        """Count until now."""
        calls.settle(self._engine.p, self._engine.now_s, self._number)

    @property
    def used_s(self) -> float:
        """The integral of the part of it that is used."""
        return float(self._engine.arrays["stations.used_s"][self._number])

    @property
    def parts(self) -> float:
        """What is asked for at once."""
        return float(self._engine.arrays["stations.parts"][self._number])

    @property
    def there_s(self) -> float:
        """The integral of how many there are."""
        return float(self._engine.arrays["stations.there_s"][self._number])


class Device:
    """A user's own machine, as its queue tells of itself."""

    def __init__(self, engine: CompiledEngine, user: int) -> None:
        self._engine, self._user = engine, user
        self.held = self

    def settle(self) -> None:
        """Nothing is to be done."""

    @property
    def busy_s(self) -> float:
        """How long it has worked until now."""
        users = self._engine.arrays
        ahead_s = max(0.0, users["users.ends_s"][self._user] - self._engine.now_s)
        return float(users["users.busy_s"][self._user] - ahead_s)


class CompiledAir(Air):
    """Cells whose transfers are the fabric's."""

    def __init__(
        self,
        engine: CompiledEngine,
        channel: Channel,
        cells: int,
        generation: Generation,
        draw: np.random.Generator,
        gains: Sequence[float] = ROUND_ROBIN,
    ) -> None:
        super().__init__(engine, channel, cells, generation, draw, gains)
        self._compiled = engine
        self.shared = {
            way: cast("list[Shared]", [Station(engine, number + place * cells) for number in range(cells)])
            for place, way in enumerate(DIRECTIONS)
        }
        arrays, reals = engine.arrays, engine.arrays["reals"]
        up, down = self.power["up"], self.power["down"]
        reals[[state.ON_UP_W, state.UP_J_PER_BIT]] = up.on_w, up.w_per_mbps / 1e6
        reals[[state.ON_DOWN_W, state.DOWN_J_PER_BIT]] = down.on_w, down.w_per_mbps / 1e6
        reals[state.HANDOVER_S] = generation.handover_s
        arrays["tables.wakes"][:], arrays["tables.gains"][:] = self.radios.wakes, gains
        for place, way in enumerate(DIRECTIONS):
            for cell in range(cells):
                arrays["tables.waits"][cell + place * cells] = self.waits[way][cell]
        self._tell()

    def _tell(self) -> None:
        up, down, parts = (np.array(one) for one in (self.alone["up"], self.alone["down"], self.parts_up))
        calls.moved(self._compiled.p, self._compiled.now_s, np.array(self.cell_of), up, down, parts)

    def step(self, span_s: float) -> None:
        """As Air.step."""
        load = {way: self._load(way, span_s) for way in DIRECTIONS}
        before = self.cell_of
        self.cell_of, up, down = self._channel.step(span_s, load)
        self.alone, self.parts_up = {"up": up, "down": down}, self._channel.parts_up()
        self._tell()
        for user, (old, new) in enumerate(zip(before, self.cell_of, strict=True)) if before != self.cell_of else ():
            if old != new:
                self.handovers += 1
                self.on_handover(user, old, new)

    def _load(self, way: Direction, span_s: float) -> Floats:
        cells = len(self.shared[way])
        calls.settle_all(self._compiled.p, self._compiled.now_s, 2 * cells)
        first = DIRECTIONS.index(way) * cells
        used_s = self._compiled.arrays["stations.used_s"][first : first + cells].copy()
        load = np.minimum((used_s - self._busy_s[way]) / span_s, 1.0)
        self._busy_s[way] = used_s
        return np.asarray(load)

    @property
    def spent_j(self) -> float:
        """What radios have taken for what they carried."""
        return float(self._compiled.arrays["reals"][state.RADIO_J])

    @property
    def woken(self) -> int:
        """How often a radio woke up."""
        return int(self._compiled.arrays["counts"][state.WOKEN])


class CompiledLine(Line):
    """A line that the fabric carries."""

    __slots__ = ("_cells", "_engine", "_number")

    def __init__(self, engine: CompiledEngine, wire: Wire, number: int, cells: int) -> None:
        self._engine, self._number, self._cells = engine, number, cells
        super().__init__(engine, wire)
        self.shared = cast("Shared", Station(engine, number + 2 * cells))
        self.apply()

    @property
    def carried_bytes(self) -> float:
        """All that it has carried."""
        return float(self._engine.arrays["stations.bits"][self._number + 2 * self._cells]) / 8

    @carried_bytes.setter
    def carried_bytes(self, value: float) -> None:
        """The fabric counts for itself."""

    def apply(self) -> None:
        """Have the fabric know its rate and delay."""
        rate = self.rate_bits_per_s if self.is_up else 0.0
        self._engine.arrays["lines.delay_s"][self._number] = self.propagation_s
        calls.rate(self._engine.p, self._engine.now_s, self._number + 2 * self._cells, rate)


class CompiledBackhaul(Backhaul):
    """Wires that the fabric carries; its ways between all places are laid anew with each change."""

    def __init__(self, engine: CompiledEngine, wires: Iterable[Wire], cells: tuple[str, ...], nodes: tuple[str, ...]):
        super().__init__(engine, ())
        self._compiled, self._places, self._cells = engine, (*cells, *nodes), len(cells)
        self.lines = {
            (wire.source, wire.target): CompiledLine(engine, wire, number, len(cells))
            for number, wire in enumerate(wires)
        }
        self._lay()

    def _lay(self) -> None:
        arrays, laid = self._compiled.arrays, list[int]()
        numbers = {line: number for number, line in enumerate(self.lines.values())}
        arrays["lines.at"][:] = -1
        for one, source in enumerate(self._places):
            for other, target in enumerate(self._places):
                way = self.laid(source, target)
                if way:
                    arrays["lines.at"][one, other], arrays["lines.many"][one, other] = len(laid), len(way)
                    laid += [numbers[line] for line in way]
        arrays["lines.lines"][: len(laid)] = laid

    def change(self, ends: Ends, *, bits_per_s: float | None, propagation_s: float | None, is_up: bool) -> None:
        """As Backhaul.change."""
        line = self.lines[ends]
        assert isinstance(line, CompiledLine)
        line.is_up = is_up
        line.rate_bits_per_s = bits_per_s or line.rate_bits_per_s
        line.propagation_s = line.propagation_s if propagation_s is None else propagation_s
        line.apply()
        self._ways.clear()
        self._lay()


class Seen:
    """What was seen of a cell one way, as Sightings."""

    def __init__(self, engine: CompiledEngine, row: int) -> None:
        self._arrays, self._row = engine.arrays, row

    def look(self, now_s: float) -> tuple[float, float] | None:
        """As Sightings.look."""
        many = min(int(self._arrays["seen.many"][self._row]), state.SEEN)
        at_s, rates = self._arrays["seen.s"][self._row, :many], self._arrays["seen.rate"][self._row, :many]
        return told(rates[at_s >= now_s - WINDOW_S].tolist())


class CompiledFabric:
    """As requests.Fabric."""

    def __init__(
        self,
        engine: CompiledEngine,
        air: CompiledAir,
        backhaul: CompiledBackhaul,
        machines: dict[NodeId, Machine],
        cells: tuple[str, ...],
        core_s: float,
    ) -> None:
        self.engine, self.air, self.backhaul, self.machines = engine, air, backhaul, machines
        self._p, self._cells = engine.p, len(cells)
        self._machines = list(machines.values())
        self._places = {name: len(cells) + number for number, name in enumerate(machines)}
        self._routes: dict[tuple[int, str, tuple[NodeId, ...]], Laid] = {}
        self._steps = 0
        self._at: dict[int, Attempt] = {}
        self.seen_up = [Seen(engine, number) for number in range(len(cells))]
        self.seen_down = [Seen(engine, number + len(cells)) for number in range(len(cells))]
        engine.arrays["reals"][state.CORE_S] = core_s
        engine.heard = self._out

    @property
    def devices(self) -> dict[int, Device]:
        """Every user's own machine."""
        return {user: Device(self.engine, user) for user in range(len(self.air.cell_of))}

    def begin(self, attempt: Attempt) -> None:
        """As Fabric.begin."""
        key = (attempt.way.number, attempt.device, attempt.crew)
        laid = self._routes.get(key)
        if laid is None:
            laid = self._routes[key] = self._lay(attempt.way, attempt.device, attempt.crew)
        route, attempt.stops = laid
        slot, out = calls.start(self._p, self.engine.now_s, attempt.user, route, attempt.stretch)
        attempt.cell = slot
        self._at[slot] = attempt
        if out:
            self._out(out, slot)

    def _lay(self, way: Way, device: NodeId, crew: tuple[NodeId, ...]) -> Laid:
        """Its steps among the fabric's; each stage's and message's ends with the replicas chosen."""
        arrays, route, run = self.engine.arrays, len(self._routes), 0
        stops: list[tuple[Machine, Run]] = []
        ends = (device, *crew, device)
        arrays["routes.at"][route], arrays["routes.many"][route] = self._steps, len(way.steps)
        for step in way.steps:
            if isinstance(step, Run):
                at = self._place(crew[step.place] if crew else step.node, device)
                found, run = (RUN, at, at, step.seconds, 0.0), run + 1
                if at != DEVICE:
                    stops.append((self._machines[at - self._cells], step))
            else:
                source, target = (ends[run], ends[run + 1]) if crew else (step.source, step.target)
                found = (MESSAGE, self._place(source, device), self._place(target, device), step.fixed_s, step.bits)
            for name, value in zip(("kind", "source", "target", "s", "bits"), found, strict=True):
                arrays[f"routes.{name}"][self._steps] = value
            self._steps += 1
        return route, tuple(stops)

    def _place(self, node: NodeId, device: NodeId) -> int:
        return DEVICE if node == device else self._places[node]

    def withdraw(self, attempt: Attempt) -> None:
        """As Fabric.withdraw."""
        if attempt.is_over:
            return
        attempt.is_over = True
        if attempt.under_way is not None:
            machine, work = attempt.under_way
            machine.withdraw(work)
            attempt.under_way = None
        found = calls.hops(self._p, attempt.cell)
        attempt.radio_s, attempt.queue_s, attempt.compute_s, attempt.transfer_s = found
        del self._at[attempt.cell]
        calls.withdraw(self._p, self.engine.now_s, attempt.cell)

    def _out(self, out: int, slot: int) -> None:
        attempt = self._at[slot]
        if out == ARRIVED:
            self._arrived(attempt)
        elif out == CAME_BACK:
            attempt.is_over = True
            del self._at[slot]
            found = calls.finish(self._p, slot)
            attempt.radio_s, attempt.queue_s, attempt.compute_s, attempt.transfer_s = found
            attempt.owner.came_back(attempt)
        elif out == LOST:
            place = int(self.engine.arrays["counts"][state.OUT_NODE])
            attempt.owner.lost(attempt, self._machines[place - self._cells].name)

    def _arrived(self, attempt: Attempt) -> None:
        """At its next machine: its queue decides."""
        machine, step = attempt.stops[attempt.at]
        attempt.at += 1
        if not machine.is_up:
            attempt.owner.lost(attempt, machine.name)
            return
        work = turn(attempt, step, machine.name)
        attempt.under_way = (machine, work)
        if not machine.submit(work, self.engine.now_s + attempt.budget_s):
            attempt.under_way = None
            attempt.owner.refused(attempt, machine.name, step.stage)

    def served(self, work: Work) -> None:
        """As Fabric.served."""
        attempt: Attempt = work.attempt
        if attempt.is_over:  # it was taken back meanwhile, and its slot may be another's
            return
        attempt.under_way = None
        now_s = self.engine.now_s
        out = calls.resume(self._p, now_s, attempt.cell, work.began_s - work.arrived_s, now_s - work.began_s)
        if out:
            self._out(out, attempt.cell)


def _unheard(out: int, slot: int) -> None:
    del out, slot
