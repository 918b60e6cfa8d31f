"""What carrying each tensor costs, as terms that one cut can hold; a lower bound where it cannot hold all.

For a tensor made at position p and last read at L the price is w(p, L), the best codec's. A cut can charge a
step a_j for crossing from position j-1 to j, whatever p was, so a_j = min over the p still possible of
w(p, j) - w(p, j-1): the steps from p to L then sum to at most w(p, L). They sum to exactly that when p is known,
and always when every admissible codec is free to encode and decode (raw). Two things more are bounded: a
tensor decoded at several stages is charged for those readers whose place is fixed and for the last one, and
where w falls with L (a faster decoder further on) its rising lower envelope is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from partitioner.messages import ROUTER_SLOWDOWN, Route, carriage_s
from partitioner.tables import Bools, Floats, Ints, Prices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """`own[p, t]`: for returning tensor t from p. `step[j, t]`: for crossing from j-1 to j. Seconds."""

    own: Floats
    step: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Group:
    """Tensors priced together: those made by operators, or the model's inputs."""

    tensors: Ints
    lowest: Ints  # positions where each may be made
    highest: Ints
    last: Ints  # highest position where each may be read
    fixed: Bools  # [position, tensor]: a reader is known to be there


def terms_of(prices: Prices, route: Route, low: Ints, high: Ints) -> Terms:
    """The terms when operator i is at one of positions `low[i]`…`high[i]`."""
    table, count = prices.table, len(route.nodes)
    last = np.zeros(len(table.names), dtype=np.int64)
    fixed = np.zeros((count, len(table.names)), dtype=np.bool_)
    if len(table.reader):
        read, starts = np.unique(table.read_tensor, return_index=True)
        last[read] = np.maximum.reduceat(high[table.reader], starts)
        settled = low[table.reader] == high[table.reader]
        fixed[low[table.reader[settled]], table.read_tensor[settled]] = True
    own = np.zeros((count, len(table.names)))
    step = np.zeros((count, len(table.names)))
    is_input = table.producer < 0
    for tensors, made in ((np.flatnonzero(is_input), False), (np.flatnonzero(~is_input), True)):
        if not len(tensors):
            continue
        group = _Group(
            tensors=tensors,
            lowest=low[table.producer[tensors]] if made else np.zeros(len(tensors), dtype=np.int64),
            highest=high[table.producer[tensors]] if made else np.zeros(len(tensors), dtype=np.int64),
            last=last[tensors],
            fixed=fixed[:, tensors],
        )
        own[:, tensors], step[:, tensors] = _group_terms(prices, route, group, range(int(made), count if made else 1))
    return Terms(own=own, step=step)


def _group_terms(prices: Prices, route: Route, group: _Group, made_at: Sequence[int]) -> tuple[Floats, Floats]:
    count, size = len(route.nodes), len(group.tensors)
    own, step = np.zeros((count, size)), np.full((count, size), np.inf)
    for position in made_at:
        prices_to = _prices_to(prices, route, group, position)
        own[position] = prices_to[0]
        possible = (group.lowest <= position) & (position <= group.highest)
        for ahead in range(1, count - position):
            rise = np.maximum(prices_to[ahead] - prices_to[ahead - 1], 0.0)
            reached = position + ahead
            np.minimum(step[reached], np.where(possible, rise, np.inf), out=step[reached])
    step[np.isinf(step)] = 0.0
    return own, step


def _prices_to(prices: Prices, route: Route, group: _Group, position: int) -> list[Floats]:
    """Prices of tensors made at `position` by last reader `position`, `position + 1`…: the rising envelope."""
    count = len(route.nodes)
    found = [_own(prices, route, group, position)]
    per_byte, decodes = 0.0, np.zeros(len(group.tensors))
    for reached in range(position + 1, count):
        per_byte += route.leg_s_per_byte[reached]
        found.append(_best(prices, route, group.tensors, position, per_byte, decodes + route.slowdown[reached]))
        decodes = decodes + group.fixed[reached] * route.slowdown[reached]
    for ahead in range(len(found) - 1, 0, -1):  # a last reader further on than possible must not lower the rest
        reached = position + ahead
        if reached + 1 < count:
            lower = np.minimum(found[ahead], found[ahead + 1])
            found[ahead] = np.where(group.last > reached, lower, found[ahead])
    return found


def _own(prices: Prices, route: Route, group: _Group, position: int) -> Floats:
    """Price of a tensor that no later stage reads: nothing, or its return if the model gives it out."""
    own = np.zeros(len(group.tensors))
    given = np.flatnonzero(np.isin(group.tensors, prices.table.outputs)) if position else ()
    if len(given):
        tensors = group.tensors[given]
        own[given] = _best(prices, route, tensors, position, 0.0, np.zeros(len(tensors)))
    return own


def _best(prices: Prices, route: Route, tensors: Ints, position: int, per_byte: float, decodes: Floats) -> Floats:
    """The cheapest admissible codec's price; outputs also ride back from `position`."""
    codecs, raw = prices.codecs, prices.table.raw_bytes[tensors].astype(np.float64)
    back, back_decodes = _way_back(prices, route, tensors, position)
    best = np.full(len(raw), np.inf)
    for row in range(len(codecs.names)):
        price = carriage_s(
            raw,
            codecs.coded_bytes[row, tensors],
            encode_s_per_byte=codecs.encode_s_per_byte[row, tensors] * route.slowdown[position],
            s_per_byte=per_byte + back,
            decode_s_per_byte=codecs.decode_s_per_byte[row, tensors] * (decodes + back_decodes),
        )
        np.minimum(best, np.where(codecs.admissible[row, tensors], price, np.inf), out=best)
    return best


def _way_back(prices: Prices, route: Route, tensors: Ints, position: int) -> tuple[Floats, Floats]:
    """Seconds per byte and slowdown of the decoder on each tensor's way back, zero for all but outputs."""
    per_byte, decodes = np.zeros(len(tensors)), np.zeros(len(tensors))
    outputs = prices.table.outputs if position else prices.table.outputs[:0]
    here = np.searchsorted(tensors, outputs)
    for tensor, at in zip(outputs.tolist(), here.tolist(), strict=True):
        to = prices.problem.outputs_to[prices.table.names[tensor]]
        if route.back[to][position] is not None:  # elsewhere its producer may not be placed at all
            per_byte[at] = route.back_s_per_byte(to, position)
        decodes[at] = ROUTER_SLOWDOWN
    return per_byte, decodes
