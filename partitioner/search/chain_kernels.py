"""Loops over chains of ideals, compiled: with which devices each ideal can have been done, and how soon.

Ideals are numbered so that their seconds on the first pool never fall. A state is how many devices of each pool are
taken, as one number in mixed radix. A call with a loop inside is not inlined and hands over some forty numbers, ten
times the work of what it would do here: hence the long inner loop.
"""

from typing import Any, NamedTuple

import numpy as np

from partitioner.compiled import compiled
from partitioner.search.ideal_kernels import Flows, holds

_CLOSE = 1 + 1e-12  # room for rounding, so that a bound never cuts off what it should not


class Devices(NamedTuple):
    """Pools: devices each, what one more adds to a state, whether they pay for transfers, bytes one holds.

    `ratio[a, t]` is the most seconds on pool a that a second on pool t can stand for. A device `overlapped` transfers
    while it computes; a piece may take up to `most_replicas`.
    """

    counts: Any
    strides: Any
    pays: Any
    memory: Any
    ratio: Any
    overlapped: bool
    most_replicas: int


class Sums(NamedTuple):
    """Of each ideal: seconds on each pool, operators that the pool can't run, bytes of weights; its elements and
    producers as bits, and those producers that are read outside it.
    """

    done_s: Any
    lacking: Any
    held_bytes: Any
    bits: Any
    inside: Any
    edge_start: Any
    edge: Any


class Reached(NamedTuple):
    """The least bottleneck with which each ideal is done in each state; from which ideal, state · pools + pool."""

    value: Any
    came_from: Any
    came_by: Any


@compiled
def cheapest_chains(sums: Sums, flows: Flows, devices: Devices, below_s: float) -> Reached:
    """The least bottlenecks below `below_s`. Exact: no chain below it is missed."""
    counts, strides = devices.counts, devices.strides
    total, states = len(sums.bits), 1
    for count in counts:
        states *= count + 1
    taken, room_s = _states(states, devices, below_s)
    value = np.full((total, states), np.inf)
    reached = Reached(value, np.full((total, states), -1, np.int64), np.full((total, states), -1, np.int64))
    value[0, 0] = 0.0
    alive, least = np.zeros(states, np.int64), np.zeros(states)
    done_s = sums.done_s[0]
    for lower in range(total - 1):
        some = _undominated(value[lower], taken, strides, least, alive)
        for pool in range(len(counts)):
            most_s = -1.0
            for number in range(some):
                if taken[alive[number], pool] < counts[pool]:
                    most_s = max(most_s, room_s[alive[number] + strides[pool], 0])
            if most_s >= 0:
                first = max(lower + 1, np.searchsorted(done_s, (done_s[-1] - most_s) * (2 - _CLOSE)))
                _extend(reached, sums, flows, devices, taken, room_s, lower, pool, first, alive[:some], below_s)
    return reached


@compiled
def _states(states: int, devices: Devices, below_s: float) -> Any:
    """Devices of each pool taken in each state, and the seconds of each pool's that the others can stand for."""
    counts, strides, ratio = devices.counts, devices.strides, devices.ratio
    taken, room_s = np.zeros((states, len(counts)), np.int64), np.zeros((states, len(counts)))
    for state in range(states):
        for pool in range(len(counts)):
            taken[state, pool] = (state // strides[pool]) % (counts[pool] + 1)
        for pool in range(len(counts)):
            for other in range(len(counts)):
                free = counts[other] - taken[state, other]
                if free and ratio[pool, other] > 0:
                    room_s[state, pool] += free * below_s * ratio[pool, other] * _CLOSE
    return taken, room_s


@compiled
def _undominated(value: Any, taken: Any, strides: Any, least: Any, alive: Any) -> int:
    """Write into `alive` the states reached for which no state with fewer devices is as good; how many they are."""
    some = 0
    for state in range(len(value)):
        best = np.inf
        for pool in range(len(strides)):
            if taken[state, pool]:
                best = min(best, least[state - strides[pool]])
        if value[state] < best:
            alive[some] = state
            some += 1
        least[state] = min(best, value[state])
    return some


@compiled
def _extend(  # noqa: C901, PLR0912 (see above)
    reached: Reached, sums: Sums, flows: Flows, devices: Devices, taken: Any, room_s: Any, lower: int, pool: int,
    first: int, alive: Any, below_s: float,
) -> None:  # fmt: skip
    """Lay every piece from one ideal up to those numbered `first` or more on devices of one pool."""
    transfer_s, reader_start, readers = flows.transfer_s, flows.reader_start, flows.readers
    done_s, lacking, held_bytes, bits, inside, edge_start, edge = sums
    counts, strides, pays, memory, ratio, overlapped, most_replicas = devices
    largest_s = most_replicas * below_s
    reach_s = largest_s * ratio[0, pool] * _CLOSE if ratio[0, pool] > 0 else 0.0
    for target in range(first, len(bits)):
        if done_s[0, target] - done_s[0, lower] > reach_s:
            break
        contained = True
        for word in range(bits.shape[1]):
            if bits[lower, word] & ~bits[target, word]:
                contained = False
                break
        busy_s = done_s[pool, target] - done_s[pool, lower]
        if not contained or busy_s >= largest_s or lacking[pool, target] > lacking[pool, lower]:
            continue
        if held_bytes[target] - held_bytes[lower] > memory[pool]:
            continue
        moved_s = 0.0
        if pays[pool]:
            for at in range(edge_start[target], edge_start[target + 1]):
                if not holds(inside, lower, edge[at]):
                    moved_s += transfer_s[edge[at]]
            for at in range(edge_start[lower], edge_start[lower + 1]):
                is_read = False
                for place in range(reader_start[edge[at]], reader_start[edge[at] + 1]):
                    reader = readers[place]
                    is_read = is_read or (holds(bits, target, reader) and not holds(bits, lower, reader))
                if is_read:
                    moved_s += transfer_s[edge[at]]
        load_s = max(busy_s, moved_s) if overlapped else busy_s + moved_s
        for replicas in range(1, most_replicas + 1):
            for state in alive:
                then = state + replicas * strides[pool]
                worst_s = max(reached.value[lower, state], load_s / replicas)
                if worst_s >= below_s or taken[state, pool] + replicas > counts[pool]:
                    continue
                if worst_s < reached.value[target, then] and _can_end(done_s, target, room_s, then):
                    reached.value[target, then], reached.came_from[target, then] = worst_s, lower
                    reached.came_by[target, then] = state * len(counts) + pool


@compiled
def _can_end(done_s: Any, ideal: int, room_s: Any, state: int) -> bool:
    """Whether the devices left could do the rest, if nothing had to be sent."""
    can = True
    for pool in range(len(done_s)):
        can = can and done_s[pool, -1] - done_s[pool, ideal] <= room_s[state, pool]
    return can
