"""Best first over chains and, where one cut does not settle a chain, over where single operators stand.

Each box of the search gives every operator a range of positions. One cut bounds the box from below and offers
one plan, whose true price cost.py tells. Price and bound agree (the box is settled) or a term says where the
bound was loose: the box is split at that operator's position into up to three boxes, and there the bound is
tighter. A box whose bound reaches the best price so far is closed. It stops when no box is left, or when the
effort is spent, and says how low an answer could still be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count, product

import numpy as np

from partitioner.cost import additive_latency_s
from partitioner.errors import InvalidProblem
from partitioner.messages import carry
from partitioner.problem import Site
from partitioner.search.chains import Chain
from partitioner.search.cut import Cut, CutProblem, Sharing, solve_cut
from partitioner.search.memory import Weights, excess, limits, weights_of
from partitioner.search.terms import Terms, terms_of
from partitioner.stages import Placed
from partitioner.tables import Floats, Ints, Prices
from partitioner.topology import NodeId

CLOSE = 1e-9  # relative: prices this near are the same
STEPS = 25  # of the memory price, before branching
CUT_EFFORT = 300  # what any cut takes besides its vertices, in vertices


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plan found: its stages, and its latency under the additive model."""

    placed: tuple[Placed, ...]
    latency_s: float

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that run something, in order."""
        return tuple(site for site, _ in self.placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best candidate of each row of sites seen, and what no plan of the chains searched can beat."""

    candidates: tuple[Candidate, ...]  # fastest first
    bound_s: float  # infinite if nothing fits
    cuts: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Box:
    """Ranges of positions, which middle stages may return outputs, and the price of a byte of weights."""

    chain: Chain
    low: Ints
    high: Ints
    bound_s: float
    returning: frozenset[tuple[NodeId, int]]
    byte_s: tuple[float, ...] | None = None  # per position; None until weights did not fit


@dataclass(slots=True)
class _Search:
    prices: Prices
    weights: Weights
    most: Mapping[Site, int | None]  # bytes of weights
    effort: int
    best: dict[tuple[Site, ...], Candidate] = field(default_factory=dict)
    best_s: float = np.inf
    cuts: int = 0

    def limits(self, chain: Chain) -> tuple[int | None, ...]:
        """Bytes of weights that each site of the chain holds at most."""
        return tuple(self.most[site] for site in chain.sites)

    def keep(self, candidate: Candidate) -> None:
        """Keep the candidate if it is the best of its sites."""
        known = self.best.get(candidate.sites)
        if known is None or candidate.latency_s < known.latency_s:
            self.best[candidate.sites] = candidate
            self.best_s = min(self.best_s, candidate.latency_s)


def unsplit(prices: Prices, chains: Sequence[Chain]) -> tuple[Candidate, ...]:
    """The plan of each chain of a single site that holds all weights, fastest first."""
    everything = np.arange(len(prices.problem.graph.operators), dtype=np.int64)
    placed = [((chain.sites[0], everything),) for chain in chains if len(chain.sites) == 1]
    most = limits(prices.problem)
    fitting = [one for one in placed if most[one[0][0]] is None]
    found = [Candidate(placed=one, latency_s=additive_latency_s(prices, one)) for one in fitting]
    return tuple(sorted(found, key=lambda one: one.latency_s))


def search(prices: Prices, chains: Sequence[Chain], *, effort: int, known: Sequence[Candidate] = ()) -> Found:
    """The best plan over these chains and those known; chains that cannot beat the best are left unsearched.

    `effort` bounds the work, in vertices of all cuts together; what is left undone then shows in `bound_s`.
    """
    problem = prices.problem
    state = _Search(prices=prices, weights=weights_of(problem), most=limits(problem), effort=effort)
    for one in known:
        state.keep(one)
    order = count()
    heap: list[tuple[float, int, _Box]] = []
    for chain in chains:
        for box in _roots(state, chain):
            heappush(heap, (box.bound_s, next(order), box))
    left_s = np.inf  # lowest bound of what was closed without being settled
    while heap:
        bound_s, _, box = heap[0]
        if bound_s >= state.best_s * (1 - CLOSE) or state.effort <= 0:
            left_s = bound_s
            break
        heappop(heap)
        for child in _expand(state, box):
            heappush(heap, (child.bound_s, next(order), child))
    candidates = sorted(state.best.values(), key=lambda one: one.latency_s)
    return Found(candidates=tuple(candidates), bound_s=min(left_s, state.best_s), cuts=state.cuts)


def _roots(state: _Search, chain: Chain) -> Iterator[_Box]:
    """The whole chain as boxes, one for each choice of which middle stages may return outputs.

    A return message's fixed seconds are paid once per stage that returns. At the first and the last position
    one vertex charges them once; at a middle one no cut can, so it either may return, and pays, or may not.
    """
    prices, seconds = state.prices, chain.seconds.copy()
    for position, most in enumerate(state.limits(chain), start=1):
        if most is not None:
            seconds[state.weights.whole_bytes > most, position - 1] = np.inf
    allowed = np.isfinite(seconds)
    if not allowed.any(axis=1).all():
        return
    places = seconds.shape[1]
    low = 1 + allowed.argmax(axis=1)
    high = places - allowed[:, ::-1].argmax(axis=1)
    middle = [(to, at) for to, group in _returned(prices).items() if len(group) > 1 for at in range(2, places)]
    box = _Box(
        chain=replace(chain, seconds=seconds),
        low=low,
        high=high,
        bound_s=chain.bound_s,
        returning=frozenset(),
    )
    for chosen in product((False, True), repeat=len(middle)):
        yield replace(box, returning=frozenset(one for one, on in zip(middle, chosen, strict=True) if on))


def _returned(prices: Prices) -> dict[NodeId, Ints]:
    """Operators that make model outputs, by the node these return to."""
    groups: dict[NodeId, set[int]] = {}
    for tensor in prices.table.outputs.tolist():
        to = prices.problem.outputs_to[prices.table.names[tensor]]
        groups.setdefault(to, set()).add(int(prices.table.producer[tensor]))
    return {to: np.array(sorted(group), dtype=np.int64) for to, group in sorted(groups.items())}


def _expand(state: _Search, box: _Box) -> list[_Box]:
    """Solve the box's cut, keep its plan if it is one, and return the boxes that remain to be searched."""
    solved = _relax(state, box)
    if solved is None:
        return []
    cut, terms, bound_s = solved
    limit = state.limits(box.chain)
    over = excess(state.weights, limit, cut.position_of)
    if over is not None and box.byte_s is None:
        priced = _price_memory(state, box, (cut, terms, bound_s))
        if priced is None:
            return []
        box, cut, terms, bound_s = priced
        over = excess(state.weights, limit, cut.position_of)
    if over is None:
        _keep(state, box, cut.position_of)
    bound_s = max(bound_s, box.bound_s)
    if bound_s >= state.best_s * (1 - CLOSE):
        return []
    at = _loosest(state, box, cut.position_of, terms)
    if at is None:
        at = _heaviest(state, box, cut.position_of, None if over is None else over[0])
    return [] if at is None else _split(box, at, int(cut.position_of[at]), bound_s)


def _relax(state: _Search, box: _Box) -> tuple[Cut, Terms, float] | None:
    """The box's cut, its terms and its bound in seconds; None if the box holds no plan below the best price."""
    prices, chain = state.prices, box.chain
    terms = terms_of(prices, chain.route, box.low, box.high)
    seconds = chain.seconds.copy()
    producer = prices.table.producer[prices.table.outputs]
    for row, tensor in zip(producer.tolist(), prices.table.outputs.tolist(), strict=True):
        seconds[row] += terms.own[1:, tensor]
    sharing, fixed_s = _returns(prices, box, seconds)
    for position, byte_s in enumerate(box.byte_s or (), start=1):
        if byte_s:
            seconds[:, position - 1] += byte_s * state.weights.share_bytes
            fixed_s -= byte_s * (state.limits(chain)[position - 1] or 0)
    problem = CutProblem(
        table=prices.table, seconds=seconds, low=box.low, high=box.high, step=terms.step, sharing=sharing
    )
    state.cuts += 1
    state.effort -= seconds.size + CUT_EFFORT
    fixed_s += chain.fixed_s + float(terms.step[1].sum())  # inputs ride to the first stage wherever they are read
    cut = solve_cut(problem, below_s=state.best_s - fixed_s)
    return None if cut is None else (cut, terms, cut.bound_s + fixed_s)


def _returns(prices: Prices, box: _Box, seconds: Floats) -> tuple[tuple[Sharing, ...], float]:
    """Put the return messages' fixed seconds into `seconds` where possible; the rest shared, or paid at once."""
    route, places = box.chain.route, seconds.shape[1]
    sharing, fixed_s = [], 0.0
    for to, group in _returned(prices).items():
        back_s = [route.back_fixed_s(to, position) for position in range(1, places + 1)]
        if len(group) == 1:
            seconds[group[0]] += back_s
            continue
        for position in range(2, places):
            if (to, position) in box.returning:
                fixed_s += back_s[position - 1]
            else:
                seconds[group, position - 1] = np.inf
        for position in sorted({1, places}):
            if np.isfinite(back_s[position - 1]):  # elsewhere no output can be made
                sharing.append(Sharing(operators=group, seconds=back_s[position - 1], at_last=position == places))
    return tuple(sharing), fixed_s


def _keep(state: _Search, box: _Box, position_of: Ints) -> None:
    """Price the plan for what it is, empty stages left out, and keep it if it is its sites' best."""
    members = [np.flatnonzero(position_of == position) for position in range(1, len(box.chain.sites) + 1)]
    placed = tuple((site, some) for site, some in zip(box.chain.sites, members, strict=True) if len(some))
    try:
        state.keep(Candidate(placed=placed, latency_s=additive_latency_s(state.prices, placed)))
    except InvalidProblem:  # without its empty stages the chain may have no way: no plan
        return


def _loosest(state: _Search, box: _Box, position_of: Ints, terms: Terms) -> int | None:
    """The unsettled operator at the tensor whose price the bound missed most: its producer, else a reader."""
    table = state.prices.table
    worst_s, at = 0.0, None
    for one in carry(state.prices, box.chain.route, position_of):
        last = one.read_at[-1] if one.read_at else one.position
        bound_s = terms.own[one.position, one.tensor] + terms.step[one.position + 1 : last + 1, one.tensor].sum()
        missed_s = one.seconds - float(bound_s)
        if missed_s <= max(worst_s, CLOSE * one.seconds):
            continue
        producer = int(table.producer[one.tensor])
        near = [producer] if producer >= 0 else []
        near.extend(table.reader[table.read_tensor == one.tensor].tolist())
        loose = [i for i in near if box.low[i] < box.high[i]]
        if loose:
            worst_s, at = missed_s, loose[0]
    return at


def _heaviest(state: _Search, box: _Box, position_of: Ints, over: int | None) -> int | None:
    """The unsettled operator with most weights, at the overfull position if there is one."""
    loose = box.low < box.high
    if over is not None:
        loose &= position_of == over
    if not loose.any():
        return None
    return int(np.where(loose, state.weights.share_bytes, -1.0).argmax())


def _split(box: _Box, at: int, position: int, bound_s: float) -> list[_Box]:
    """The box in up to three: operator `at` below, at, and above the position."""
    boxes = []
    for low, high in ((int(box.low[at]), position - 1), (position, position), (position + 1, int(box.high[at]))):
        if low <= high:
            lows, highs = box.low.copy(), box.high.copy()
            lows[at], highs[at] = low, high
            boxes.append(replace(box, low=lows, high=highs, bound_s=bound_s))
    return boxes


def _price_memory(state: _Search, box: _Box, solved: tuple[Cut, Terms, float]) -> tuple[_Box, Cut, Terms, float] | None:
    """Raise the price of weights where they do not fit (Polyak's subgradient steps): the box of the best bound.

    None if that bound reached the best price known, so that nothing is left to find in the box.
    """
    limit = state.limits(box.chain)
    best = (replace(box, byte_s=(0.0,) * len(limit)), *solved)
    target_s = state.best_s if np.isfinite(state.best_s) else 2 * solved[2]
    cut, bound_s, byte_s = solved[0], solved[2], np.zeros(len(limit))
    for step in range(STEPS):
        slope = np.array([_over_bytes(state, cut, at, most) for at, most in enumerate(limit, start=1)])
        slope = np.where((byte_s <= 0) & (slope < 0), 0.0, slope)
        square = float(slope @ slope)
        if not square or state.effort <= 0:
            break
        stride = max(target_s - bound_s, 0.05 * abs(bound_s)) / square
        byte_s = np.maximum(0.0, byte_s + stride * slope / (1 + step / 8))
        trial = replace(box, byte_s=tuple(byte_s.tolist()))
        relaxed = _relax(state, trial)
        if relaxed is None:
            return None
        cut, bound_s = relaxed[0], relaxed[2]
        if excess(state.weights, limit, cut.position_of) is None:
            _keep(state, trial, cut.position_of)
            target_s = min(target_s, state.best_s)
        if bound_s > best[3]:
            best = (trial, *relaxed)
    return best


def _over_bytes(state: _Search, cut: Cut, position: int, most: int | None) -> float:
    if most is None:
        return 0.0
    return float(state.weights.share_bytes[cut.position_of == position].sum()) - most
