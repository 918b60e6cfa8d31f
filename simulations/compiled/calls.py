"""What Python asks of the compiled fabric: each call says what time it is."""

from typing import Any

from numba import njit

from simulations.compiled import moving
from simulations.compiled.sharing import advance, change_rate
from simulations.compiled.state import COMING, NOW_S, OUT_SLOT, attempts, counts, events, reals


@njit(cache=True)  # type: ignore[untyped-decorator]
def start(p: Any, now_s: float, user: int, route: int, stretch: float) -> tuple[int, int]:
    """A new attempt begins: its slot, and what `go` comes back with if something is for Python at once."""
    r, at = reals(p), attempts(p)
    r[NOW_S] = now_s
    slot = moving.begin(p, user, route)
    at.stretch[slot] = stretch
    return slot, moving.go_on(p, slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def resume(p: Any, now_s: float, slot: int, queue_s: float, compute_s: float) -> int:
    """A machine has run a stage for an attempt: it goes on."""
    r, at = reals(p), attempts(p)
    r[NOW_S] = now_s
    at.queue_s[slot] += queue_s
    at.compute_s[slot] += compute_s
    return int(moving.go_on(p, slot))


@njit(cache=True)  # type: ignore[untyped-decorator]
def withdraw(p: Any, now_s: float, slot: int) -> None:
    """Nobody waits for an attempt any more; its slot is free."""
    r = reals(p)
    r[NOW_S] = now_s
    moving.withdraw(p, slot)


@njit(cache=True)  # type: ignore[untyped-decorator]
def next_s(p: Any) -> float:
    """When the next thing happens; infinity if nothing is to come."""
    c, ev = counts(p), events(p)
    return ev.s[0] if c[COMING] else float("inf")


@njit(cache=True)  # type: ignore[untyped-decorator]
def go(p: Any, until_s: float) -> tuple[int, float, int]:
    """Let time pass: what is for Python, when, and whose slot."""
    r, c = reals(p), counts(p)
    out = moving.go(p, until_s)
    return out, r[NOW_S], c[OUT_SLOT]


@njit(cache=True)  # type: ignore[untyped-decorator]
def hops(p: Any, slot: int) -> tuple[float, float, float, float]:
    """Seconds of radio, queues, compute and wires of an attempt so far."""
    at = attempts(p)
    return at.radio_s[slot], at.queue_s[slot], at.compute_s[slot], at.transfer_s[slot]


@njit(cache=True)  # type: ignore[untyped-decorator]
def finish(p: Any, slot: int) -> tuple[float, float, float, float]:
    """The same of one that came back and is done with: its slot is free."""
    at = attempts(p)
    moving.release(p, slot)
    return at.radio_s[slot], at.queue_s[slot], at.compute_s[slot], at.transfer_s[slot]


@njit(cache=True)  # type: ignore[untyped-decorator]
def moved(p: Any, now_s: float, cells: Any, up: Any, down: Any, parts: Any) -> None:
    """Users are elsewhere, at these rates."""
    r = reals(p)
    r[NOW_S] = now_s
    moving.moved(p, cells, up, down, parts)


@njit(cache=True)  # type: ignore[untyped-decorator]
def settle(p: Any, now_s: float, station: int) -> None:
    """Count what a station holds and uses until now."""
    r = reals(p)
    r[NOW_S] = now_s
    advance(p, station)


@njit(cache=True)  # type: ignore[untyped-decorator]
def settle_all(p: Any, now_s: float, many: int) -> None:
    """The same of the first so many stations."""
    r = reals(p)
    r[NOW_S] = now_s
    for station in range(many):
        advance(p, station)


@njit(cache=True)  # type: ignore[untyped-decorator]
def rate(p: Any, now_s: float, station: int, bits_per_s: float) -> None:
    """A station does so much from now on."""
    r = reals(p)
    r[NOW_S] = now_s
    change_rate(p, station, bits_per_s)
