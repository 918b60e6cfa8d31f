"""What each operator's place, and each read between two stages, makes a plan of one pattern take at the very least.

What an operator reads, directly or not, stands in its stage or in one before it; what reads it, in its stage or after.
Stages in a row add up, so where those before (or after) a stage are in a row, all such operators' seconds do; else the
longest path counts. These bounds rule places and reads out before a program is made of the pattern. Any unit of time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from partitioner.tables import Bools, Floats, GraphTable, Ints

Pair = tuple[int, int]


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
    """Read r is by reader[r] of what maker[r] makes; above[v, u]: v reads u, directly or not.

    `all_count`: every operator leads to an output. One that does not may end after the answer is there: no bound on
    when it is done is one on the makespan.
    """

    maker: Ints
    reader: Ints
    above: Bools
    all_count: bool


def reads_of(table: GraphTable, count: int) -> Reads:
    """The reads of what operators make, in the table's order, for `count` operators."""
    inner = table.producer[table.read_tensor] >= 0
    maker, reader = table.producer[table.read_tensor[inner]], table.reader[inner]
    above, last = _closure(count, maker, reader), table.producer[table.outputs]
    counts: Bools = np.logical_or.reduce(above[last], axis=0)
    counts[last] = True
    return Reads(maker=maker, reader=reader, above=above, all_count=bool(counts.all()))


def least_of(seconds: Floats, reads: Reads, stages: Stages, over: Floats) -> Least:
    """Bounds for operators of `seconds[v, p]`; over pair k, read r takes `over[r, k]`."""
    count, places = seconds.shape
    maker, reader, above = reads.maker, reads.reader, reads.above
    before = _closure(places, *np.array(stages.pairs, dtype=np.int64).reshape(-1, 2).T)  # before[q, p]: p feeds q
    mirrored = [(places - 1 - j, places - 1 - i) for i, j in stages.pairs]
    heads = _ahead(seconds, above, before, (maker, reader), _fixed(stages.pairs, stages.entry, stages.leg, stages.call))
    fixed = _fixed(mirrored, np.zeros(places), stages.leg, stages.call[::-1])[::-1]
    last = count - 1
    tails = _ahead(seconds[::-1], above.T[::-1, ::-1], before.T, (last - reader, last - maker), fixed - stages.call)[
        ::-1
    ]
    first, then = ([pair[end] for pair in stages.pairs] for end in (0, 1))
    place = heads + tails - np.where(np.isfinite(seconds), seconds, 0.0)
    read = heads[maker][:, first] + over + tails[reader][:, then]
    if _in_a_row(before | np.eye(places, dtype=bool)):
        least = seconds.min(axis=1)
        rest = least.sum() - least - above @ least - above.T @ least
        place = place + rest[:, None]
        covered = least[maker] + above[maker] @ least + least[reader] + above.T[reader] @ least
        read = read + (least.sum() - covered)[:, None]
    return Least(place=place, read=read)


def longest(seconds: Floats, maker: Ints, reader: Ints) -> Floats:
    """Each operator's seconds after the longest path to it, itself included."""
    done = seconds.tolist()
    own = list(done)
    for at in np.lexsort((maker, reader)).tolist():
        u, v = int(maker[at]), int(reader[at])
        done[v] = max(done[v], own[v] + done[u])
    return np.array(done)


def _ahead(seconds: Floats, above: Bools, before: Bools, reads: tuple[Ints, Ints], fixed: Floats) -> Floats:
    """[v, p]: what operator v in stage p and all above it take, v and the stage's call included."""
    found = np.empty_like(seconds)
    for p in range(seconds.shape[1]):
        stages = np.flatnonzero(before[p])
        own = np.append(stages, p)
        least = seconds[:, own].min(axis=1)
        path = longest(np.where(np.isfinite(least), least, 0.0), *reads)
        found[:, p] = path - np.where(np.isfinite(least), least, 0.0) + seconds[:, p]
        if _in_a_row(before[np.ix_(own, own)] | np.eye(len(own), dtype=bool)):
            some = np.where(np.isfinite(least), least, 1e300)
            found[:, p] = np.maximum(found[:, p], fixed[p] + above @ some + seconds[:, p])
    return found


def _fixed(pairs: Sequence[Pair], entry: Floats, leg: Floats, call: Floats) -> Floats:
    """What every stage's earliest end is if no operator took any time."""
    found = entry + call
    for (i, j), one in sorted(zip(pairs, leg.tolist(), strict=True), key=lambda each: each[0][1]):
        found[j] = max(found[j], found[i] + one + call[j])
    return found


def _closure(count: int, maker: Ints, reader: Ints) -> Bools:
    above = np.zeros((count, count), dtype=np.bool_)
    for at in np.lexsort((maker, reader)).tolist():
        u, v = int(maker[at]), int(reader[at])
        above[v] |= above[u]
        above[v, u] = True
    return above


def _in_a_row(before: Bools) -> bool:
    return all(before[i, j] or before[j, i] for i, j in combinations(range(len(before)), 2))
