"""Requests on their way: the steps of an attempt carried out in simulated time, and what each hop took.

It decides nothing: routing.py's core says which epoch an attempt goes to and when it is taken back (routers.py).
"""

from typing import Any

from partitioner.topology import NodeId
from simulations.air import Air, Transfer
from simulations.backhaul import Backhaul, Line
from simulations.engine import Engine
from simulations.machines import Machine, Work
from simulations.sightings import Sightings
from simulations.stations import Queue
from simulations.ways import Message, Run, Way


class Attempt:
    """One attempt of one request; the four sums are seconds of the hops so far."""

    __slots__ = (
        "at",
        "budget_s",
        "cell",
        "compute_s",
        "crew",
        "device",
        "is_over",
        "number",
        "owner",
        "priority",
        "queue_s",
        "radio_s",
        "request",
        "since_s",
        "stops",
        "stretch",
        "transfer_s",
        "under_way",
        "user",
        "way",
    )  # fmt: skip

    def __init__(
        self,
        owner: Any,
        number: int,
        user: int,
        device: NodeId,
        way: Way,
        crew: tuple[NodeId, ...],
        budget_s: float,
        priority: int = 0,
    ) -> None:
        """`stretch` is what its runs on the user's own device take over what is planned."""
        self.owner, self.number, self.user, self.device, self.way, self.crew = owner, number, user, device, way, crew
        self.budget_s, self.at, self.is_over, self.cell, self.since_s = budget_s, 0, False, -1, 0.0
        self.radio_s = self.queue_s = self.compute_s = self.transfer_s = 0.0
        self.priority, stretch = priority, way.service.stretch
        self.stretch = 1.0 if stretch is None or not way.starts_here else stretch()
        self.under_way: Any = None  # what would have to be withdrawn, and from where
        self.request: Any = None
        self.stops: Any = ()  # for the compiled fabric: machines still to come, and stages there

    @property
    def hops(self) -> tuple[float, float, float, float]:
        """Seconds of radio, queues, compute and wires."""
        return self.radio_s, self.queue_s, self.compute_s, self.transfer_s


def turn(attempt: Attempt, step: Run, node: NodeId) -> Work:
    """An attempt's turn at a stage on a machine."""
    service = attempt.way.service
    seconds = step.seconds_on(node)
    if service.stretch is not None:
        seconds *= service.stretch()
    return Work((attempt.way.number, step.stage), seconds, attempt, attempt.priority, service.curves.get(node))


class Fabric:
    """Everything that carries out steps: users' devices, the air, the wires, the machines."""

    def __init__(
        self,
        engine: Engine,
        air: Air,
        backhaul: Backhaul,
        machines: dict[NodeId, Machine],
        cells: tuple[str, ...],
        core_s: float,
    ) -> None:
        self.engine, self.air, self.backhaul, self.machines = engine, air, backhaul, machines
        self._cells, self._core_s = cells, core_s
        self.devices: dict[int, Queue] = {}
        self.seen_up, self.seen_down = [Sightings() for _ in cells], [Sightings() for _ in cells]

    def begin(self, attempt: Attempt) -> None:
        """Carry out an attempt's first step and, each after the other, the rest."""
        self._next(attempt)

    def withdraw(self, attempt: Attempt) -> None:
        """Stop: nobody waits for it any more."""
        attempt.is_over = True
        held = attempt.under_way
        if held is not None:
            holder, thing = held
            holder.withdraw(thing)
            attempt.under_way = None

    def _next(self, attempt: Attempt) -> None:
        """The next step that takes time; the attempt's owner hears when there is none."""
        if attempt.is_over:
            return
        steps = attempt.way.steps
        while attempt.at < len(steps):
            step = steps[attempt.at]
            attempt.at += 1
            if isinstance(step, Run):
                self._run(attempt, step)
                return
            source, target = self._ends(attempt, step)
            if step.fixed_s:
                attempt.compute_s += step.fixed_s
            if source != target:
                if step.fixed_s:
                    self.engine.after(step.fixed_s, self._send, attempt, source, target, step.bits)
                else:
                    self._send(attempt, source, target, step.bits)
                return
            if step.fixed_s:
                self.engine.after(step.fixed_s, self._next, attempt)
                return
        attempt.is_over = True
        attempt.owner.came_back(attempt)

    def _ends(self, attempt: Attempt, step: Message) -> tuple[NodeId, NodeId]:
        """Where the message really goes, with the replicas that were chosen."""
        if not attempt.crew:
            return step.source, step.target
        place = sum(isinstance(one, Run) for one in attempt.way.steps[: attempt.at - 1])
        crew = attempt.crew
        source = crew[place - 1] if place else attempt.device
        target = crew[place] if place < len(crew) else attempt.device
        return source, target

    def _run(self, attempt: Attempt, step: Run) -> None:
        node = attempt.crew[step.place] if attempt.crew else step.node
        attempt.since_s = self.engine.now_s
        if node == attempt.device:
            queue = self.devices.get(attempt.user)
            if queue is None:
                queue = self.devices[attempt.user] = Queue(self.engine)
            seconds = step.seconds * attempt.stretch
            attempt.under_way = (queue, queue.submit(seconds, self._ran_here, attempt, seconds))
            return
        machine = self.machines[node]
        if not machine.is_up:
            attempt.owner.lost(attempt, node)
            return
        work = turn(attempt, step, node)
        attempt.under_way = (machine, work)
        if not machine.submit(work, self.engine.now_s + attempt.budget_s):
            attempt.under_way = None
            attempt.owner.refused(attempt, node, step.stage)

    def _ran_here(self, attempt: Attempt, seconds: float) -> None:
        attempt.under_way = None
        attempt.compute_s += seconds
        attempt.queue_s += self.engine.now_s - attempt.since_s - seconds
        self._next(attempt)

    def served(self, work: Work) -> None:
        """A machine has run a stage for an attempt."""
        attempt: Attempt = work.attempt
        now_s = self.engine.now_s
        attempt.under_way = None
        attempt.queue_s += work.began_s - work.arrived_s
        attempt.compute_s += now_s - work.began_s
        self._next(attempt)

    def _send(self, attempt: Attempt, source: NodeId, target: NodeId, bits: float) -> None:
        """Over the air where a device is at an end, over wires in between."""
        if attempt.is_over:
            return
        attempt.since_s = self.engine.now_s
        if source == attempt.device:
            transfer = self.air.send(attempt.user, "up", bits, self._up, attempt, target)
            attempt.under_way = (self.air, transfer)
            return
        cell = self._cells[self.air.cell_of[attempt.user]]
        self._wires(attempt, source, cell if target == attempt.device else target, bits, target)

    def _up(self, transfer: Transfer, attempt: Attempt, target: NodeId) -> None:
        now_s = self.engine.now_s
        attempt.under_way = None
        attempt.radio_s += now_s - attempt.since_s + self._core_s
        self.seen_up[transfer.cell].add(now_s, transfer.sent_bits, now_s - transfer.began_s)
        attempt.since_s = now_s + self._core_s
        cell = self._cells[self.air.cell_of[attempt.user]]
        self.engine.after(self._core_s, self._wires, attempt, cell, target, transfer.sent_bits, target)

    def _wires(self, attempt: Attempt, source: str, target: str, bits: float, final: NodeId) -> None:
        if attempt.is_over:
            return
        way = self.backhaul.laid(source, target)
        if way is None:
            attempt.owner.lost(attempt, source if final == attempt.device else final)
            return
        attempt.since_s = self.engine.now_s
        self._hop(attempt, way, 0, bits, final)

    def _hop(self, attempt: Attempt, way: tuple[Line, ...], at: int, bits: float, final: NodeId) -> None:
        if attempt.is_over:
            return
        if at < len(way):
            line = way[at]
            piece = self.backhaul.send(line, bits, self._left_line, attempt, way, at, bits, final)
            attempt.under_way = (line.shared, piece)
            return
        attempt.transfer_s += self.engine.now_s - attempt.since_s
        if final == attempt.device:
            attempt.since_s = self.engine.now_s
            self.engine.after(self._core_s, self._down, attempt, bits)
        else:
            self._next(attempt)

    def _left_line(self, attempt: Attempt, way: tuple[Line, ...], at: int, bits: float, final: NodeId) -> None:
        attempt.under_way = None
        delay_s = way[at].propagation_s
        if delay_s:
            self.engine.after(delay_s, self._hop, attempt, way, at + 1, bits, final)
        else:
            self._hop(attempt, way, at + 1, bits, final)

    def _down(self, attempt: Attempt, bits: float) -> None:
        if attempt.is_over:
            return
        transfer = self.air.send(attempt.user, "down", bits, self._came_down, attempt)
        attempt.under_way = (self.air, transfer)

    def _came_down(self, transfer: Transfer, attempt: Attempt) -> None:
        now_s = self.engine.now_s
        attempt.under_way = None
        attempt.radio_s += now_s - attempt.since_s
        self.seen_down[transfer.cell].add(now_s, transfer.sent_bits, now_s - transfer.began_s)
        self._next(attempt)
