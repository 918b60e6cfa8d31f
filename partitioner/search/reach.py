"""What each operator's place, and each read between two stages, makes a plan of one pattern take at the very least.

What an operator reads, directly or not, stands in its stage or in one before it; what reads it, in its stage or after.
Stages in a row add up, so where those before (or after) a stage are in a row, all such operators' seconds do, but not
with messages that pass a stage over, which are under way while it computes; else the longest path counts. These bounds
rule places and reads out before a program is made of the pattern. Any unit of time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from partitioner.tables import Bools, Floats, GraphTable, Ints

Pair = tuple[int, int]
Sums = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stages:
    """A pattern's stages: who feeds whom, and what entering them, sending from one to another and calling takes."""

    pairs: Sequence[Pair]
    entry: Floats
    leg: Floats  # runs parallel to `pairs`
    call: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Least:
    """`place[v, p]` if operator v is in stage p, `read[r, k]` if read r moves over pair k: no such plan takes less."""

    place: Floats
    read: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reads:
    """Read r is by reader[r] of what maker[r] makes; above[v, u] is 1 where v reads u, directly or not, and else 0.

    `all_count`: every operator leads to an output. One that does not may end after the answer is there: no bound on
    when it is done is one on the makespan.
    """

    maker: Ints
    reader: Ints
    above: Floats
    all_count: bool


def reads_of(table: GraphTable, count: int) -> Reads:
    """The reads of what operators make, in the table's order, for `count` operators."""
    inner = table.producer[table.read_tensor] >= 0
    maker, reader = table.producer[table.read_tensor[inner]], table.reader[inner]
    above, last = _closure(count, maker, reader), table.producer[table.outputs]
    counts: Bools = np.logical_or.reduce(above[last], axis=0)
    counts[last] = True
    return Reads(maker=maker, reader=reader, above=above.astype(np.float64), all_count=bool(counts.all()))


def least_of(seconds: Floats, reads: Reads, stages: Stages, over: Floats) -> Least:
    """Bounds for operators of `seconds[v, p]`; over pair k, read r takes `over[r, k]`."""
    count, places = seconds.shape
    maker, reader, above = reads.maker, reads.reader, reads.above
    before = _closure(places, *np.array(stages.pairs, dtype=np.int64).reshape(-1, 2).T)  # before[q, p]: p feeds q
    direct = _direct(stages.pairs, before)
    pairs = [pair for pair, one in zip(stages.pairs, direct, strict=True) if one]
    mirrored = [(places - 1 - j, places - 1 - i) for i, j in pairs]
    heads = _ahead(
        seconds,
        lambda some: above @ some,
        before,
        (maker, reader),
        _fixed(pairs, stages.entry, stages.leg[direct], stages.call),
    )
    fixed = _fixed(mirrored, np.zeros(places), stages.leg[direct], stages.call[::-1])[::-1]
    last = count - 1
    tails = _ahead(
        seconds[::-1],
        lambda some: (above.T @ some[::-1])[::-1],
        before.T,
        (last - reader, last - maker),
        fixed - stages.call,
    )[::-1]
    first, then = ([pair[end] for pair in stages.pairs] for end in (0, 1))
    place = heads + tails - np.where(np.isfinite(seconds), seconds, 0.0)
    read = heads[maker][:, first] + over + tails[reader][:, then]
    if _in_a_row(before | np.eye(places, dtype=bool)):
        least = seconds.min(axis=1)
        up, down = above @ least, above.T @ least
        place = place + (least.sum() - least - up - down)[:, None]
        read = read + np.outer(least.sum() - (least + up)[maker] - (least + down)[reader], direct)
    return Least(place=place, read=read)


def longest(seconds: Floats, maker: Ints, reader: Ints) -> Floats:
    """Each operator's seconds after the longest path to it, itself included."""
    done = seconds.tolist()
    own = list(done)
    for at in np.lexsort((maker, reader)).tolist():
        u, v = int(maker[at]), int(reader[at])
        done[v] = max(done[v], own[v] + done[u])
    return np.array(done)


def _ahead(seconds: Floats, above: Sums, before: Bools, reads: tuple[Ints, Ints], fixed: Floats) -> Floats:
    """[v, p]: what operator v in stage p and all above it take, v and the stage's call included.

    `above` adds up what all above each operator take.
    """
    found, places = np.empty_like(seconds), seconds.shape[1]
    least = np.empty_like(seconds)  # in stage p or one before it
    in_a_row = np.zeros(places, dtype=np.bool_)
    for p in range(places):
        own = np.append(np.flatnonzero(before[p]), p)
        least[:, p] = seconds[:, own].min(axis=1)
        finite = np.where(np.isfinite(least[:, p]), least[:, p], 0.0)
        found[:, p] = longest(finite, *reads) - finite + seconds[:, p]
        in_a_row[p] = _in_a_row(before[np.ix_(own, own)] | np.eye(len(own), dtype=bool))
    some = np.where(np.isfinite(least), least, 1e300)[:, in_a_row]  # the product is what takes time: one for all
    found[:, in_a_row] = np.maximum(found[:, in_a_row], fixed[in_a_row] + above(some) + seconds[:, in_a_row])
    return found


def _fixed(pairs: Sequence[Pair], entry: Floats, leg: Floats, call: Floats) -> Floats:
    """Where stages are in a row, each one's earliest end if no operator took any time.

    Only messages to the next stage count: one that passes a stage over is under way while that one computes, and so is
    what enters a later stage than the first.
    """
    found = entry + call
    for (i, j), one in sorted(zip(pairs, leg.tolist(), strict=True), key=lambda each: each[0][1]):
        found[j] = found[i] + one + call[j]
    return found


def _direct(pairs: Sequence[Pair], before: Bools) -> Bools:
    """Which pairs pass no stage over that is between the two."""
    return np.array([not (before[:, i] & before[j]).any() for i, j in pairs], dtype=np.bool_)


def _closure(count: int, maker: Ints, reader: Ints) -> Bools:
    above = np.zeros((count, count), dtype=np.bool_)
    for at in np.lexsort((maker, reader)).tolist():
        u, v = int(maker[at]), int(reader[at])
        above[v] |= above[u]
        above[v, u] = True
    return above


def _in_a_row(before: Bools) -> bool:
    return all(before[i, j] or before[j, i] for i, j in combinations(range(len(before)), 2))
