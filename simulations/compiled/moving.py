"""An attempt's way, compiled: its user's device, the air, wires, and out to Python where a machine's queue decides.

The same as simulations.requests, air and backhaul do one call at a time. Places are numbered: cells, then machines; an
attempt's own device is DEVICE. What an attempt is asked for in carries its generation, so that what was asked before it
was taken back is void.
"""

from math import inf
from typing import Any

from numba import njit

from simulations.compiled.heap import ask, take
from simulations.compiled.sharing import THROUGH, put, take_back, through
from simulations.compiled.sharing import change_speed as change_piece
from simulations.compiled.state import (
    CELLS,
    COMING,
    CORE_S,
    DOWN_J_PER_BIT,
    FREE,
    FREE_NODE,
    HANDOVER_S,
    HAPPENED,
    IDLE_S,
    NEXT_WAKE,
    NODES,
    NODES_USED,
    NOW_S,
    ON_DOWN_W,
    ON_UP_W,
    OUT_NODE,
    OUT_SLOT,
    RADIO_J,
    SEEN,
    SLOTS,
    SLOTS_USED,
    TABLE,
    UP_J_PER_BIT,
    WOKEN,
    attempts,
    counts,
    events,
    lines,
    nodes,
    pieces,
    reals,
    routes,
    seen,
    stations,
    tables,
    users,
)

NEXT, SEND, BEGIN, HOP, WIRES, DOWN, DEVICE_DONE = 2, 3, 4, 5, 6, 7, 8  # kinds of events, beside THROUGH
RUN, MESSAGE = 0, 1  # kinds of steps
DEVICE = -1  # a place: the user's own
TIME_IS_UP, CAME_BACK, ARRIVED, LOST = 0, 1, 2, 3  # what `go` comes back with
AGAIN = 4  # within: the attempt is to take its next step
UNREACHED = 1.0  # bits/s and below


@njit(cache=True)  # type: ignore[untyped-decorator]
def begin(p: Any, user: int, route: int) -> int:
    """A new attempt of a user on a route: its slot. `go_on` has it take its first step."""
    c, at, pc = counts(p), attempts(p), pieces(p)
    if c[FREE] >= 0:
        slot = c[FREE]
        c[FREE] = at.next[slot]
    else:
        slot = c[SLOTS_USED]
        if slot == SLOTS:
            raise MemoryError("more requests are under way at once than there is room for")
        c[SLOTS_USED] += 1
    at.user[slot], at.route[slot], at.step[slot] = user, route, 0
    at.stretch[slot], pc.station[slot] = 1.0, -1
    at.radio_s[slot] = at.queue_s[slot] = at.compute_s[slot] = at.transfer_s[slot] = 0.0
    return int(slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def release(p: Any, slot: int) -> None:
    """The slot may be another's; what was asked for in its name is void."""
    c, at = counts(p), attempts(p)
    at.gen[slot] += 1
    at.next[slot] = c[FREE]
    c[FREE] = slot


@njit(cache=True)  # type: ignore[untyped-decorator]
def withdraw(p: Any, slot: int) -> None:
    """Nobody waits for this attempt any more."""
    c, pc = counts(p), pieces(p)
    station = pc.station[slot]
    if station >= 0:
        left = take_back(p, slot)
        if station < 2 * c[CELLS]:
            _spend(p, slot, station >= c[CELLS], pc.bits[slot] - left)
    release(p, slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def go(p: Any, until_s: float) -> int:
    """Let time pass until then, or until something is for Python: which, with `OUT_SLOT` and `OUT_NODE`."""
    c, ev, st = counts(p), events(p), stations(p)
    while c[COMING] and ev.s[0] <= until_s:
        kind, of, turn = take(p)
        c[HAPPENED] += 1
        if kind == THROUGH:
            if turn == st.turn[of]:
                _left_station(p, of, through(p, of))
            continue
        slot = of
        if kind == DEVICE_DONE:
            out = _device_done(p, of)
            slot = c[OUT_SLOT]
        else:
            out = _due(p, kind, of, turn)
        if out == AGAIN:
            out = go_on(p, slot)
        if out != TIME_IS_UP:
            return int(out)
    return TIME_IS_UP


@njit(cache=True)  # type: ignore[untyped-decorator]
def _due(p: Any, kind: int, slot: int, turn: int) -> int:
    """What an attempt was to do now, unless it was taken back since."""
    r, at, us = reals(p), attempts(p), users(p)
    if turn != at.gen[slot]:
        return TIME_IS_UP
    if kind == NEXT:
        return AGAIN
    if kind == SEND:
        return int(_send(p, slot))
    if kind == HOP:
        return int(_hop(p, slot))
    if kind == WIRES:
        return int(_wires(p, slot, us.cell[at.user[slot]], at.to[slot]))
    if kind == BEGIN:
        _begin_transfer(p, slot)
    else:
        at.since_s[slot] = r[NOW_S] - r[CORE_S]
        _over_the_air(p, slot, True)
    return TIME_IS_UP


@njit(cache=True)  # type: ignore[untyped-decorator]
def go_on(p: Any, slot: int) -> int:
    """An attempt's next step."""
    r, c, at, rt = reals(p), counts(p), attempts(p), routes(p)
    route = at.route[slot]
    while at.step[slot] < rt.many[route]:
        step = rt.at[route] + at.step[slot]
        at.step[slot] += 1
        if rt.kind[step] == RUN:
            at.since_s[slot] = r[NOW_S]
            if rt.source[step] == DEVICE:
                _queue(p, slot, rt.s[step] * at.stretch[slot])
                return TIME_IS_UP
            c[OUT_SLOT], c[OUT_NODE] = slot, rt.source[step]
            return ARRIVED
        fixed_s = rt.s[step]
        at.compute_s[slot] += fixed_s
        is_far = rt.source[step] != rt.target[step]
        if fixed_s > 0:
            ask(p, r[NOW_S] + fixed_s, SEND if is_far else NEXT, slot, at.gen[slot])
            return TIME_IS_UP
        if is_far:
            out = _send(p, slot)
            if out != AGAIN:
                return int(out)
    c[OUT_SLOT] = slot
    return CAME_BACK


# Devices: first come, first served


@njit(cache=True)  # type: ignore[untyped-decorator]
def _queue(p: Any, slot: int, seconds: float) -> None:
    c, at, us, qn = counts(p), attempts(p), users(p), nodes(p)
    user = at.user[slot]
    if us.slot[user] < 0:
        _serve(p, user, slot, at.gen[slot], seconds)
        return
    if c[FREE_NODE] >= 0:
        node = c[FREE_NODE]
        c[FREE_NODE] = qn.next[node]
    else:
        node = c[NODES_USED]
        if node == NODES:
            raise MemoryError("more requests wait at their devices than there is room for")
        c[NODES_USED] += 1
    qn.slot[node], qn.gen[node], qn.s[node], qn.next[node] = slot, at.gen[slot], seconds, -1
    if us.tail[user] >= 0:
        qn.next[us.tail[user]] = node
    else:
        us.head[user] = node
    us.tail[user] = node


@njit(cache=True)  # type: ignore[untyped-decorator]
def _serve(p: Any, user: int, slot: int, gen: int, seconds: float) -> None:
    r, at, us = reals(p), attempts(p), users(p)
    us.slot[user], us.gen[user] = slot, gen
    us.busy_s[user] += seconds
    us.ends_s[user] = r[NOW_S] + seconds
    if gen == at.gen[slot]:
        at.queue_s[slot] += r[NOW_S] - at.since_s[slot]
        at.compute_s[slot] += seconds
    ask(p, r[NOW_S] + seconds, DEVICE_DONE, user, 0)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _device_done(p: Any, user: int) -> int:
    c, at, us, qn = counts(p), attempts(p), users(p), nodes(p)
    slot, gen = us.slot[user], us.gen[user]
    us.slot[user] = -1
    while us.head[user] >= 0 and us.slot[user] < 0:
        node = us.head[user]
        us.head[user] = qn.next[node]
        if us.head[user] < 0:
            us.tail[user] = -1
        if qn.gen[node] == at.gen[qn.slot[node]]:
            _serve(p, user, qn.slot[node], qn.gen[node], qn.s[node])
        qn.next[node] = c[FREE_NODE]
        c[FREE_NODE] = node
    if gen != at.gen[slot]:
        return TIME_IS_UP
    c[OUT_SLOT] = slot
    return AGAIN


# Messages: over the air where a device is at an end, over wires in between


@njit(cache=True)  # type: ignore[untyped-decorator]
def _send(p: Any, slot: int) -> int:
    r, at, pc, us, rt = reals(p), attempts(p), pieces(p), users(p), routes(p)
    step = rt.at[at.route[slot]] + at.step[slot] - 1
    source, target = rt.source[step], rt.target[step]
    at.since_s[slot], at.to[slot], pc.bits[slot] = r[NOW_S], target, rt.bits[step]
    if source == DEVICE:
        _over_the_air(p, slot, False)
        return TIME_IS_UP
    end = us.cell[at.user[slot]] if target == DEVICE else target
    return int(_wires(p, slot, source, end))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _over_the_air(p: Any, slot: int, is_down: bool) -> None:
    """Wait for the radio, then for a grant or a slot."""
    r, c, at, pc, us, tb = reals(p), counts(p), attempts(p), pieces(p), users(p), tables(p)
    user = at.user[slot]
    row = us.cell[user] + (c[CELLS] if is_down else 0)
    wait_s = max(0.0, us.used_s[user] - r[NOW_S])  # the radio may be waking up for another one
    if r[NOW_S] - us.used_s[user] > r[IDLE_S]:
        wait_s = tb.wakes[c[NEXT_WAKE]]
        c[NEXT_WAKE] = (c[NEXT_WAKE] + 1) % TABLE
        c[WOKEN] += 1
    us.used_s[user] = r[NOW_S] + wait_s
    wait_s += tb.waits[row, tb.next[row]]
    tb.next[row] = (tb.next[row] + 1) % TABLE
    pc.began_s[slot], at.hop[slot] = inf, 1 if is_down else 0
    pc.left[slot] = pc.bits[slot]
    if wait_s > 0:
        ask(p, r[NOW_S] + wait_s, BEGIN, slot, at.gen[slot])
    else:
        _begin_transfer(p, slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _begin_transfer(p: Any, slot: int) -> None:
    """The first bit goes, or the first after a handover."""
    r, c, at, pc, us = reals(p), counts(p), attempts(p), pieces(p), users(p)
    user = at.user[slot]
    if us.silent_s[user] > r[NOW_S]:
        ask(p, us.silent_s[user], BEGIN, slot, at.gen[slot])
        return
    is_down = at.hop[slot] == 1
    pc.began_s[slot] = min(pc.began_s[slot], r[NOW_S])
    rate = us.down[user] if is_down else us.up[user]
    station = us.cell[user] + (c[CELLS] if is_down else 0)
    put(p, station, slot, pc.left[slot], rate if rate > UNREACHED else 0.0, 1.0 if is_down else us.part[user])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _left_station(p: Any, station: int, slot: int) -> None:
    """A piece is through: a transfer over the air, or a message over a line."""
    r, c, at, pc, ln, sn = reals(p), counts(p), attempts(p), pieces(p), lines(p), seen(p)
    if station >= 2 * c[CELLS]:
        delay_s = ln.delay_s[station - 2 * c[CELLS]]
        at.hop[slot] += 1
        ask(p, r[NOW_S] + delay_s, HOP, slot, at.gen[slot])
        return
    is_down = station >= c[CELLS]
    row, took_s = sn.many[station] % SEEN, r[NOW_S] - pc.began_s[slot]
    if took_s > 0:
        sn.s[station, row], sn.rate[station, row] = r[NOW_S], pc.bits[slot] / took_s
        sn.many[station] += 1
    _spend(p, slot, is_down, pc.bits[slot])
    at.radio_s[slot] += r[NOW_S] - at.since_s[slot]
    if is_down:
        ask(p, r[NOW_S], NEXT, slot, at.gen[slot])
        return
    at.radio_s[slot] += r[CORE_S]
    ask(p, r[NOW_S] + r[CORE_S], WIRES, slot, at.gen[slot])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _spend(p: Any, slot: int, is_down: bool, bits: float) -> None:
    """The user's radio has carried so many bits until now."""
    r, at, pc, us = reals(p), attempts(p), pieces(p), users(p)
    us.used_s[at.user[slot]] = r[NOW_S]
    span_s = r[NOW_S] - pc.began_s[slot]
    if span_s > 0:
        on_w, j_per_bit = (r[ON_DOWN_W], r[DOWN_J_PER_BIT]) if is_down else (r[ON_UP_W], r[UP_J_PER_BIT])
        r[RADIO_J] += on_w * span_s + j_per_bit * bits


@njit(cache=True)  # type: ignore[untyped-decorator]
def _wires(p: Any, slot: int, source: int, target: int) -> int:
    r, c, at, ln = reals(p), counts(p), attempts(p), lines(p)
    at.since_s[slot] = r[NOW_S]
    if source == target:
        return int(_arrived(p, slot))
    if ln.at[source, target] < 0:
        c[OUT_SLOT] = slot
        c[OUT_NODE] = source if at.to[slot] == DEVICE else at.to[slot]
        return LOST
    at.path[slot], at.hop[slot], at.hops[slot] = ln.at[source, target], 0, ln.many[source, target]
    return int(_hop(p, slot))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _hop(p: Any, slot: int) -> int:
    """Onto the next line, or off the last."""
    r, c, at, pc, st, ln = reals(p), counts(p), attempts(p), pieces(p), stations(p), lines(p)
    if at.hop[slot] < at.hops[slot]:
        line = ln.lines[at.path[slot] + at.hop[slot]]
        st.bits[2 * c[CELLS] + line] += pc.bits[slot]
        put(p, 2 * c[CELLS] + line, slot, pc.bits[slot], 1.0, 1.0)
        return TIME_IS_UP
    at.transfer_s[slot] += r[NOW_S] - at.since_s[slot]
    return int(_arrived(p, slot))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _arrived(p: Any, slot: int) -> int:
    r, at = reals(p), attempts(p)
    if at.to[slot] != DEVICE:
        return AGAIN
    ask(p, r[NOW_S] + r[CORE_S], DOWN, slot, at.gen[slot])
    return TIME_IS_UP


# Movement


@njit(cache=True)  # type: ignore[untyped-decorator]
def moved(p: Any, cells: Any, up: Any, down: Any, parts: Any) -> None:
    """Users are served by these cells now, at these rates; who was handed over goes on there after a silence."""
    r, c, at, pc, us = reals(p), counts(p), attempts(p), pieces(p), users(p)
    for user in range(cells.size):
        if cells[user] != us.cell[user]:
            us.silent_s[user] = r[NOW_S] + r[HANDOVER_S]
        us.cell[user], us.up[user], us.down[user], us.part[user] = (
            cells[user],
            up[user],
            down[user],
            parts[user],
        )
    for slot in range(c[SLOTS_USED]):
        station = pc.station[slot]
        if station < 0 or station >= 2 * c[CELLS]:
            continue
        user, is_down = at.user[slot], station >= c[CELLS]
        if us.cell[user] + (c[CELLS] if is_down else 0) != station:
            pc.left[slot] = take_back(p, slot)
            _begin_transfer(p, slot)
        else:
            rate = us.down[user] if is_down else us.up[user]
            change_piece(p, slot, rate if rate > UNREACHED else 0.0, 1.0 if is_down else us.part[user])
