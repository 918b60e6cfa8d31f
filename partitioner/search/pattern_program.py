"""One pattern of stages as a mixed integer program: the least makespan, exact in the evaluator's terms.

Which stage feeds which is given (patterns.py), so every start and end is a plain sum, without a big constant: stage
times are exact for whole placements. For fractional ones two things hold the bound up. A read is a transport of its
maker's places to its reader's (Wolsey: Integer Programming (1998), on extended formulations), over the pattern's
pairs only: along a row of stages that is the minimum cut's relaxation, which is integral. And where stages are side
by side, an operator spread over them would halve every load, so each operator also has a time at which it is ready at
the earliest, after those it reads, by seconds and messages of its own. Seconds are scaled, as tolerances are absolute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from partitioner.cost import call_s
from partitioner.messages import ROUTER_SLOWDOWN
from partitioner.search.forms import Forms
from partitioner.search.milp import Program, Solved
from partitioner.search.pattern_limits import AROUND, Columns, flat, hold, keep_limits
from partitioner.search.patterns import Pattern
from partitioner.search.reach import Reads, Stages, least_of
from partitioner.stages import Placed
from partitioner.tables import Bools, Floats, Ints, Prices
from partitioner.topology import NodeId

CLOSE = 1e-9
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternAnswer:
    """The best stages with the codec of each tensor, None if none; no plan of the pattern takes less than `bound_s`."""

    placed: tuple[Placed, ...] | None
    codecs: Mapping[str, str]
    bound_s: float
    is_proven: bool
    seconds: float


class PatternProgram:
    """The program of one pattern, for plans below `below_s` (seconds)."""

    def __init__(self, prices: Prices, forms: Forms, reads: Reads, pattern: Pattern, below_s: float) -> None:
        self._prices, self._forms, self._pattern, self._below_s = prices, forms, pattern, below_s
        self._unit = AROUND / (below_s if np.isfinite(below_s) and below_s > 0 else max(pattern.bound_s, 1e-3))
        self._program, self._reads, self._least_s = Program(), reads, pattern.bound_s
        self._count, self._places = pattern.seconds.shape
        table = prices.table
        self._maker = table.producer[table.read_tensor]
        self._inner = np.flatnonzero(self._maker >= 0)
        self._given = np.flatnonzero(self._maker < 0)
        self._legs()
        self._ruled_out = not self._tie()

    def solve(self, seconds: float) -> PatternAnswer:
        """The best plan below `below_s`, or the proof that there is none, within `seconds`."""
        if self._ruled_out:
            return PatternAnswer(placed=None, codecs={}, bound_s=self._below_s, is_proven=True, seconds=0.0)
        self._stand()
        self._send()
        self._enter()
        self._times()
        self._answer()
        if self._pattern.width > 1:
            self._ready()
        columns = Columns(
            x=self._x, y=self._y, coded=self._coded, coded_in=self._coded_in, entered=self._entered, inputs=self._inputs
        )
        hold(self._program, self._prices.problem, self._pattern, self._x)
        keep_limits(self._program, self._prices, self._forms, self._pattern, columns)
        self._program.charge(self._end, 1.0)
        solved = self._program.solve(seconds=seconds, below=self._below_s * self._unit)
        bound_s = max(solved.bound / self._unit, min(self._least_s, self._below_s))
        if solved.values is None:
            placed, codecs = None, {}
        else:
            placed, codecs = self._placed(solved), self._codecs(solved)
        return PatternAnswer(
            placed=placed, codecs=codecs, bound_s=bound_s, is_proven=solved.is_proven, seconds=solved.seconds
        )

    def _placed(self, solved: Solved) -> tuple[Placed, ...]:
        assert solved.values is not None
        position = solved.values[self._x].argmax(axis=1)
        return tuple((site, np.flatnonzero(position == p)) for p, site in enumerate(self._pattern.sites))

    def _codecs(self, solved: Solved) -> dict[str, str]:
        assert solved.values is not None
        names, codecs, forms = self._prices.table.names, self._prices.codecs.names, self._forms
        used = solved.values[self._coded].sum(axis=1)
        used[self._inputs] = solved.values[self._coded_in[self._inputs]]
        chosen = {}
        for tensor in np.unique(forms.tensor).tolist():
            begin, end = int(forms.first[tensor]), int(forms.first[tensor + 1])
            chosen[names[tensor]] = codecs[int(forms.codec[begin + int(used[begin:end].argmax())])]
        return chosen

    def _legs(self) -> None:
        """Scaled seconds of every message that the pattern may send: fixed ones and per byte."""
        problem, sites = self._prices.problem, self._pattern.sites
        topology, profile = problem.topology, problem.profile

        def leg(source: NodeId, target: NodeId) -> tuple[float, float]:
            path = topology.path(source, target)
            if path is None:  # nothing that needs this way may stand there
                return 0.0, 0.0
            fixed_s, s_per_byte = path.propagation_s + profile.message_s, path.s_per_byte + profile.message_s_per_byte
            return fixed_s * self._unit, s_per_byte * self._unit

        self._slow = np.array([topology.node(site.node).slowdown for site in sites]) * self._unit
        self._call = np.array([call_s(problem, site) for site in sites]) * self._unit
        self._leg = [leg(sites[i].node, sites[j].node) for i, j in self._pattern.pairs]
        self._entry = [leg(problem.source, site.node) for site in sites]
        targets = sorted(set(problem.outputs_to.values()))
        self._back = {to: [leg(site.node, to) for site in sites] for to in targets}

    def _tie(self) -> bool:
        """Operators that no plan below `below_s` parts, as the read between them takes too long, go as one block.

        False if some operator has no place left, some stage no operator, or some pair no read.
        """
        problem, table, pattern = self._prices.problem, self._prices.table, self._pattern
        tensors, maker, reader = table.read_tensor[self._inner], self._maker[self._inner], table.reader[self._inner]
        before, after = ([pair[end] for pair in pattern.pairs] for end in (0, 1))
        self._over = self._least(self._leg, self._slow[before], self._slow[after]) + self._call[after]
        self._seconds = seconds = pattern.seconds * self._unit
        given = np.zeros(self._count, dtype=np.bool_)
        given[table.reader] = True
        entry, leg = (np.array([one[0] for one in legs], dtype=np.float64) for legs in (self._entry, self._leg))
        stages = Stages(pairs=pattern.pairs, entry=entry * given.all(), leg=leg, call=self._call)
        below = self._below_s * self._unit * (1 + CLOSE)
        self._parts = np.ones((len(tensors), len(pattern.pairs)), dtype=np.bool_)
        for _ in range(ROUNDS if self._reads.all_count else 0):  # what is ruled out makes the rest dearer
            least = least_of(seconds, self._reads, stages, self._over[tensors])
            self._least_s = max(self._least_s, float(least.place.min(axis=1).max()) / self._unit)
            seconds[least.place > below] = np.inf
            self._parts = least.read <= below
            if np.isinf(seconds).all(axis=1).any() or np.isinf(seconds).all(axis=0).any():
                return False
            if not self._parts.any(axis=0).all():
                return False
        block = np.arange(self._count)
        tied = ~self._parts.any(axis=1)
        index = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
        groups = [(index[a], index[b]) for group in problem.together for a, b in pairwise(group)]
        for u, v in [*zip(maker[tied].tolist(), reader[tied].tolist(), strict=True), *groups]:
            block[block == block[v]] = block[u]
        self._block = np.unique(block, return_inverse=True)[1]
        apart = self._block[maker] != self._block[reader]
        self._inner, self._parts, self._within = self._inner[apart], self._parts[apart], self._inner[~apart]
        return True

    def _stand(self) -> None:
        """Where operators stand: x[v, p], whole through z[v, p], which says that v stands after p."""
        program, count = self._program, int(self._block.max()) + 1
        out = np.zeros((count, self._places))
        np.add.at(out, self._block, np.isinf(self._seconds))
        self._seconds[np.isinf(self._seconds)] = 0.0
        x = program.columns((count, self._places), high=(out == 0).astype(np.float64))
        z = program.columns((count, self._places - 1), whole=True)
        one = np.ones(count)
        if self._places == 1:
            program.rows([x[:, 0]], [1.0], low=one)
        else:
            program.rows([x[:, 0], z[:, 0]], [1.0, 1.0], low=one, high=1.0)
            for p in range(1, self._places - 1):
                program.rows([x[:, p], z[:, p - 1], z[:, p]], [1.0, -1.0, 1.0], low=0 * one, high=0.0)
            program.rows([x[:, -1], z[:, -1]], [1.0, -1.0], low=0 * one, high=0.0)
        for p in range(self._places):
            program.row(x[:, p], 1.0, low=1.0)
        self._x = x[self._block]

    def _send(self) -> None:
        """What each read moves over each pair; what that codes, once, where a tensor leaves."""
        program, forms, pairs, x, table = self._program, self._forms, self._pattern.pairs, self._x, self._prices.table
        tensors, maker, reader = table.read_tensor[self._inner], self._maker[self._inner], table.reader[self._inner]
        moved = self._moved = program.columns((len(tensors), len(pairs)), high=self._parts.astype(np.float64))
        self._columns(tensors)
        y, coded = self._y, self._coded
        for p in range(self._places):
            out = [k for k, (i, _) in enumerate(pairs) if i == p]
            into = [moved[:, k] for k, (_, j) in enumerate(pairs) if j == p]
            gone = [moved[:, k] for k in out]
            signs = [1.0, -1.0, *(-1.0 for _ in into), *(1.0 for _ in out)]
            program.rows([x[reader, p], x[maker, p], *into, *gone], signs, low=0.0, high=0.0)
            program.rows([x[maker, p], *gone], [-1.0, *(1.0 for _ in out)], high=0.0)
            for k in out:
                program.rows([coded[self._chosen, p], y[self._chosen, k]], [1.0, -1.0], low=0.0)
            for mine, each in self._by_choices(tensors, self._chosen):
                leaves = [one[mine] for one in gone]
                program.rows([*coded[each, p].T, *leaves], [*[1.0] * each.shape[1], *(-1.0 for _ in out)], low=0.0)
        for k in range(len(pairs)):
            program.row(moved[:, k], 1.0, low=1.0)  # else it is another pattern's plan
            for mine, each in self._by_choices(tensors, ~self._is_read):
                program.rows([moved[mine, k], *y[each, k].T], [-1.0, *[1.0] * each.shape[1]], low=0.0)
        self._choose(np.unique(forms.tensor[self._chosen]), high=0.0)
        self._choose(table.outputs, low=0.0)

    def _columns(self, tensors: Ints) -> None:
        """Columns for tensors under codecs: y over pairs, coded in stages; a read's own or x where they suffice."""
        program, forms, table = self._program, self._forms, self._prices.table
        shape, alone = (len(forms.tensor), len(self._pattern.pairs)), forms.counts(forms.tensor) == 1
        reads = np.bincount(tensors, minlength=len(table.names))
        self._is_read = alone & (reads[forms.tensor] == 1)
        leaving = (table.producer[forms.tensor] >= 0) & (reads[forms.tensor] > 0)
        given = np.isin(forms.tensor, table.outputs)
        nothing = program.columns(1, high=0.0)
        self._y = np.full(shape, nothing[0])
        of = np.zeros(len(table.names), dtype=np.int64)
        of[tensors] = np.arange(len(tensors))
        self._y[self._is_read] = self._moved[of[forms.tensor[self._is_read]]]
        own = leaving & ~self._is_read
        self._y[own] = program.columns(self._y[own].shape)
        self._coded = np.full((len(forms.tensor), self._places), nothing[0])
        self._coded[alone & given] = self._x[table.producer[forms.tensor[alone & given]]]
        free = alone & (given | (forms.encode_s == 0))
        self._chosen = (leaving | given) & ~free
        for some, whole in ((self._chosen & ~alone, True), (self._chosen & alone, False)):
            self._coded[some] = program.columns(self._coded[some].shape, whole=whole)

    def _choose(self, tensors: Ints, *, low: float = -np.inf, high: float = np.inf) -> None:
        """Σ codings of a tensor in a stage against whether it is made there: at most one, or, of an output, one."""
        producer = self._prices.table.producer
        for p in range(self._places):
            for mine, each in self._by_choices(tensors, self._chosen):
                made = self._x[producer[tensors[mine]], p]
                choices = [*self._coded[each, p].T, made]
                self._program.rows(choices, [*[1.0] * each.shape[1], -1.0], low=low, high=high)

    def _by_choices(self, tensors: Ints, asked: Bools | None = None) -> list[tuple[Ints, Ints]]:
        """Places in `tensors` with, a row for each, its forms; by how many they have. `asked`: of these forms only."""
        counts = self._forms.counts(tensors)
        if asked is not None:
            counts = np.where(asked[self._forms.first[tensors]], counts, 0)
        groups = [(np.flatnonzero(counts == count), count) for count in np.unique(counts).tolist() if count]
        return [(mine, self._forms.of(tensors[mine], count)) for mine, count in groups]

    def _enter(self) -> None:
        """What the router sends: inputs to each stage that reads them, each under one codec."""
        program, forms, x, table = self._program, self._forms, self._x, self._prices.table
        tensors, reader = table.read_tensor[self._given], table.reader[self._given]
        self._inputs = np.flatnonzero(table.producer[forms.tensor] < 0)
        self._entered = program.columns((len(forms.tensor), self._places))
        self._coded_in = program.columns(len(forms.tensor), whole=True)
        self._asked = program.columns(self._places)
        for p in range(self._places):
            program.rows([self._coded_in[self._inputs], self._entered[self._inputs, p]], [1.0, -1.0], low=0.0)
            program.rows([np.broadcast_to(self._asked[p], reader.shape), x[reader, p]], [1.0, -1.0], low=0.0)
            for mine, each in self._by_choices(tensors):
                signs = [-1.0, *[1.0] * each.shape[1]]
                program.rows([x[reader[mine], p], *(self._entered[one, p] for one in each.T)], signs, low=0.0)
        for _, each in self._by_choices(np.unique(forms.tensor[self._inputs])):
            program.rows([self._coded_in[one] for one in each.T], [1.0] * each.shape[1], low=1.0, high=1.0)

    def _times(self) -> None:
        """Each stage starts when all it reads is there and decoded and its node is free, and ends with its encoding."""
        program, forms, pairs = self._program, self._forms, self._pattern.pairs
        self._start, self._finish, decode = (program.columns(self._places, high=np.inf) for _ in range(3))
        self._end = program.columns(1, high=np.inf)
        encode = forms.encode_s[self._inputs] * ROUTER_SLOWDOWN * self._unit
        most = float(encode.sum())  # of the router's encoding, for stages that it sends nothing
        for p in range(self._places):
            into = [self._y[:, k] for k, (_, j) in enumerate(pairs) if j == p]
            columns = [decode[p : p + 1], *into, self._entered[self._inputs, p]]
            values = [np.ones(1), *(-forms.decode_s * self._slow[p] for _ in into)]
            program.row(*flat(columns, [*values, -forms.decode_s[self._inputs] * self._slow[p]]), low=0.0)
            columns = [self._finish[p : p + 1], self._start[p : p + 1], self._x[:, p], self._coded[:, p]]
            values = [np.ones(1), -np.ones(1), -self._seconds[:, p], -forms.encode_s * self._slow[p]]
            program.row(*flat(columns, values), low=self._call[p])
            fixed, per_byte = self._entry[p]
            columns = [self._start[p : p + 1], decode[p : p + 1], self._asked[p : p + 1]]
            values = [np.ones(1), -np.ones(1), np.array([-fixed - most])]
            columns += [self._entered[self._inputs, p], self._coded_in[self._inputs]]
            program.row(*flat(columns, [*values, -forms.nbytes[self._inputs] * per_byte, -encode]), low=-most)
        for k, (i, j) in enumerate(pairs):
            fixed, per_byte = self._leg[k]
            columns = [self._start[j : j + 1], self._finish[i : i + 1], decode[j : j + 1], self._y[:, k]]
            values = [np.ones(1), -np.ones(1), -np.ones(1), -forms.nbytes * per_byte]
            program.row(*flat(columns, values), low=fixed)
        nodes = [site.node for site in self._pattern.sites]
        for i, j in combinations(range(self._places), 2):
            if nodes[i] == nodes[j]:
                program.rows([self._start[j : j + 1], self._finish[i : i + 1]], [1.0, -1.0], low=0.0)

    def _answer(self) -> None:
        """The end: every message of outputs there and decoded. A stage from which nothing comes may end later."""
        program, forms, table = self._program, self._forms, self._prices.table
        late = 0.0 if self._reads.all_count else self._horizon()
        to_of = np.array([self._prices.problem.outputs_to[table.names[one]] for one in table.outputs.tolist()])
        for to in sorted(set(to_of.tolist())):
            outputs = table.outputs[to_of == to]
            mine = np.flatnonzero(np.isin(forms.tensor, outputs))
            for p, (fixed, per_byte) in enumerate(self._back[to]):
                sends = program.columns(1)
                made = self._x[table.producer[outputs], p]
                program.rows([np.broadcast_to(sends, made.shape), made], [1.0, -1.0], low=0.0)
                columns = [self._end, self._finish[p : p + 1], sends, self._coded[mine, p]]
                each = forms.nbytes[mine] * per_byte + forms.decode_s[mine] * ROUTER_SLOWDOWN * self._unit
                values = [np.ones(1), -np.ones(1), np.array([-fixed - late]), -each]
                program.row(*flat(columns, values), low=-late)

    def _horizon(self) -> float:
        """Scaled seconds within which every stage ends, wherever operators stand: all there is, one after the other."""
        forms, legs = self._forms, [*self._leg, *self._entry]
        fixed, per_byte = (max((leg[k] for leg in legs), default=0.0) for k in (0, 1))
        tensors = float(((forms.encode_s + forms.decode_s * self._places) * self._slow.max()).sum())
        bytes_s = float(forms.nbytes.sum()) * per_byte * len(legs)
        return float(self._seconds.max(axis=1).sum() + self._call.sum()) + tensors + bytes_s + fixed * len(legs)

    def _ready(self) -> None:
        """When each operator is ready at the earliest, and that the answer is no sooner."""
        program, table, x = self._program, self._prices.table, self._x
        ready = program.columns(self._count, high=np.inf)
        for reads, moved in ((self._inner, self._moved), (self._within, None)):
            maker, reader = self._maker[reads], table.reader[reads]
            columns = [ready[reader], ready[maker], *x[reader].T, *(() if moved is None else moved.T)]
            over = self._over[table.read_tensor[reads]] if moved is not None else np.zeros((len(reads), 0))
            program.rows(columns, [1.0, -1.0, *(-self._seconds[reader]).T, *(-over).T], low=0.0)
        router = np.full(self._places, ROUTER_SLOWDOWN * self._unit)
        entry = self._least(self._entry, router, self._slow)[table.read_tensor[self._given]] + self._call
        given = table.reader[self._given]
        program.rows([ready[given], *x[given].T], [1.0, *(-self._seconds[given] - entry).T], low=0.0)
        for to, legs in self._back.items():
            outputs = [one for one in table.outputs.tolist() if self._prices.problem.outputs_to[table.names[one]] == to]
            back = self._least(legs, self._slow, router)[outputs]
            producer = table.producer[outputs]
            end = np.broadcast_to(self._end, producer.shape)
            program.rows([end, ready[producer], *x[producer].T], [1.0, -1.0, *(-back).T], low=0.0)

    def _least(self, legs: Sequence[tuple[float, float]], encode: Floats, decode: Floats) -> Floats:
        """[tensor, leg]: what a message of this tensor alone takes under its best codec, coding at these paces."""
        forms = self._forms
        fixed, per_byte = np.array(legs, dtype=np.float64).reshape(-1, 2).T
        each = np.outer(forms.encode_s, encode) + np.outer(forms.nbytes, per_byte) + np.outer(forms.decode_s, decode)
        least = np.full((len(self._prices.table.names), len(legs)), np.inf)
        np.minimum.at(least, forms.tensor, each)
        return least + fixed
