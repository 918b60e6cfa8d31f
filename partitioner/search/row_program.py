"""One row of sites as a mixed integer program: every figure of the evaluator is linear in where operators stand.

z[v, j] says that operator v stands at position j or later, so an edge is z[u, j] ≤ z[v, j], as in the minimum cut
(mincut.py), whose linear relaxation is integral. Around it: one codec a tensor, bytes over boundaries, encoding
where a tensor is made, decoding wherever it is read, returns of outputs, weights held by each node. Latency, energy,
money, output error and the busiest resource are then rows over the same columns: one is minimised, the others may be
bounded. Which row of sites is best, mixed.py asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from partitioner.cost import call_s
from partitioner.messages import ROUTER_SLOWDOWN
from partitioner.problem import Limits
from partitioner.search.chains import Chain
from partitioner.search.milp import Program, Solved
from partitioner.stages import Placed
from partitioner.tables import Floats, Ints, Prices
from partitioner.topology import NodeId, Path

FIGURES = {"latency": "latency_s", "energy": "energy_j", "cost": "cost_usd", "error": "error"}
AROUND = 100.0  # what a figure's scale makes of its typical value, so that tolerances mean the same for all
TINY = 1e-15


@dataclass(slots=True)
class Sum:
    """Constant + Σ values · columns: a figure of the plan."""

    constant: float = 0.0
    columns: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def add(self, columns: Ints, values: Floats | float) -> None:
        """More terms; `values` broadcasts to `columns`."""
        self.columns.append(columns.ravel())
        self.values.append(np.broadcast_to(np.asarray(values, dtype=np.float64), columns.shape).ravel())

    def flat(self) -> tuple[Ints, Floats]:
        """All terms, each column once."""
        columns = np.concatenate([np.zeros(0, dtype=np.int64), *self.columns])
        values = np.concatenate([np.zeros(0), *self.values])
        unique, place = np.unique(columns, return_inverse=True)
        total = np.bincount(place, weights=values, minlength=len(unique)).astype(np.float64)
        return unique[total != 0], total[total != 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAnswer:
    """The best stages of the row with each carried tensor's codec, None if none; no plan of it is below `bound`."""

    placed: tuple[Placed, ...] | None
    codecs: Mapping[str, str]
    bound: float
    is_proven: bool
    seconds: float


class RowProgram:
    """The program of one row. Build it, then `solve` for an objective within limits."""

    def __init__(self, prices: Prices, chain: Chain) -> None:
        self._prices, self._chain = prices, chain
        self._program = Program()
        self._count, self._places = chain.seconds.shape
        self._figures: dict[str, Sum] = {name: Sum() for name in FIGURES}
        self._busy: dict[object, Sum] = {}
        self._codec: dict[int, tuple[Ints, list[int]]] = {}
        self._stand()
        self._carry()
        self._hold()

    def solve(self, objective: str, limits: Limits, *, below: float, seconds: float) -> RowAnswer:
        """The row's best plan below `below`, in the objective's unit, or the proof that there is none."""
        program = self._program
        if objective == "throughput" or limits.throughput_per_s is not None:
            busiest, unit = program.columns(1, high=np.inf), self._unit(limits)
            for one in self._busy.values():
                columns, values = one.flat()
                program.row(np.append(columns, busiest), np.append(values * unit, -1.0), high=-one.constant * unit)
            if limits.throughput_per_s is not None:
                program.row(busiest, 1.0, high=unit / limits.throughput_per_s)
        for name, key in FIGURES.items():
            most = getattr(limits, key)
            if most is not None:
                columns, values = self._figures[name].flat()
                scale = AROUND / (most if most > 0 else max(float(np.abs(values).max(initial=0.0)), TINY))
                program.row(columns, values * scale, high=(most - self._figures[name].constant) * scale)
        target = self._figures.get(objective) or Sum(columns=[busiest], values=[np.full(1, 1 / unit)])
        columns, values = target.flat()
        scale = AROUND / max(float(np.abs(values).max(initial=0.0)), TINY)
        program.charge(columns, values * scale)
        solved = program.solve(seconds=seconds, below=(below - target.constant) * scale)
        return self._read(solved, solved.bound / scale + target.constant)

    def _unit(self, limits: Limits) -> float:
        """What makes seconds between answers, as limited or at most, a number like the others' in the program."""
        sums = [(one.constant, one.flat()[1]) for one in self._busy.values()]
        most_s = max((abs(constant) + float(np.abs(values).sum()) for constant, values in sums), default=0.0)
        return AROUND * (limits.throughput_per_s or 1 / (most_s or 1.0))

    def _read(self, solved: Solved, bound: float) -> RowAnswer:
        if solved.values is None:
            return RowAnswer(placed=None, codecs={}, bound=bound, is_proven=solved.is_proven, seconds=solved.seconds)
        position = 1 + np.rint(solved.values[self._z]).astype(np.int64).sum(axis=1)
        names, rows = self._prices.table.names, self._prices.codecs.names
        codecs = {
            names[tensor]: rows[admissible[int(solved.values[columns].argmax())]]
            for tensor, (columns, admissible) in self._codec.items()
        }
        members = [np.flatnonzero(position == at) for at in range(1, self._places + 1)]
        placed = tuple(zip(self._chain.sites, members, strict=True))
        return RowAnswer(placed=placed, codecs=codecs, bound=bound, is_proven=solved.is_proven, seconds=solved.seconds)

    def _stand(self) -> None:
        """Where operators stand, and what that alone costs."""
        chain, program, problem = self._chain, self._program, self._prices.problem
        allowed = np.isfinite(chain.seconds)
        low, high = allowed.argmax(axis=1) + 1, self._places - allowed[:, ::-1].argmax(axis=1)
        later = np.arange(2, self._places + 1)
        self._z = program.columns(
            (self._count, self._places - 1),
            low=(low[:, None] >= later).astype(np.float64),
            high=(high[:, None] >= later).astype(np.float64),
            whole=True,
        )
        for j in range(self._places - 2):
            program.rows([self._z[:, j + 1], self._z[:, j]], [1.0, -1.0], high=0.0)
        for v, p in np.argwhere(~allowed).tolist():
            if low[v] - 1 < p < high[v] - 1:  # a hole within its range
                columns, values, constant = self._at(v, p + 1)
                program.row(columns, values, low=-constant, high=-constant)
        for p in range(1, self._places + 1):  # a plan that leaves a site empty is another row's, over other ways
            self._fill(p)
        made = self._prices.table.producer[self._prices.table.read_tensor]
        inner = made >= 0
        program.rows([self._z[made[inner]], self._z[self._prices.table.reader[inner]]], [1.0, -1.0], high=0.0)
        index = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
        for group in problem.together:
            for a, b in pairwise(group):
                program.rows([self._z[index[a]], self._z[index[b]]], [1.0, -1.0], low=0.0, high=0.0)
        self._figures["latency"].constant += sum(chain.route.leg_fixed_s)
        for position, site in enumerate(chain.sites, start=1):
            node = problem.topology.node(site.node)
            busy = self._busy.setdefault(site.node, Sum())
            rates = ((self._figures["latency"], 1.0), (busy, 1.0), (self._figures["energy"], node.active_w))
            for figure, rate in (*rates, (self._figures["cost"], (node.usd_per_hour or 0.0) / 3600)):
                self._spend(figure, position, rate or 0.0, call_s(problem, site))

    def _fill(self, position: int) -> None:
        """Some operator stands here."""
        here, later = position > 1, position < self._places
        columns = [*([self._z[:, position - 2]] if here else []), *([self._z[:, position - 1]] if later else [])]
        signs = [*([1.0] if here else []), *([-1.0] if later else [])]
        if columns:
            values = np.repeat(signs, self._count)
            self._program.row(np.concatenate(columns), values, low=1.0 - (0.0 if here else self._count))

    def _at(self, operator: int, position: int) -> tuple[Ints, Floats, float]:
        """x[v, p] = z[v, p] − z[v, p+1] as columns, values and a constant."""
        columns, values, constant = [], [], float(position == 1)
        if position > 1:
            columns, values = [self._z[operator, position - 2]], [1.0]
        if position < self._places:
            columns, values = [*columns, self._z[operator, position - 1]], [*values, -1.0]
        return np.array(columns, dtype=np.int64), np.array(values), constant

    def _spend(self, figure: Sum, position: int, rate: float, once_s: float) -> None:
        """`rate` a second of the stage at this position."""
        seconds = np.where(np.isfinite(self._chain.seconds[:, position - 1]), self._chain.seconds[:, position - 1], 0.0)
        figure.constant += rate * once_s + (rate * float(seconds.sum()) if position == 1 else 0.0)
        if position > 1:
            figure.add(self._z[:, position - 2], rate * seconds)
        if position < self._places:
            figure.add(self._z[:, position - 1], -rate * seconds)

    def _carry(self) -> None:
        """Every tensor's codec, its bytes over each boundary, its coding, and outputs' returns."""
        table = self._prices.table
        starts = np.searchsorted(table.read_tensor, np.arange(len(table.names) + 1))
        outputs = set(table.outputs.tolist())
        producers: dict[NodeId, list[int]] = {}
        for tensor in range(len(table.names)):
            readers = table.reader[starts[tensor] : starts[tensor + 1]]
            if len(readers) or tensor in outputs:
                self._carry_one(tensor, readers, tensor in outputs)
            if tensor in outputs:
                to = self._prices.problem.outputs_to[table.names[tensor]]
                producers.setdefault(to, []).append(int(table.producer[tensor]))
        for to, makers in sorted(producers.items()):
            for position in range(1, self._places + 1):
                fixed_s = self._chain.route.back_fixed_s(to, position)
                if np.isfinite(fixed_s) and fixed_s > 0:
                    sends = self._program.columns(1)
                    self._figures["latency"].add(sends, fixed_s)
                    for maker in sorted(set(makers)):
                        columns, values, constant = self._at(maker, position)
                        self._program.row(np.append(columns, sends), np.append(values, -1.0), high=-constant)

    def _carry_one(self, tensor: int, readers: Ints, returned: bool) -> None:
        program, codecs, producer = self._program, self._prices.codecs, int(self._prices.table.producer[tensor])
        rows = self._worthwhile(tensor)
        chosen = program.columns(len(rows), whole=len(rows) > 1)
        program.row(chosen, 1.0, low=1.0, high=1.0)
        self._codec[tensor] = (chosen, rows)
        legs = range(1 if producer < 0 else 2, self._places + 1) if len(readers) else range(0)
        over = {j: program.columns(len(rows)) for j in legs}
        for j, columns in over.items():
            self._cross(tensor, readers, j, columns, chosen)
        back = {p: program.columns(len(rows)) for p in range(1, self._places + 1)} if returned else {}
        for p, columns in back.items():
            self._give(tensor, p, columns, chosen)
        raw = float(self._prices.table.raw_bytes[tensor])
        encode_s, decode_s = raw * codecs.encode_s_per_byte[rows, tensor], raw * codecs.decode_s_per_byte[rows, tensor]
        if encode_s.any():
            self._encode(encode_s, over, back, from_router=producer < 0)
        if decode_s.any():
            for j, columns in over.items():
                self._decode(tensor, readers, j, columns, decode_s)
        for columns in back.values():
            self._figures["latency"].add(columns, decode_s * ROUTER_SLOWDOWN)
        self._err(tensor, rows, over, chosen, returned)

    @property
    def _counts_errors(self) -> bool:
        problem = self._prices.problem
        return problem.limits.error is not None or problem.objective == "error"

    def _worthwhile(self, tensor: int) -> list[int]:
        """Admissible codecs, without those that another beats in bytes, speed and error alike."""
        codecs, profile = self._prices.codecs, self._prices.problem.profile
        name = self._prices.table.names[tensor]
        figures = profile.tensors.get(name, {})
        kept: list[tuple[int, tuple[float, ...]]] = []
        for row in np.flatnonzero(codecs.admissible[:, tensor]).tolist():
            figure = figures.get(codecs.names[row])
            error = 0.0 if figure is None or not row else figure.error
            worth = (
                float(codecs.coded_bytes[row, tensor]),
                float(codecs.encode_s_per_byte[row, tensor]),
                float(codecs.decode_s_per_byte[row, tensor]),
                error if self._counts_errors else 0.0,
            )
            if not any(all(a <= b for a, b in zip(other, worth, strict=True)) for _, other in kept):
                kept = [(r, o) for r, o in kept if not all(a <= b for a, b in zip(worth, o, strict=True))]
                kept.append((row, worth))
        return [row for row, _ in kept]

    def _cross(self, tensor: int, readers: Ints, j: int, columns: Ints, chosen: Ints) -> None:
        """The tensor rides over the leg to position j if it is made before and read at j or later."""
        program, table = self._program, self._prices.table
        producer, route = int(table.producer[tensor]), self._chain.route
        ones, tied = np.ones(len(columns)), len(columns) > 1
        if tied:
            program.rows([columns, chosen], [1.0, -1.0], high=0.0)
        if j == 1:
            program.row(columns, 1.0, low=1.0)
        else:
            for reader in np.unique(readers).tolist():
                needed, signs = [self._z[reader, j - 2]], [-1.0]
                if producer >= 0:
                    needed, signs = [*needed, self._z[producer, j - 2]], [-1.0, 1.0]
                program.row(np.append(columns, needed), np.append(ones, signs), low=0.0)
            if producer >= 0:
                program.row(np.append(columns, self._z[producer, j - 2]), 1.0, high=1.0)
        if not self._prices.problem.may_be_on(table.names[tensor], route.nodes[j]):
            program.row(columns, 1.0, high=0.0)
        nbytes = self._prices.codecs.coded_bytes[self._codec[tensor][1], tensor]
        self._figures["latency"].add(columns, nbytes * route.leg_s_per_byte[j])
        self._load(route.legs[j], columns, nbytes)

    def _give(self, tensor: int, position: int, columns: Ints, chosen: Ints) -> None:
        """An output returns from the position that makes it."""
        table, route = self._prices.table, self._chain.route
        to = self._prices.problem.outputs_to[table.names[tensor]]
        if len(columns) > 1:
            self._program.rows([columns, chosen], [1.0, -1.0], high=0.0)
        at, values, constant = self._at(int(table.producer[tensor]), position)
        self._program.row(
            np.append(columns, at), np.append(np.ones(len(columns)), -values), low=constant, high=constant
        )
        path = route.back[to][position]
        if path is not None:
            nbytes = self._prices.codecs.coded_bytes[self._codec[tensor][1], tensor]
            self._figures["latency"].add(columns, nbytes * route.back_s_per_byte(to, position))
            self._load(path, columns, nbytes)

    def _load(self, path: Path, columns: Ints, nbytes: Floats) -> None:
        """Bytes over every link of a path: seconds of the link, joules and dollars."""
        for link in path.links:
            self._busy.setdefault((link.source, link.target), Sum()).add(columns, nbytes / link.bytes_per_s)
            for name, rate in (("energy", link.j_per_byte), ("cost", link.usd_per_byte)):
                if rate:
                    self._figures[name].add(columns, nbytes * rate)

    def _encode(
        self, encode_s: Floats, over: Mapping[int, Ints], back: Mapping[int, Ints], *, from_router: bool
    ) -> None:
        """Coded once, by the position that makes it: the one before the first boundary that it crosses."""
        slowdown = self._chain.route.slowdown
        for p in range(self._places + 1):
            if p == 0 and from_router:
                self._figures["latency"].add(over[1], encode_s * slowdown[0])
            elif p and not from_router and (p + 1 in over or p in back):
                coded = self._program.columns(len(encode_s))
                self._figures["latency"].add(coded, encode_s * slowdown[p])
                if p + 1 in over:
                    before = [over[p]] if p in over else []
                    signs = [-1.0, 1.0, *(-1.0 for _ in before)]
                    self._program.rows([coded, over[p + 1], *before], signs, high=0.0)
                if p in back:
                    self._program.rows([coded, back[p]], [-1.0, 1.0], high=0.0)

    def _decode(self, tensor: int, readers: Ints, j: int, columns: Ints, decode_s: Floats) -> None:
        """Decoded at position j if a reader stands there and the maker does not."""
        done = self._program.columns(len(columns))
        self._figures["latency"].add(done, decode_s * self._chain.route.slowdown[j])
        self._program.rows([done, columns], [1.0, -1.0], high=0.0)
        producer = int(self._prices.table.producer[tensor])
        for reader in np.unique(readers).tolist():
            at, values, constant = self._at(reader, j)
            if producer >= 0:
                made, signs, one = self._at(producer, j)
                at, values, constant = np.append(at, made), np.append(values, -signs), constant - one
            unique, place = np.unique(at, return_inverse=True)
            values = np.bincount(place, weights=values, minlength=len(unique)).astype(np.float64)
            self._program.row(np.append(done, unique), np.append(np.ones(len(done)), -values), low=constant)

    def _err(self, tensor: int, rows: Sequence[int], over: Mapping[int, Ints], chosen: Ints, returned: bool) -> None:
        """What the tensor's codec does to the outputs, once, if it is carried at all."""
        name, profile = self._prices.table.names[tensor], self._prices.problem.profile
        figures = [profile.tensors.get(name, {}).get(self._prices.codecs.names[row]) for row in rows]
        errors = np.array([0.0 if f is None or not row else f.error for f, row in zip(figures, rows, strict=True)])
        if not errors.any():
            return
        if returned or 1 in over:  # always carried
            self._figures["error"].add(chosen, errors)
            return
        carried = self._program.columns(len(rows))
        for columns in over.values():
            self._program.rows([carried, columns], [1.0, -1.0], low=0.0)
        self._figures["error"].add(carried, errors)

    def _hold(self) -> None:
        """Each stage holds the weights its operators read; a node's memory bounds all its stages' together."""
        problem = self._prices.problem
        graph = problem.graph
        readers: dict[str, list[int]] = {}
        for i, operator in enumerate(graph.operators):
            for name in operator.weights:
                readers.setdefault(name, []).append(i)
        for node in dict.fromkeys(site.node for site in self._chain.sites):
            limit = problem.topology.node(node).memory_bytes
            if limit is None or limit >= sum(graph.weights_bytes.values()) * self._places:
                continue
            held = Sum()
            for position, site in enumerate(self._chain.sites, start=1):
                if site.node == node:
                    self._hold_at(held, position, readers, graph.weights_bytes)
            columns, values = held.flat()
            scale = AROUND / max(limit, 1)
            self._program.row(columns, values * scale, high=(limit - held.constant) * scale)

    def _hold_at(self, held: Sum, position: int, readers: Mapping[str, list[int]], nbytes: Mapping[str, int]) -> None:
        for name, some in readers.items():
            if len(some) == 1:
                columns, values, constant = self._at(some[0], position)
                held.add(columns, values * nbytes[name])
                held.constant += constant * nbytes[name]
                continue
            there = self._program.columns(1)
            held.add(there, float(nbytes[name]))
            for reader in some:
                columns, values, constant = self._at(reader, position)
                self._program.row(np.append(columns, there), np.append(values, -1.0), high=-constant)
