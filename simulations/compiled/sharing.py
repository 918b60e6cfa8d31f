"""Stations whose pieces advance together, compiled: simulations.stations.Shared, to the same digit.

A piece belongs to an attempt, which has one at a time. What each has still to do is kept as the progress of one that
was there all the while (`due`), so that a piece that comes or goes changes nothing of the others'. Those of a station
lie in a pairing heap (Fredman et al., 1986) by what they are due at, then by number; its links are in the slots.
"""

from math import inf
from typing import Any

from numba import njit

from simulations.compiled.heap import ask
from simulations.compiled.state import CELLS, GAINS, NOW_S, NUMBER, counts, pieces, reals, stations, tables

ROUNDING = 1e-9
THROUGH = 1  # the kind of event: the next piece of a station is through


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pace(p: Any, station: int) -> float:
    """Of each of its pieces, at speed 1; a cell's scheduler gains by their number."""
    c, st, tb = counts(p), stations(p), tables(p)
    parts = st.parts[station]
    gain = tb.gains[min(int(parts + ROUNDING), GAINS - 1)] if station < 2 * c[CELLS] else 1.0
    return float(st.rate[station] * gain / max(parts, 1.0))


@njit(cache=True)  # type: ignore[untyped-decorator]
def advance(p: Any, station: int) -> None:
    """Let its pieces advance until now."""
    r, st = reals(p), stations(p)
    span_s = r[NOW_S] - st.since_s[station]
    if span_s > 0:
        st.there_s[station] += st.there[station] * span_s
        if st.count[station]:
            parts = st.parts[station]
            st.done[station] += span_s * _pace(p, station)
            st.used_s[station] += span_s * min(parts, 1.0)
            st.busy_s[station] += span_s
    st.since_s[station] = r[NOW_S]


@njit(cache=True)  # type: ignore[untyped-decorator]
def put(p: Any, station: int, slot: int, bits: float, speed: float, part: float) -> None:
    """A piece comes: so many bits, at a speed of its own, in a part of the rate."""
    pc, st = pieces(p), stations(p)
    advance(p, station)
    pc.station[slot], pc.left[slot], pc.speed[slot], pc.part[slot] = station, bits, speed, part
    st.there[station] += 1
    _share(p, station, 1 if speed > 0 else 0, part)
    _insert(p, station, slot)
    _plan(p, station)


@njit(cache=True)  # type: ignore[untyped-decorator]
def take_back(p: Any, slot: int) -> float:
    """A piece leaves before it is through; the bits that were left of it."""
    pc = pieces(p)
    station = pc.station[slot]
    advance(p, station)
    left = _left(p, slot)
    _leave(p, station, slot)
    _plan(p, station)
    return float(left)


@njit(cache=True)  # type: ignore[untyped-decorator]
def change_speed(p: Any, slot: int, speed: float, part: float) -> None:
    """From now on a piece is as fast as this."""
    pc = pieces(p)
    if speed == pc.speed[slot] and part == pc.part[slot]:
        return
    station = pc.station[slot]
    advance(p, station)
    pc.left[slot] = _left(p, slot)
    _delete(p, station, slot)
    _share(p, station, -1 if pc.speed[slot] > 0 else 0, pc.part[slot])
    _share(p, station, 1 if speed > 0 else 0, part)
    pc.speed[slot], pc.part[slot] = speed, part
    _insert(p, station, slot)
    _plan(p, station)


@njit(cache=True)  # type: ignore[untyped-decorator]
def change_rate(p: Any, station: int, rate: float) -> None:
    """From now on the station does so much a second."""
    st = stations(p)
    advance(p, station)
    st.rate[station] = rate
    _plan(p, station)


@njit(cache=True)  # type: ignore[untyped-decorator]
def through(p: Any, station: int) -> int:
    """The slot whose piece is through now; it has left."""
    pc, st = pieces(p), stations(p)
    advance(p, station)
    slot = st.root[station]
    st.done[station] = pc.due[slot]  # to the digit, whatever the clock rounds
    _leave(p, station, slot)
    _plan(p, station)
    return int(slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _leave(p: Any, station: int, slot: int) -> None:
    pc, st = pieces(p), stations(p)
    _delete(p, station, slot)
    pc.station[slot] = -1
    st.there[station] -= 1
    _share(p, station, -1 if pc.speed[slot] > 0 else 0, pc.part[slot])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _left(p: Any, slot: int) -> float:
    """Bits that are left of a piece, as of its station's last advance."""
    pc, st = pieces(p), stations(p)
    if pc.speed[slot] > 0:
        return float(max(0.0, pc.due[slot] - st.done[pc.station[slot]]) * pc.speed[slot])
    return float(pc.left[slot])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _plan(p: Any, station: int) -> None:
    """Ask for the next one's end; an end asked for before is void."""
    r, pc, st = reals(p), pieces(p), stations(p)
    st.turn[station] += 1
    first = st.root[station]
    if first < 0:
        st.done[station] = 0.0
    elif st.rate[station] > 0 and pc.due[first] < inf:
        left = max(pc.due[first] - st.done[station], 0.0)
        ask(p, r[NOW_S] + left / _pace(p, station), THROUGH, station, st.turn[station])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _share(p: Any, station: int, more: int, part: float) -> None:
    st = stations(p)
    st.count[station] += more
    st.parts[station] = st.parts[station] + more * part if st.count[station] else 0.0


# The heap: `pc_child` is a piece's first child, `pc_after` its next sibling, `pc_before` its last one or its parent


@njit(cache=True)  # type: ignore[untyped-decorator]
def _insert(p: Any, station: int, slot: int) -> None:
    c, pc, st = counts(p), pieces(p), stations(p)
    c[NUMBER] += 1
    pc.number[slot] = c[NUMBER]
    speed = pc.speed[slot]
    pc.due[slot] = st.done[station] + pc.left[slot] / speed if speed > 0 else inf
    pc.child[slot] = pc.after[slot] = pc.before[slot] = -1
    st.root[station] = _joined(p, st.root[station], slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _joined(p: Any, one: int, other: int) -> int:
    """Two heaps as one: its root."""
    pc = pieces(p)
    if one < 0:
        return other
    if other < 0:
        return one
    if pc.due[other] < pc.due[one] or (pc.due[other] == pc.due[one] and pc.number[other] < pc.number[one]):
        one, other = other, one
    child = pc.child[one]
    pc.after[other], pc.before[other], pc.child[one] = child, one, other
    if child >= 0:
        pc.before[child] = other
    return one


@njit(cache=True)  # type: ignore[untyped-decorator]
def _delete(p: Any, station: int, slot: int) -> None:
    """Out of the heap, wherever it is."""
    pc, st = pieces(p), stations(p)
    before, after = pc.before[slot], pc.after[slot]
    rest = _gathered(p, pc.child[slot])
    if st.root[station] == slot:
        st.root[station] = rest
        return
    if pc.child[before] == slot:
        pc.child[before] = after
    else:
        pc.after[before] = after
    if after >= 0:
        pc.before[after] = before
    st.root[station] = _joined(p, st.root[station], rest)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gathered(p: Any, child: int) -> int:
    """Siblings as one heap: in pairs forth, then one after the other back."""
    pc = pieces(p)
    paired = -1  # pairs, the last first, by `pc_after`
    while child >= 0:
        one, other = child, pc.after[child]
        child = pc.after[other] if other >= 0 else -1
        pc.after[one] = pc.before[one] = -1
        if other >= 0:
            pc.after[other] = pc.before[other] = -1
        pair = _joined(p, one, other)
        pc.after[pair], paired = paired, pair
    root = -1
    while paired >= 0:
        following = pc.after[paired]
        pc.after[paired] = -1
        root = _joined(p, root, paired)
        paired = following
    return root
