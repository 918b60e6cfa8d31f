"""Loops over pairs of ideals, compiled: what a plan of three stages takes of each resource, and which take least.

A pair (I, J) of ideals, I within J, is a plan: I runs at position 1, the rest of J at 2, what remains at 3. Shorter
plans have J, or I and J, hold everything. Sets of elements are rows of 64-bit words, as in ideal_kernels.py.
"""

from typing import Any, NamedTuple

import numpy as np

from partitioner.compiled import compiled
from partitioner.search.ideal_kernels import holds

_LONGER = 200  # times what looking at a pair takes: pricing what its messages carry


class Rates(NamedTuple):
    """Seconds that each unit takes of resource r. `stage[p, r]`: per second of stage p. `leg[p, r]`: per byte from
    p-1 to p; `encode` and `decode` per second that coding takes an unslowed node there. `back[to, p, r]`: the same
    for what returns from p, with `back_fixed` for each such message. `fixed[r]`: whatever is placed where.
    """

    fixed: Any
    stage: Any
    leg: Any
    encode: Any
    decode: Any
    back: Any
    back_fixed: Any
    back_encode: Any
    back_decode: Any


class Tensors(NamedTuple):
    """Tensors: the element that makes each (-1: an input), elements that read it, number of the target it returns to
    (-1: none), those that return; raw bytes; per codec coded bytes (infinite: not admissible) and seconds per raw byte.
    """

    owner: Any
    reader_start: Any
    readers: Any
    returns_to: Any
    outputs: Any
    raw_bytes: Any
    coded_bytes: Any
    encode_s: Any
    decode_s: Any


class Edges(NamedTuple):
    """Of each ideal (`bits`) the tensors made in it, or given, that are read outside: (start, tensors)."""

    bits: Any
    start: Any
    tensors: Any


class Sides(NamedTuple):
    """What may be I and J of a pair: their ideals, lower bounds per resource, which add up; weights' bytes.

    J's are sorted by `seconds`, which the second stage takes from nothing to them; I's stand beside. The second stage
    may hold none of `barred` and at most `most_bytes`.
    """

    first: Any
    second: Any
    first_s: Any
    second_s: Any
    first_key: Any
    second_key: Any
    first_bytes: Any
    second_bytes: Any
    barred: Any
    most_bytes: float


@compiled
def _turn(bits: Any, begin: int, size: int, inside: Any) -> None:
    """Write `inside[element, at]` for the ideals from `begin` on."""
    for at in range(size):
        for word in range(bits.shape[1]):
            held = bits[begin + at, word]
            for element in range(64):
                inside[64 * word + element, at] = (held >> np.uint64(element)) & np.uint64(1)


@compiled
def edges_of(bits: Any, tensors: Tensors, least_bytes: Any) -> Any:
    """(start, tensors, bytes): of each ideal what crosses its edge, and the sum of `least_bytes` over it.

    By blocks of ideals, turned so that an element's bits of a whole block lie side by side.
    """
    owner, reader_start, readers = tensors.owner, tensors.reader_start, tensors.readers
    start, items, used = np.zeros(len(bits) + 1, np.int64), np.zeros(65536, np.int64), 0
    crossing = np.zeros(len(bits))
    block, elements = 1000, 64 * bits.shape[1]  # no power of two: caches mind such strides
    inside, all_in = np.zeros((elements, block), np.bool_), np.zeros((len(owner), block), np.bool_)
    for begin in range(0, len(bits), block):
        size = min(block, len(bits) - begin)
        _turn(bits, begin, size, inside)
        for one in range(len(owner)):
            row = all_in[one]
            row[:] = True
            for at in range(reader_start[one], reader_start[one + 1]):
                row &= inside[readers[at]]
            if owner[one] >= 0:
                row |= ~inside[owner[one]]
        for at in range(size):
            if used + len(owner) > len(items):
                longer = np.zeros(2 * len(items) + len(owner), np.int64)
                longer[:used] = items[:used]
                items = longer
            for one in range(len(owner)):
                if not all_in[one, at]:
                    items[used] = one
                    used += 1
                    crossing[begin + at] += least_bytes[one]
            start[begin + at + 1] = used
    return start, items[:used], crossing


@compiled
def edge_sums(edges: Edges, some: Any, seconds: Any) -> Any:
    """`[r, i]`: `seconds[tensor, r]` summed over what crosses the edge of ideal `some[i]`."""
    sums = np.zeros((seconds.shape[1], len(some)))
    for i in range(len(some)):
        for at in range(edges.start[some[i]], edges.start[some[i] + 1]):
            for r in range(seconds.shape[1]):
                sums[r, i] += seconds[edges.tensors[at], r]
    return sums


@compiled
def weight_sums(bits: Any, reader_start: Any, readers: Any, nbytes: Any) -> Any:
    """[0]: bytes of the weights that each ideal's elements read; [1]: that those outside read."""
    sums = np.zeros((2, len(bits)))
    for ideal in range(len(bits)):
        for one in range(len(nbytes)):
            inside, outside = False, False
            for at in range(reader_start[one], reader_start[one + 1]):
                if holds(bits, ideal, readers[at]):
                    inside = True
                else:
                    outside = True
            sums[0, ideal] += nbytes[one] if inside else 0.0
            sums[1, ideal] += nbytes[one] if outside else 0.0
    return sums


@compiled
def _place(bits: Any, first: int, second: int, element: int) -> int:
    if element < 0:
        return 0
    if holds(bits, first, element):
        return 1
    return 2 if holds(bits, second, element) else 3


@compiled
def carried(edges: Edges, tensors: Tensors, first: int, second: int) -> Any:
    """What the pair's messages carry: rows of (tensor, made at, last read at, set of places that read it as bits)."""
    bits, start, items = edges.bits, edges.start, edges.tensors
    owner, reader_start, readers, outputs = tensors.owner, tensors.reader_start, tensors.readers, tensors.outputs
    entering, leaving = start[1], start[first + 1] - start[first]
    crossing = entering + leaving + start[second + 1] - start[second]
    rows, used = np.zeros((crossing + len(outputs), 4), np.int64), 0
    for number in range(crossing + len(outputs)):
        if number < entering:  # the edge of the empty ideal: the inputs
            one, wanted = items[number], 0
        elif number < entering + leaving:
            one, wanted = items[start[first] + number - entering], 1
        elif number < crossing:
            one, wanted = items[start[second] + number - entering - leaving], 2
        else:
            one, wanted = outputs[number - crossing], -1
        made = _place(bits, first, second, owner[one])
        if wanted >= 0 and made != wanted:
            continue
        last, read = made, 0
        for at in range(reader_start[one], reader_start[one + 1]):
            place = _place(bits, first, second, readers[at])
            if place > made:
                read |= 1 << place
                last = max(last, place)
        if wanted < 0 and last > made:  # counted where it crosses
            continue
        rows[used, 0], rows[used, 1], rows[used, 2], rows[used, 3] = one, made, last, read
        used += 1
    return rows[:used]


@compiled
def costs(tensors: Tensors, rates: Rates, rows: Any) -> Any:
    """`[row, codec, r]`: seconds that carrying a row's tensor under the codec takes of each resource."""
    count = len(rates.fixed)
    found = np.zeros((len(rows), len(tensors.coded_bytes), count))
    for row in range(len(rows)):
        one, made, last, read = rows[row, 0], rows[row, 1], rows[row, 2], rows[row, 3]
        to = tensors.returns_to[one]
        for r in range(count):
            per_byte, encode, decode = 0.0, 0.0, 0.0
            for place in range(made + 1, last + 1):
                per_byte += rates.leg[place, r]
                if (read >> place) & 1:
                    decode += rates.decode[place, r]
            if last > made:
                encode += rates.encode[made + 1, r]
            if to >= 0:
                per_byte += rates.back[to, made, r]
                decode += rates.back_decode[to, made, r]
                if last == made:
                    encode += rates.back_encode[to, made, r]
            for codec in range(len(tensors.coded_bytes)):
                nbytes = tensors.coded_bytes[codec, one]
                if nbytes == np.inf:
                    found[row, codec, r] = np.inf
                    continue
                coding = encode * tensors.encode_s[codec, one] + decode * tensors.decode_s[codec, one]
                found[row, codec, r] = nbytes * per_byte + tensors.raw_bytes[one] * coding
    return found


@compiled
def settled(rates: Rates, rows: Any, returns_to: Any, stage_s: Any) -> Any:
    """Seconds of each resource besides what tensors take: the stages' own, and what messages take at all.

    `stage_s[p]` are stage p's seconds; `rows` as from `carried`.
    """
    loads = rates.fixed.copy()
    for place in range(1, len(rates.stage)):
        loads += rates.stage[place] * stage_s[place]
    returned = np.zeros((len(rates.back), len(rates.stage)), np.bool_)
    for row in range(len(rows)):
        to = returns_to[rows[row, 0]]
        if to >= 0 and not returned[to, rows[row, 1]]:
            returned[to, rows[row, 1]] = True
            loads += rates.back_fixed[to, rows[row, 1]]
    return loads


@compiled
def least_load(edges: Edges, tensors: Tensors, rates: Rates, stage_s: Any, first: int, second: int) -> float:
    """The busiest resource's seconds if each resource could have its own choice of codecs: no plan takes less."""
    rows = carried(edges, tensors, first, second)
    loads = settled(rates, rows, tensors.returns_to, stage_s)
    each = costs(tensors, rates, rows)
    for row in range(each.shape[0]):
        for r in range(each.shape[2]):
            least = np.inf
            for codec in range(each.shape[1]):
                least = min(least, each[row, codec, r])
            loads[r] += least
    return float(loads.max())


@compiled
def least_pairs(  # noqa: C901, PLR0912 (one loop: see chain_kernels.py)
    sides: Sides, edges: Edges, tensors: Tensors, rates: Rates, done_s: Any, three: bool, limits: Any
) -> Any:
    """The pairs whose least load is below a threshold: (loads, firsts, seconds, pairs looked at), least first.

    `limits`: the threshold in seconds, pairs kept at most, pairs looked at before it gives up. `done_s[p, i]` are
    ideal i's seconds at position p. `three`: the second stage must hold something.
    """
    bits, first_s, second_s, barred = edges.bits, sides.first_s, sides.second_s, sides.barred
    below_s, most, effort = limits[0], int(limits[1]), int(limits[2])
    resources, total = first_s.shape[1], done_s.shape[1] - 1
    loads, firsts, seconds, kept, looked = np.zeros(most), np.zeros(most, np.int64), np.zeros(most, np.int64), 0, 0
    stage_s = np.zeros(4)
    for a in range(len(sides.first)):
        if looked > effort:
            break
        first = sides.first[a]
        begin = np.searchsorted(sides.second_key, sides.first_key[a] * (1 - 1e-9) - 1e-12)
        for b in range(begin, len(sides.second)):
            looked += 1
            if sides.second_key[b] - sides.first_key[a] > below_s:
                break
            load = 0.0
            for r in range(resources):
                load = max(load, first_s[a, r] + second_s[b, r])
            second = sides.second[b]
            if load >= below_s or (three and first == second):
                continue
            if sides.second_bytes[b] - sides.first_bytes[a] > sides.most_bytes:
                continue
            fits = True
            for word in range(bits.shape[1]):
                low, high = bits[first, word], bits[second, word]
                if low & ~high or high & ~low & barred[word]:
                    fits = False
                    break
            if not fits:
                continue
            for place in range(1, 4):
                stage_s[place] = done_s[place, first]
            stage_s[2] = done_s[2, second] - done_s[2, first]
            stage_s[3] = done_s[3, total] - done_s[3, second]
            load = least_load(edges, tensors, rates, stage_s, first, second)
            looked += _LONGER
            if load >= below_s:
                continue
            at = min(kept, most - 1)
            while at > 0 and loads[at - 1] > load:
                loads[at], firsts[at], seconds[at] = loads[at - 1], firsts[at - 1], seconds[at - 1]
                at -= 1
            loads[at], firsts[at], seconds[at] = load, first, second
            kept = min(kept + 1, most)
            if kept == most:
                below_s = min(below_s, loads[most - 1])
    return loads[:kept], firsts[:kept], seconds[:kept], looked
