"""What may stand before and after a plan's second stage, with bounds; and how fast a chain and its crews could be.

A resource's load is a sum of what depends on I alone (run by the first stage) and on J alone (run by the first two),
but for coding at the second stage, which is left out here, and each leg may have its own codecs: so these are lower
bounds. They are exact where nothing is serialised, as every resource then does best with the fewest bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from partitioner.cost import call_s
from partitioner.problem import Site
from partitioner.search.chains import Chain
from partitioner.search.cut import CutProblem, solve_cut
from partitioner.search.memory import limits
from partitioner.search.relay_ideals import Ground, Ideals
from partitioner.search.relay_kernels import Rates, Sides, edge_sums
from partitioner.search.replicas import Crew
from partitioner.tables import Bools, Floats, Ints

SHARES = 12  # of the work between places, tried for a bound


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """A chain of sites with the crew of each. `barred[p-1, e]`: element e may not be at position p."""

    chain: Chain
    crews: tuple[Crew, ...]
    rates: Rates
    barred: Bools
    bound_s: float  # no plan of this way answers more often


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Ideals that I and J may be, with what each adds to resource r at least: `first_s[r, i]`, `second_s[r, j]`."""

    first: Ints
    second: Ints
    first_s: Floats
    second_s: Floats
    most_bytes: float  # that the second stage may hold

    @property
    def least_s(self) -> float:
        """No pair takes less; infinite where there is none."""
        if not len(self.first) or not len(self.second):
            return np.inf
        return float((self.first_s.min(axis=1) + self.second_s.min(axis=1)).max())


def barred_places(ground: Ground, chain: Chain, crews: tuple[Crew, ...]) -> Bools:
    """Where elements may not be: as the chain says, and nothing that is pinned is on a stage of several nodes."""
    operators = np.isinf(chain.seconds).T
    pinned = [operator.name in ground.prices.problem.pinned for operator in ground.prices.problem.graph.operators]
    for position, crew in enumerate(crews):
        if len(crew) > 1:
            operators[position] |= np.array(pinned)
    barred = np.zeros((len(crews), len(ground.elements.members)), dtype=np.bool_)
    for position, row in enumerate(operators):
        np.logical_or.at(barred[position], ground.element_of, row)
    return barred


def balance_s(ground: Ground, chain: Chain, crews: tuple[Crew, ...], barred: Bools) -> float:
    """No plan has a smaller load: each element at its best place, and any weighted mean of the stages' seconds."""
    problem, elements = ground.prices.problem, len(ground.elements.members)
    rows, calls = [], []
    for site, crew in zip(chain.sites, crews, strict=True):
        operator_s = ground.prices.operator_s[site]
        finite = np.where(np.isfinite(operator_s), operator_s, 0.0)
        rows.append(np.bincount(ground.element_of, weights=finite, minlength=elements) / len(crew))
        calls.append(call_s(problem, site) / len(crew))
    seconds, call = np.where(barred, np.inf, np.stack(rows)), np.array(calls)
    best = float(seconds.min(axis=0).max(initial=0.0))
    share = np.full(len(seconds), 1 / len(seconds))
    for _ in range(SHARES):
        weighted = seconds * share[:, None]
        place = weighted.argmin(axis=0)
        best = max(best, float(weighted.min(axis=0).sum() + share @ call))
        loads = np.bincount(place, weights=seconds[place, np.arange(elements)], minlength=len(share)) + call
        share = share * np.sqrt((loads + 1e-30) / (loads.max() + 1e-30) + 1e-3)
        share /= share.sum()
    return best


def crossing_s(ground: Ground, way: Way) -> float:
    """No plan has a smaller load: what the inputs take to come in, and the fewest bytes that cross each boundary."""
    table, rates, places = ground.prices.table, way.rates, len(way.crews)
    inputs = np.flatnonzero(table.producer < 0)
    read = inputs[np.diff(ground.tensors.reader_start)[inputs] > 0]
    loads = rates.fixed + _each_s(ground, read, rates.leg[1], rates.encode[1], None).sum(axis=0)
    allowed = ~way.barred[:, ground.element_of].T
    lowest, highest = 1 + allowed.argmax(axis=1), places - allowed[:, ::-1].argmax(axis=1)
    step = np.stack([np.zeros_like(ground.least_bytes), np.zeros_like(ground.least_bytes), ground.least_bytes])
    for place in range(2, places + 1):
        low, high = 1 + (lowest >= place), 1 + (highest >= place)
        cut = solve_cut(CutProblem(table=table, seconds=np.zeros((len(low), 2)), low=low, high=high, step=step))
        if cut is None:
            return np.inf
        loads = loads + max(0.0, cut.bound_s) * rates.leg[place]
    return float(loads.max())


def bounds_of(ground: Ground, way: Way, ideals: Ideals) -> Bounds:
    """What may be I and J, and the loads that each brings."""
    first, second, most_bytes = _allowed(ground, way, ideals)
    first_s, second_s = _first_s(ground, way, ideals, first), _second_s(ground, way, ideals, second)
    return Bounds(first=first, second=second, first_s=first_s, second_s=second_s, most_bytes=most_bytes)


def sides_of(way: Way, ideals: Ideals, bounds: Bounds, below_s: float) -> Sides:
    """The sides of pairs whose bound may be below `below_s`."""
    kept = [np.arange(len(bounds.first)), np.arange(len(bounds.second))]
    rows = (bounds.first_s, bounds.second_s)
    least = [table.min(axis=1, initial=np.inf) for table in rows]
    for side in (0, 1, 0):  # what the one side lost may cost the other some more
        for mine, other_s in zip(rows[side], least[1 - side], strict=True):
            kept[side] = kept[side][mine[kept[side]] + other_s < below_s]
        least[side] = rows[side][:, kept[side]].min(axis=1, initial=np.inf)
    return _sides(way, ideals, bounds, (kept[0], kept[1]))


def _allowed(ground: Ground, way: Way, ideals: Ideals) -> tuple[Ints, Ints, float]:
    """Ideals that I and J may be, and the bytes that the second stage may hold."""
    bits, places = ideals.edges.bits, len(way.crews)
    barred = [mask_of(row, bits.shape[1]) for row in way.barred]
    most = limits(ground.prices.problem)
    rooms = [np.inf if (room := most[site]) is None else float(room) for site in way.chain.sites]
    last, weights = len(bits) - 1, ideals.weight_bytes
    everything = np.array([last], dtype=np.int64)
    inner = np.arange(1, last, dtype=np.int64) if places > 1 else everything
    first = inner[~(bits[inner] & barred[0]).any(axis=1)]
    if weights is not None:
        first = first[weights[0, first] <= rooms[0]]
    if places == 2:
        first = first[~(bits[last] & ~bits[first] & barred[1]).any(axis=1)]
        if weights is not None:
            first = first[weights[1, first] <= rooms[1]]
    second = everything
    if places == 3:
        second = inner[~(bits[last] & ~bits[inner] & barred[2]).any(axis=1)]
        if weights is not None:
            second = second[weights[1, second] <= rooms[2]]
    return first, second, rooms[1] if places == 3 else np.inf


def mask_of(elements: Bools, words: int) -> Ints:
    """A set of elements as a row of bits."""
    mask = np.zeros(words, dtype=np.uint64)
    for element in np.flatnonzero(elements).tolist():
        mask[element >> 6] |= np.uint64(1) << np.uint64(element & 63)
    return mask  # type: ignore[return-value]


def _done_s(way: Way, ideals: Ideals, position: int) -> Floats:
    sites: tuple[Site, ...] = way.chain.sites
    return ideals.done_s[sites[position - 1]] if position <= len(sites) else np.zeros(len(ideals.crossing_bytes))


def done_table(way: Way, ideals: Ideals) -> Floats:
    """`[p, i]`: seconds of everything in ideal i at position p; zeros where there is no such position."""
    return np.stack([np.zeros(len(ideals.crossing_bytes)), *(_done_s(way, ideals, position) for position in (1, 2, 3))])


def _first_s(ground: Ground, way: Way, ideals: Ideals, some: Ints) -> Floats:
    """`[r, i]`: what depends on I, with everything that depends on neither."""
    rates = way.rates
    back = [_back_s(ground, way, place) for place in (1, 2)]
    terms = [
        (rates.stage[1], _done_s(way, ideals, 1)[some]),
        (-rates.stage[2], _done_s(way, ideals, 2)[some]),
        *((back[0][output] - back[1][output], row[some]) for output, row in enumerate(ideals.made)),
    ]
    inputs = ideals.edges.tensors[: ideals.edges.start[1]]
    entering_s = _each_s(ground, inputs, rates.leg[1], rates.encode[1], None).sum(axis=0)
    return _summed(terms, rates.fixed + entering_s, len(some)) + _leg_s(ground, way, ideals, 2, some)


def _second_s(ground: Ground, way: Way, ideals: Ideals, some: Ints) -> Floats:
    """`[r, j]`: what depends on J."""
    rates = way.rates
    last_s = _done_s(way, ideals, 3)
    back = [_back_s(ground, way, place) for place in (2, 3)]
    terms = [
        (rates.stage[2], _done_s(way, ideals, 2)[some]),
        (rates.stage[3], last_s[-1] - last_s[some]),
        *((back[0][output], row[some]) for output, row in enumerate(ideals.made)),
        *((back[1][output], 1 - row[some]) for output, row in enumerate(ideals.made)),
    ]
    return _summed(terms, np.zeros(len(rates.fixed)), len(some)) + _leg_s(ground, way, ideals, 3, some)


def _leg_s(ground: Ground, way: Way, ideals: Ideals, place: int, some: Ints) -> Floats:
    """`[r, i]`: what the message to `place` takes at least.

    All that the first stage sends on, but for inputs, it also encodes; and the last stage decodes all that it receives.
    """
    rates, tensors = way.rates, ground.tensors
    if not ground.prices.problem.serialised:
        found: Floats = np.outer(rates.leg[place], ideals.crossing_bytes[some])
        return found
    decode = rates.decode[place] if place == len(way.crews) else None
    every = np.arange(len(tensors.owner))
    passed = _each_s(ground, every, rates.leg[place], None, decode)
    encoded = _each_s(ground, every, rates.leg[place], rates.encode[place], decode) if place == 2 else passed
    sums: Floats = edge_sums(ideals.edges, some, np.where(tensors.owner[:, None] < 0, passed, encoded))
    return sums


def _back_s(ground: Ground, way: Way, place: int) -> Floats:
    """`[output, r]`: what each output takes at least to return from a place; who reads it too may need it encoded."""
    rates, outputs = way.rates, ground.tensors.outputs
    found = np.zeros((len(outputs), len(rates.fixed)))
    for row, tensor in enumerate(outputs.tolist()):
        to = ground.tensors.returns_to[tensor]
        alone = np.array([tensor], dtype=np.int64)
        found[row] = _each_s(ground, alone, rates.back[to, place], None, rates.back_decode[to, place])[0]
    return found


def _each_s(ground: Ground, some: Ints, per_byte: Floats, encode: Floats | None, decode: Floats | None) -> Floats:
    """`[tensor, r]`: what carrying a tensor takes of a resource under the codec that does best there."""
    tensors = ground.tensors
    coded, raw = tensors.coded_bytes[:, some, None], tensors.raw_bytes[some, None]
    allowed = np.isfinite(coded)
    each = np.where(allowed, coded, 0.0) * per_byte
    if encode is not None:
        each = each + tensors.encode_s[:, some, None] * raw * encode
    if decode is not None:
        each = each + tensors.decode_s[:, some, None] * raw * decode
    least: Floats = np.where(allowed, each, np.inf).min(axis=0)
    return least


def _summed(terms: Sequence[tuple[Floats, Floats]], fixed: Floats, count: int) -> Floats:
    """`[r, i]`: the sum of each term's rate[r] · amount[i]. Most rates are zero, and are passed over."""
    found = np.repeat(fixed[:, None], count, axis=1)
    for rate, amount in terms:
        for r in np.flatnonzero(rate).tolist():
            found[r] += rate[r] * amount
    return found


def _sides(way: Way, ideals: Ideals, bounds: Bounds, kept: tuple[Ints, Ints]) -> Sides:
    bits = ideals.edges.bits
    key = _done_s(way, ideals, 2) / (len(way.crews[1]) if len(way.crews) > 1 else 1)
    first, second = bounds.first[kept[0]], bounds.second[kept[1]]
    order = key[second].argsort(kind="stable")
    second = second[order]
    held = np.zeros(len(bits)) if ideals.weight_bytes is None else ideals.weight_bytes[0]
    middle = way.barred[1] if len(way.crews) > 1 else np.zeros(way.barred.shape[1], dtype=np.bool_)
    return Sides(
        first,
        second,
        np.ascontiguousarray(bounds.first_s[:, kept[0]].T),
        np.ascontiguousarray(bounds.second_s[:, kept[1][order]].T),
        key[first],
        key[second],
        held[first],
        held[second],
        mask_of(middle, bits.shape[1]),
        bounds.most_bytes,
    )
