"""Loops over the ideals of a graph, compiled: finding them all, what they sum to, what is read across their edge.

Sets of elements are rows of 64-bit words; rows of numbers are held as (start, items) pairs.
"""

from typing import Any, NamedTuple

import numpy as np

from partitioner.compiled import compiled

_ONE = np.uint64(1)


class Flows(NamedTuple):
    """Results and who reads them. Producer p's costs `transfer_s[p]` to send or to receive and is read by elements.

    Its `owner` is an element, or -1 for a producer of `loose_bytes[p]` that stands with its first reader.
    """

    transfer_s: Any
    owner: Any
    loose_bytes: Any
    reader_start: Any
    readers: Any


@compiled
def holds(bits: Any, row: int, element: int) -> bool:
    """Whether the set in a row holds the element."""
    return bool((bits[row, element >> 6] >> np.uint64(element & 63)) & _ONE)


@compiled
def enumerate_ideals(before_start: Any, before: Any, keys: Any, most: int) -> Any:
    """Bits of every ideal, smallest first; no rows at all if there are more than `most`.

    `keys` are hash keys of the elements: an ideal's hash is theirs, exclusive or.
    """
    count = len(before_start) - 1
    bits, hashes, sizes = np.zeros((1024, max(1, (count + 63) >> 6)), np.uint64), np.zeros(1024, np.uint64), 1
    slots = np.full(4096, -1, np.int64)
    slots[0] = 0
    ideal = 0
    while ideal < sizes:
        for element in range(count):
            may = not holds(bits, ideal, element)
            for at in range(before_start[element], before_start[element + 1]):
                may = may and holds(bits, ideal, before[at])
            if not may:
                continue
            key = hashes[ideal] ^ keys[element]
            slot = _slot_of(slots, hashes, bits, ideal, element, key)
            if slots[slot] >= 0:
                continue
            if sizes >= most:
                return bits[:0]
            if sizes == len(bits):
                bits, hashes = _longer(bits), _longer_row(hashes)
            bits[sizes] = bits[ideal]
            bits[sizes, element >> 6] |= _ONE << np.uint64(element & 63)
            hashes[sizes], slots[slot] = key, sizes
            sizes += 1
            if 3 * sizes > 2 * len(slots):
                slots = _rehashed(hashes, sizes, 2 * len(slots))
        ideal += 1
    return bits[:sizes]


@compiled
def _slot_of(slots: Any, hashes: Any, bits: Any, ideal: int, element: int, key: Any) -> int:
    """Where the ideal with one element more stands, or would."""
    slot = np.int64(key & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        other = slots[slot]
        if hashes[other] == key and _is_one_more(bits[other], bits[ideal], element):
            break
        slot = (slot + 1) & (len(slots) - 1)
    return int(slot)


@compiled
def _is_one_more(larger: Any, smaller: Any, element: int) -> bool:
    for word in range(len(larger)):
        wanted = smaller[word]
        if word == element >> 6:
            wanted |= _ONE << np.uint64(element & 63)
        if larger[word] != wanted:
            return False
    return True


@compiled
def _longer(rows: Any) -> Any:
    longer = np.zeros((2 * len(rows), rows.shape[1]), rows.dtype)
    longer[: len(rows)] = rows
    return longer


@compiled
def _longer_row(row: Any) -> Any:
    longer = np.zeros(2 * len(row), row.dtype)
    longer[: len(row)] = row
    return longer


@compiled
def _rehashed(hashes: Any, sizes: int, length: int) -> Any:
    slots = np.full(length, -1, np.int64)
    for ideal in range(sizes):
        slot = np.int64(hashes[ideal] & np.uint64(length - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (length - 1)
        slots[slot] = ideal
    return slots


@compiled
def ideal_sums(bits: Any, per_element: Any) -> Any:
    """For each row of figures, its sum over each ideal's elements.

    Added up in the elements' order, so that an ideal's sum is never below that of one within it, for all rounding.
    """
    sums = np.zeros((per_element.shape[0], len(bits)))
    for ideal in range(len(bits)):
        for element in range(per_element.shape[1]):
            if holds(bits, ideal, element):
                for row in range(per_element.shape[0]):
                    sums[row, ideal] += per_element[row, element]
    return sums


@compiled
def producer_bits(bits: Any, flows: Flows) -> Any:
    """Which producers each ideal holds, as rows of bits."""
    _, owner, _, reader_start, readers = flows
    inside = np.zeros((len(bits), max(1, (len(owner) + 63) >> 6)), np.uint64)
    for ideal in range(len(bits)):
        for one in range(len(owner)):
            is_held = owner[one] >= 0 and holds(bits, ideal, owner[one])
            if owner[one] < 0:
                for at in range(reader_start[one], reader_start[one + 1]):
                    is_held = is_held or holds(bits, ideal, readers[at])
            if is_held:
                inside[ideal, one >> 6] |= _ONE << np.uint64(one & 63)
    return inside


@compiled
def loose_sums(inside: Any, flows: Flows) -> Any:
    """Bytes of the producers without a place of their own that each ideal holds."""
    loose_bytes = flows.loose_bytes
    sums = np.zeros(len(inside))
    for ideal in range(len(inside)):
        for one in range(len(loose_bytes)):
            if loose_bytes[one] > 0 and holds(inside, ideal, one):
                sums[ideal] += loose_bytes[one]
    return sums


@compiled
def frontiers(bits: Any, inside: Any, flows: Flows) -> Any:
    """Of each ideal, the producers in it that are read outside: (start, producers)."""
    reader_start, readers = flows.reader_start, flows.readers
    start, items, used = np.zeros(len(bits) + 1, np.int64), np.zeros(4096, np.int64), 0
    for ideal in range(len(bits)):
        for one in range(len(reader_start) - 1):
            if not holds(inside, ideal, one):
                continue
            outside = False
            for at in range(reader_start[one], reader_start[one + 1]):
                outside = outside or not holds(bits, ideal, readers[at])
            if outside:
                if used == len(items):
                    items = _longer_row(items)
                items[used] = one
                used += 1
        start[ideal + 1] = used
    return start, items[:used]
