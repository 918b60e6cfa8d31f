"""The largest throughput of a pipeline: contiguous pieces of the graph on pools of devices, exactly.

Dynamic programming over the ideals of the graph (Tarnawski et al., NeurIPS 2020): the least bottleneck with which
the devices of each state can have done each ideal. Only chains below a threshold are followed; it begins at a bound
that needs no search and grows until a chain is found, which then is the best of all. Where ideals are too many, the
best chains along some orders of the operators stand for them, and the gap to the bound is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

import numpy as np

from partitioner.errors import InvalidProblem
from partitioner.pipelines import Piece, PipelineInstance, largest_load_s
from partitioner.search.chain_kernels import Devices, Reached, Sums, cheapest_chains
from partitioner.search.ideal_kernels import frontiers, holds, ideal_sums, loose_sums, producer_bits
from partitioner.search.lattice import MOST_IDEALS, Bits, Elements, Floats, all_ideals, chain_of_ideals, elements_of

FIRST_STEP, GROWTH, LAST_STEP = 0.01, 1.4, 2.0**20  # thresholds above the bound: 1 %, 1.4 %, 2 %…
MANY = 5_000  # fewer ideals are searched at once up to what is known
MOST_STATES, MOST_CELLS = 20_000, 20_000_000  # a cell, of an ideal in a state, takes 24 bytes
CLOSE, LEAST_S = 1e-9, 1e-12  # sums of doubles in another order agree to about this


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineAnswer:
    """Pieces in order, their largest load, and what is proven: `is_optimal`, or no more than `lower_bound_s`."""

    pieces: tuple[Piece, ...]
    largest_load_s: float
    lower_bound_s: float
    is_optimal: bool
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPipeline:
    """No chain of pieces fits: which limit binds, and how."""

    constraint: str  # "operators" or "memory"
    detail: str


def fastest_pipeline(instance: PipelineInstance, most_ideals: int = MOST_IDEALS) -> PipelineAnswer | NoPipeline:
    """The pieces with the smallest largest load.

    InvalidProblem if operators read each other in a circle, or if there are too many ways to take devices.
    """
    states = prod(pool.count + 1 for pool in instance.pools)
    if states > MOST_STATES:
        raise InvalidProblem(
            f"{instance.name}: its devices can be taken in {states:,} ways, {MOST_STATES:,} at most are searched; "
            f"put equal devices into one pool"
        )
    most_ideals = min(most_ideals, MOST_CELLS // states)
    elements = elements_of(instance, loosely=False)
    if (refused := _impossible(instance, elements)) is not None:
        return refused
    loose = elements_of(instance)
    if sum(instance.nbytes) <= min(pool.memory_bytes for pool in instance.pools) or not loose.flows.loose_bytes.any():
        return _solved(instance, loose, most_ideals)
    return _where_memory_binds(instance, loose, elements, most_ideals)


def _where_memory_binds(
    instance: PipelineInstance, loose: Elements, elements: Elements, most_ideals: int
) -> PipelineAnswer | NoPipeline:
    """Where memory may part a weight from its readers: proven if it need not, else searched with weights as elements.

    Weights that stand with their first readers but weigh nothing give a bound; weighing what they do, a pipeline.
    """
    weightless = loose.flows._replace(loose_bytes=np.zeros_like(loose.flows.loose_bytes))
    bound = _solved(instance, replace(loose, flows=weightless), most_ideals)
    if isinstance(bound, NoPipeline):
        return bound
    found = _solved(instance, loose, most_ideals)
    if isinstance(found, PipelineAnswer) and found.largest_load_s <= bound.lower_bound_s * (1 + CLOSE):
        return replace(found, lower_bound_s=found.largest_load_s, is_optimal=True)
    exact = _solved(instance, elements, most_ideals)
    answers = [one for one in (exact, found) if isinstance(one, PipelineAnswer)]
    if not answers or (isinstance(exact, PipelineAnswer) and exact.is_optimal):
        return exact
    best = min(answers, key=lambda answer: answer.largest_load_s)
    lower_s = min(best.largest_load_s, bound.lower_bound_s)
    return replace(best, lower_bound_s=lower_s, is_optimal=lower_s >= best.largest_load_s * (1 - CLOSE))


def _solved(instance: PipelineInstance, elements: Elements, most_ideals: int) -> PipelineAnswer | NoPipeline:
    """The best chain of these elements' ideals, or of some orders' where ideals are too many."""
    devices = _devices(instance, elements)
    bound_s = _bound_s(instance, elements, devices)
    orders = list(_orders(elements))
    quick: _Found | None = None
    for order in orders:
        quick = _search(elements, devices, _sums(elements, chain_of_ideals(order)), _load(quick)) or quick
    ideals = all_ideals(elements, most_ideals)
    if ideals is None:
        if quick is None:
            return NoPipeline(constraint="memory", detail=f"{instance.name}: no pieces that fit were found")
        return _answer(instance, quick, bound_s, f"best of {len(orders)} orders of the operators")
    best = _deepened(elements, devices, ideals, bound_s, _load(quick))
    if best is None:
        total = sum(instance.nbytes)
        return NoPipeline(constraint="memory", detail=f"{instance.name}: no contiguous pieces of {total:g} bytes fit")
    return _answer(instance, best, None, f"dynamic programming over {len(ideals)} ideals")


def _deepened(elements: Elements, devices: Devices, ideals: Bits, bound_s: float, known_s: float) -> "_Found | None":
    """The best chain of all: the first that a growing threshold lets through. It need not grow beyond `known_s`."""
    sums = _sums(elements, ideals)
    step = FIRST_STEP if len(ideals) > MANY else LAST_STEP
    while True:
        most_s = known_s * (1 + CLOSE) + LEAST_S
        below_s = min(bound_s * (1 + step), most_s) if step < LAST_STEP else most_s
        best = _search(elements, devices, sums, below_s)
        if best is not None or below_s == most_s:
            return best
        step *= GROWTH


_Found = tuple[float, tuple[Piece, ...]]


def _load(found: _Found | None) -> float:
    return inf if found is None else found[0]


def _answer(instance: PipelineInstance, found: _Found, bound_s: float | None, method: str) -> PipelineAnswer:
    load_s = largest_load_s(instance, found[1])
    if abs(load_s - found[0]) > CLOSE * max(load_s, 1e-12):
        raise ArithmeticError(f"{instance.name}: the pieces' load is {load_s!r}, the search said {found[0]!r}")
    lower_s = load_s if bound_s is None else min(bound_s, load_s)
    return PipelineAnswer(
        pieces=found[1],
        largest_load_s=load_s,
        lower_bound_s=lower_s,
        is_optimal=lower_s >= load_s * (1 - CLOSE),
        method=method,
    )


def _impossible(instance: PipelineInstance, elements: Elements) -> NoPipeline | None:
    for members, lacking, nbytes in zip(elements.members, elements.lacking.T, elements.nbytes, strict=True):
        able = [pool for pool, count in zip(instance.pools, lacking, strict=True) if not count and pool.count]
        names = ", ".join(instance.operators[operator] for operator in members[:5])
        if not able:
            return NoPipeline(constraint="operators", detail=f"{instance.name}: no device can run {names} together")
        if nbytes > max(pool.memory_bytes for pool in able):
            return NoPipeline(
                constraint="memory", detail=f"{instance.name}: no device holds the {nbytes:g} bytes of {names}"
            )
    return None


def _devices(instance: PipelineInstance, elements: Elements) -> Devices:
    counts = np.array([pool.count for pool in instance.pools], dtype=np.int64)
    return Devices(
        counts=counts,
        strides=np.concatenate([[1], np.cumprod(counts + 1)[:-1]]).astype(np.int64),
        pays=np.array([pool.pays_transfers for pool in instance.pools]),
        memory=np.array([pool.memory_bytes for pool in instance.pools], dtype=np.float64),
        ratio=_ratios(elements),
        overlapped=instance.overlapped,
        most_replicas=instance.most_replicas,
    )


def _ratios(elements: Elements) -> Floats:
    """`[a, t]`: the largest ratio of an element's seconds on pool a to those on pool t, where t can run it."""
    count = len(elements.seconds)
    ratio = np.zeros((count, count))
    for a in range(count):
        for t in range(count):
            able = elements.lacking[t] == 0
            mine, other = elements.seconds[a, able], elements.seconds[t, able]
            slow = mine > 0
            if (other[slow] == 0).any():
                ratio[a, t] = inf
            elif slow.any():
                ratio[a, t] = float((mine[slow] / other[slow]).max())
    return ratio


def _bound_s(instance: PipelineInstance, elements: Elements, devices: Devices) -> float:
    """No pipeline is faster: an element at its fastest place, and all seconds of a pool shared out evenly."""
    seconds = np.where(elements.lacking == 0, elements.seconds, inf)
    bounds = [float(seconds[devices.counts > 0].min(axis=0).max(initial=0.0)) / instance.most_replicas]
    for pool, row in enumerate(elements.seconds):
        room = sum(count * ratio for count, ratio in zip(devices.counts, devices.ratio[pool], strict=True) if count)
        bounds.append(float(row.sum()) / room if 0 < room < inf else 0.0)
    return max(*bounds, LEAST_S)


def _orders(elements: Elements) -> Iterator[list[int]]:
    """Orders in which elements can run: as numbered, each chain to its end first, and breadth first."""
    count = len(elements.members)
    starts, before = elements.before
    yield list(range(count))
    after: list[list[int]] = [[] for _ in range(count)]
    for element in range(count):
        for at in range(starts[element], starts[element + 1]):
            after[before[at]].append(element)
    for newest_first in (True, False):
        waits = np.diff(starts).tolist()
        ready = [element for element in range(count) if not waits[element]]
        order = []
        while ready:
            element = ready.pop() if newest_first else ready.pop(0)
            order.append(element)
            for later in after[element]:
                waits[later] -= 1
                if not waits[later]:
                    ready.append(later)
        yield order


def _sums(elements: Elements, ideals: Bits) -> Sums:
    inside = producer_bits(ideals, elements.flows)
    return Sums(
        ideal_sums(ideals, elements.seconds),
        ideal_sums(ideals, elements.lacking),
        ideal_sums(ideals, elements.nbytes[None])[0] + loose_sums(inside, elements.flows),
        ideals,
        inside,
        *frontiers(ideals, inside, elements.flows),
    )


def _search(elements: Elements, devices: Devices, sums: Sums, below_s: float) -> "_Found | None":
    """The best chain of these ideals with a bottleneck below `below_s`."""
    reached = cheapest_chains(sums, elements.flows, devices, below_s)
    state = int(reached.value[-1].argmin())
    if not np.isfinite(reached.value[-1, state]):
        return None
    return float(reached.value[-1, state]), _pieces(elements, devices, sums.bits, reached, state)


def _pieces(elements: Elements, devices: Devices, ideals: Bits, reached: Reached, state: int) -> tuple[Piece, ...]:
    """The chain that leads to the last ideal in this state, first piece first."""
    pieces: list[Piece] = []
    upper = len(ideals) - 1
    free = [list(range(count)) for count in devices.counts.tolist()]
    placed: set[int] = set()
    chain = []
    while upper:
        lower = int(reached.came_from[upper, state])
        before, pool = divmod(int(reached.came_by[upper, state]), len(devices.counts))
        chain.append((lower, upper, pool, (state - before) // int(devices.strides[pool])))
        upper, state = lower, before
    for lower, upper, pool, replicas in reversed(chain):
        members: list[int] = []
        for element in _between(ideals, lower, upper, len(elements.members)):
            members += elements.members[element]
            members += [op for op in elements.followers.get(element, ()) if op not in placed]
            placed.update(members)
        taken = tuple(free[pool].pop(0) for _ in range(replicas))
        pieces.append(Piece(pool=pool, replicas=taken, operators=tuple(sorted(members))))
    return tuple(pieces)


def _between(ideals: Bits, lower: int, upper: int, count: int) -> Sequence[int]:
    return [element for element in range(count) if holds(ideals, upper, element) and not holds(ideals, lower, element)]
