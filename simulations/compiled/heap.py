"""What is to come, in the order of time and, at one moment, of asking: a binary heap over the fabric's arrays."""

from typing import Any

from numba import njit

from simulations.compiled.state import COMING, EVENTS, NOW_S, NUMBER, counts, events, reals


@njit(cache=True)  # type: ignore[untyped-decorator]
def ask(p: Any, at_s: float, kind: int, of: int, turn: int) -> None:
    """Have this happen then. Full is full: what does not fit would be lost, so it raises."""
    c, ev = counts(p), events(p)
    if c[COMING] == EVENTS:
        raise MemoryError("more is to come than there is room for")
    times, numbers, kinds, ofs, turns = ev.s, ev.number, ev.kind, ev.of, ev.turn
    c[NUMBER] += 1
    here, number = c[COMING], c[NUMBER]
    c[COMING] += 1
    while here > 0:
        above = (here - 1) >> 1
        if times[above] <= at_s:
            break
        times[here], numbers[here], kinds[here] = times[above], numbers[above], kinds[above]
        ofs[here], turns[here] = ofs[above], turns[above]
        here = above
    times[here], numbers[here], kinds[here], ofs[here], turns[here] = at_s, number, kind, of, turn


@njit(cache=True)  # type: ignore[untyped-decorator]
def take(p: Any) -> tuple[int, int, int]:
    """The next one's kind, whose it is, and its turn; it is that time now."""
    r, c, ev = reals(p), counts(p), events(p)
    times, numbers, kinds, ofs, turns = ev.s, ev.number, ev.kind, ev.of, ev.turn
    r[NOW_S] = times[0]
    kind, of, turn = kinds[0], ofs[0], turns[0]
    c[COMING] -= 1
    size = c[COMING]
    at_s, number, last_kind, last_of, last_turn = times[size], numbers[size], kinds[size], ofs[size], turns[size]
    here = 0
    while True:
        below = 2 * here + 1
        if below >= size:
            break
        other = below + 1
        if other < size and (
            times[other] < times[below] or (times[other] == times[below] and numbers[other] < numbers[below])
        ):
            below = other
        if times[below] > at_s or (times[below] == at_s and numbers[below] > number):
            break
        times[here], numbers[here], kinds[here] = times[below], numbers[below], kinds[below]
        ofs[here], turns[here] = ofs[below], turns[below]
        here = below
    times[here], numbers[here], kinds[here], ofs[here], turns[here] = at_s, number, last_kind, last_of, last_turn
    return kind, of, turn
