"""The wires between cells and machines: capacity that transfers share, propagation, and the ways over them.

A message takes the way that is fastest for a large one, as `partitioner.topology` has it, wire by wire, stored and
forwarded; each wire's transfers share its rate equally. Propagation takes none of it. Where a wire is down a message
waits on it; new ones take another way, if there is one.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import networkx as nx

from partitioner.topology import ROUTING_BYTES
from simulations.engine import Engine
from simulations.errors import OutOfRange
from simulations.scenario import Wire
from simulations.stations import Piece, Shared

Ends = tuple[str, str]


class Line:
    """One direction of one wire, and the bytes that it has carried."""

    __slots__ = ("_looked", "carried_bytes", "is_up", "others", "propagation_s", "rate_bits_per_s", "shared", "wire")

    def __init__(self, engine: Engine, wire: Wire) -> None:
        self.wire, self.propagation_s, self.rate_bits_per_s = wire, wire.propagation_s, wire.bits_per_s
        self.shared, self.is_up, self.carried_bytes = Shared(engine, wire.bits_per_s), True, 0.0
        self.others = 0.0  # transfers that were there on average, as of the last look
        self._looked = (engine.now_s, 0.0)

    def look(self, now_s: float) -> None:
        """See how many transfers were there since the last look."""
        held, (before_s, before) = self.shared.held, self._looked
        held.settle()
        if now_s > before_s:
            self.others = (held.there_s - before) / (now_s - before_s)
            self._looked = now_s, held.there_s

    @property
    def free_bits_per_s(self) -> float:
        """What one more transfer gets of it, with as many others as there were of late."""
        return self.rate_bits_per_s / (self.others + 1) if self.is_up else 0.0


class Backhaul:
    """All wires of a scenario."""

    def __init__(self, engine: Engine, wires: Iterable[Wire]) -> None:
        self._engine = engine
        self.lines = {(wire.source, wire.target): Line(engine, wire) for wire in wires}
        self._ways: dict[Ends, tuple[Line, ...] | None] = {}

    def way(self, source: str, target: str) -> tuple[Line, ...] | None:
        """The lines from one place to another; None where none leads there, () within a place."""
        if source == target:
            return ()
        if (source, target) not in self._ways:
            self._ways[source, target] = self._search(source, target)
        return self._ways[source, target]

    def laid(self, source: str, target: str) -> tuple[Line, ...] | None:
        """The lines that a message takes from one place to another: where none leads there now, the ones that will once
        all are up again, on which it waits. None where none ever does.
        """
        found = self.way(source, target)
        return self._search(source, target, dead=True) if found is None else found

    def _search(self, source: str, target: str, *, dead: bool = False) -> tuple[Line, ...] | None:
        graph = nx.DiGraph()
        for ends, line in self.lines.items():
            if line.is_up or dead:
                graph.add_edge(*ends, weight=line.propagation_s + ROUTING_BYTES * 8 / line.rate_bits_per_s)
        try:
            return tuple(self.lines[pair] for pair in pairwise(nx.dijkstra_path(graph, source, target)))
        except (nx.NetworkXNoPath, nx.NodeNotFound):
            return None

    def change(self, ends: Ends, *, bits_per_s: float | None, propagation_s: float | None, is_up: bool) -> None:
        """A wire is another from now on. OutOfRange if there is none."""
        if ends not in self.lines:
            raise OutOfRange(f"no wire {ends[0]} → {ends[1]}")
        line = self.lines[ends]
        line.is_up = is_up
        if bits_per_s:
            line.rate_bits_per_s = bits_per_s
        if propagation_s is not None:
            line.propagation_s = propagation_s
        line.shared.change_rate(line.rate_bits_per_s if is_up else 0.0)
        self._ways.clear()

    def send(self, line: Line, bits: float, done: Callable[..., None], *given: Any) -> Piece:
        """Put a message on a line; `done` is called when its last bit has left, before it propagates."""
        line.carried_bytes += bits / 8
        return line.shared.submit(bits, done, *given)
