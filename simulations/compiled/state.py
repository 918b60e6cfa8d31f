"""Where all that moves in the compiled fabric lies: arrays of Python's, which compiled functions find by address.

Compiled functions take one argument for all of it, `p`, an array of addresses, and look at what they need by the views
below: a call costs half a microsecond whatever there is, and what was compiled is kept for the next process. Arrays are
of one size for all scenarios; what is never touched takes no memory. An *attempt* is a slot with a generation: what was
asked for in its name before it was taken back is void. A *station* shares its rate among pieces, as
simulations.stations.Shared: cells up, cells down, then lines. A *place* is a cell or, after all cells, a machine.
"""

from collections import namedtuple
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from simulations.radio.scheduling import MOST

SLOTS, NODES, EVENTS = 1 << 17, 1 << 17, 1 << 18  # attempts under way, waiting at devices, and what is to come
USERS, STATIONS, PLACES, LINES = 1 << 15, 1 << 10, 1 << 8, 1 << 10
ROUTES, STEPS, WAYS = 1 << 14, 1 << 17, 1 << 16  # routes, their steps, and lines of all ways
TABLE, SEEN = 1 << 10, 1 << 8  # draws that are gone through again and again; transfers remembered of a cell
GAINS = MOST + 1  # of a cell's scheduler, by how many share it

# Single numbers: reals, then whole ones.
NOW_S, CORE_S, IDLE_S, HANDOVER_S, RADIO_J, ON_UP_W, ON_DOWN_W, UP_J_PER_BIT, DOWN_J_PER_BIT = range(9)
HAPPENED, NUMBER, COMING, CELLS, WOKEN, NEXT_WAKE, FREE, FREE_NODE, OUT_SLOT, OUT_NODE, SLOTS_USED, NODES_USED = range(
    12
)

REAL, WHOLE = np.float64, np.int64
Events = namedtuple("Events", "s number kind of turn")
Attempts = namedtuple(
    "Attempts", "gen next user route step to path hop hops since_s radio_s queue_s compute_s transfer_s stretch"
)
Pieces = namedtuple("Pieces", "station number child after before due speed part left bits began_s")
Stations = namedtuple("Stations", "count turn there root rate parts done since_s used_s there_s bits busy_s")
Users = namedtuple("Users", "cell head tail slot gen up down part silent_s used_s busy_s ends_s")
Nodes = namedtuple("Nodes", "slot gen next s")
Seen = namedtuple("Seen", "many s rate")
Tables = namedtuple("Tables", "waits next wakes gains")
Lines = namedtuple("Lines", "delay_s at many lines")
Routes = namedtuple("Routes", "at many kind source target s bits")

LAYOUT: tuple[tuple[str, Any, tuple[int, ...]], ...] = (
    ("reals", REAL, (16,)),
    ("counts", WHOLE, (16,)),
    ("events.s", REAL, (EVENTS,)),
    ("events.number", WHOLE, (EVENTS,)),
    ("events.kind", WHOLE, (EVENTS,)),
    ("events.of", WHOLE, (EVENTS,)),
    ("events.turn", WHOLE, (EVENTS,)),
    ("attempts.gen", WHOLE, (SLOTS,)),
    ("attempts.next", WHOLE, (SLOTS,)),
    ("attempts.user", WHOLE, (SLOTS,)),
    ("attempts.route", WHOLE, (SLOTS,)),
    ("attempts.step", WHOLE, (SLOTS,)),
    ("attempts.to", WHOLE, (SLOTS,)),
    ("attempts.path", WHOLE, (SLOTS,)),
    ("attempts.hop", WHOLE, (SLOTS,)),
    ("attempts.hops", WHOLE, (SLOTS,)),
    ("attempts.since_s", REAL, (SLOTS,)),
    ("attempts.radio_s", REAL, (SLOTS,)),
    ("attempts.queue_s", REAL, (SLOTS,)),
    ("attempts.compute_s", REAL, (SLOTS,)),
    ("attempts.transfer_s", REAL, (SLOTS,)),
    ("attempts.stretch", REAL, (SLOTS,)),
    ("pieces.station", WHOLE, (SLOTS,)),
    ("pieces.number", WHOLE, (SLOTS,)),
    ("pieces.child", WHOLE, (SLOTS,)),
    ("pieces.after", WHOLE, (SLOTS,)),
    ("pieces.before", WHOLE, (SLOTS,)),
    ("pieces.due", REAL, (SLOTS,)),
    ("pieces.speed", REAL, (SLOTS,)),
    ("pieces.part", REAL, (SLOTS,)),
    ("pieces.left", REAL, (SLOTS,)),
    ("pieces.bits", REAL, (SLOTS,)),
    ("pieces.began_s", REAL, (SLOTS,)),
    ("stations.count", WHOLE, (STATIONS,)),
    ("stations.turn", WHOLE, (STATIONS,)),
    ("stations.there", WHOLE, (STATIONS,)),
    ("stations.root", WHOLE, (STATIONS,)),
    ("stations.rate", REAL, (STATIONS,)),
    ("stations.parts", REAL, (STATIONS,)),
    ("stations.done", REAL, (STATIONS,)),
    ("stations.since_s", REAL, (STATIONS,)),
    ("stations.used_s", REAL, (STATIONS,)),
    ("stations.there_s", REAL, (STATIONS,)),
    ("stations.bits", REAL, (STATIONS,)),
    ("stations.busy_s", REAL, (STATIONS,)),
    ("users.cell", WHOLE, (USERS,)),
    ("users.head", WHOLE, (USERS,)),
    ("users.tail", WHOLE, (USERS,)),
    ("users.slot", WHOLE, (USERS,)),
    ("users.gen", WHOLE, (USERS,)),
    ("users.up", REAL, (USERS,)),
    ("users.down", REAL, (USERS,)),
    ("users.part", REAL, (USERS,)),
    ("users.silent_s", REAL, (USERS,)),
    ("users.used_s", REAL, (USERS,)),
    ("users.busy_s", REAL, (USERS,)),
    ("users.ends_s", REAL, (USERS,)),
    ("nodes.slot", WHOLE, (NODES,)),
    ("nodes.gen", WHOLE, (NODES,)),
    ("nodes.next", WHOLE, (NODES,)),
    ("nodes.s", REAL, (NODES,)),
    ("seen.many", WHOLE, (STATIONS,)),
    ("seen.s", REAL, (STATIONS, SEEN)),
    ("seen.rate", REAL, (STATIONS, SEEN)),
    ("tables.waits", REAL, (STATIONS, TABLE)),
    ("tables.next", WHOLE, (STATIONS,)),
    ("tables.wakes", REAL, (TABLE,)),
    ("lines.delay_s", REAL, (LINES,)),
    ("lines.at", WHOLE, (PLACES, PLACES)),
    ("lines.many", WHOLE, (PLACES, PLACES)),
    ("lines.lines", WHOLE, (WAYS,)),
    ("routes.at", WHOLE, (ROUTES,)),
    ("routes.many", WHOLE, (ROUTES,)),
    ("routes.kind", WHOLE, (STEPS,)),
    ("routes.source", WHOLE, (STEPS,)),
    ("routes.target", WHOLE, (STEPS,)),
    ("routes.s", REAL, (STEPS,)),
    ("routes.bits", REAL, (STEPS,)),
    ("tables.gains", REAL, (GAINS,)),
)


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer."""
    del typing, address

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), code


@njit(cache=True)  # type: ignore[untyped-decorator]
def reals(p: Any) -> Any:
    """Single numbers that are no whole ones."""
    return carray(_pointer(p[0]), (16,), REAL)


@njit(cache=True)  # type: ignore[untyped-decorator]
def counts(p: Any) -> Any:
    """Single whole numbers."""
    return carray(_pointer(p[1]), (16,), WHOLE)


@njit(cache=True)  # type: ignore[untyped-decorator]
def events(p: Any) -> Any:
    """What is to come: a heap by time."""
    return Events(
        carray(_pointer(p[2]), (EVENTS,), REAL),
        carray(_pointer(p[3]), (EVENTS,), WHOLE),
        carray(_pointer(p[4]), (EVENTS,), WHOLE),
        carray(_pointer(p[5]), (EVENTS,), WHOLE),
        carray(_pointer(p[6]), (EVENTS,), WHOLE),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def attempts(p: Any) -> Any:
    """Attempts, by slot; `next` names the next free one."""
    return Attempts(
        carray(_pointer(p[7]), (SLOTS,), WHOLE),
        carray(_pointer(p[8]), (SLOTS,), WHOLE),
        carray(_pointer(p[9]), (SLOTS,), WHOLE),
        carray(_pointer(p[10]), (SLOTS,), WHOLE),
        carray(_pointer(p[11]), (SLOTS,), WHOLE),
        carray(_pointer(p[12]), (SLOTS,), WHOLE),
        carray(_pointer(p[13]), (SLOTS,), WHOLE),
        carray(_pointer(p[14]), (SLOTS,), WHOLE),
        carray(_pointer(p[15]), (SLOTS,), WHOLE),
        carray(_pointer(p[16]), (SLOTS,), REAL),
        carray(_pointer(p[17]), (SLOTS,), REAL),
        carray(_pointer(p[18]), (SLOTS,), REAL),
        carray(_pointer(p[19]), (SLOTS,), REAL),
        carray(_pointer(p[20]), (SLOTS,), REAL),
        carray(_pointer(p[21]), (SLOTS,), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def pieces(p: Any) -> Any:
    """An attempt's piece at a station (-1: none), with its place in the station's heap."""
    return Pieces(
        carray(_pointer(p[22]), (SLOTS,), WHOLE),
        carray(_pointer(p[23]), (SLOTS,), WHOLE),
        carray(_pointer(p[24]), (SLOTS,), WHOLE),
        carray(_pointer(p[25]), (SLOTS,), WHOLE),
        carray(_pointer(p[26]), (SLOTS,), WHOLE),
        carray(_pointer(p[27]), (SLOTS,), REAL),
        carray(_pointer(p[28]), (SLOTS,), REAL),
        carray(_pointer(p[29]), (SLOTS,), REAL),
        carray(_pointer(p[30]), (SLOTS,), REAL),
        carray(_pointer(p[31]), (SLOTS,), REAL),
        carray(_pointer(p[32]), (SLOTS,), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def stations(p: Any) -> Any:
    """Cells up, cells down, lines."""
    return Stations(
        carray(_pointer(p[33]), (STATIONS,), WHOLE),
        carray(_pointer(p[34]), (STATIONS,), WHOLE),
        carray(_pointer(p[35]), (STATIONS,), WHOLE),
        carray(_pointer(p[36]), (STATIONS,), WHOLE),
        carray(_pointer(p[37]), (STATIONS,), REAL),
        carray(_pointer(p[38]), (STATIONS,), REAL),
        carray(_pointer(p[39]), (STATIONS,), REAL),
        carray(_pointer(p[40]), (STATIONS,), REAL),
        carray(_pointer(p[41]), (STATIONS,), REAL),
        carray(_pointer(p[42]), (STATIONS,), REAL),
        carray(_pointer(p[43]), (STATIONS,), REAL),
        carray(_pointer(p[44]), (STATIONS,), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def users(p: Any) -> Any:
    """Where users are, at what rates, and what their devices do."""
    return Users(
        carray(_pointer(p[45]), (USERS,), WHOLE),
        carray(_pointer(p[46]), (USERS,), WHOLE),
        carray(_pointer(p[47]), (USERS,), WHOLE),
        carray(_pointer(p[48]), (USERS,), WHOLE),
        carray(_pointer(p[49]), (USERS,), WHOLE),
        carray(_pointer(p[50]), (USERS,), REAL),
        carray(_pointer(p[51]), (USERS,), REAL),
        carray(_pointer(p[52]), (USERS,), REAL),
        carray(_pointer(p[53]), (USERS,), REAL),
        carray(_pointer(p[54]), (USERS,), REAL),
        carray(_pointer(p[55]), (USERS,), REAL),
        carray(_pointer(p[56]), (USERS,), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def nodes(p: Any) -> Any:
    """Entries of devices' queues."""
    return Nodes(
        carray(_pointer(p[57]), (NODES,), WHOLE),
        carray(_pointer(p[58]), (NODES,), WHOLE),
        carray(_pointer(p[59]), (NODES,), WHOLE),
        carray(_pointer(p[60]), (NODES,), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def seen(p: Any) -> Any:
    """Transfers over the air, by cell and way, round and round."""
    return Seen(
        carray(_pointer(p[61]), (STATIONS,), WHOLE),
        carray(_pointer(p[62]), (STATIONS, SEEN), REAL),
        carray(_pointer(p[63]), (STATIONS, SEEN), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def tables(p: Any) -> Any:
    """Waits of each cell, up then down, and of radios that wake."""
    return Tables(
        carray(_pointer(p[64]), (STATIONS, TABLE), REAL),
        carray(_pointer(p[65]), (STATIONS,), WHOLE),
        carray(_pointer(p[66]), (TABLE,), REAL),
        carray(_pointer(p[78]), (GAINS,), REAL),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def lines(p: Any) -> Any:
    """Delays of lines, and the ways between places: runs of lines."""
    return Lines(
        carray(_pointer(p[67]), (LINES,), REAL),
        carray(_pointer(p[68]), (PLACES, PLACES), WHOLE),
        carray(_pointer(p[69]), (PLACES, PLACES), WHOLE),
        carray(_pointer(p[70]), (WAYS,), WHOLE),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def routes(p: Any) -> Any:
    """Runs of steps."""
    return Routes(
        carray(_pointer(p[71]), (ROUTES,), WHOLE),
        carray(_pointer(p[72]), (ROUTES,), WHOLE),
        carray(_pointer(p[73]), (STEPS,), WHOLE),
        carray(_pointer(p[74]), (STEPS,), WHOLE),
        carray(_pointer(p[75]), (STEPS,), WHOLE),
        carray(_pointer(p[76]), (STEPS,), REAL),
        carray(_pointer(p[77]), (STEPS,), REAL),
    )


def fabric(cells: int, begin_s: float) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """An empty one at this time: its addresses, and its arrays by name, which must live as long as these are used."""
    made: dict[str, NDArray[Any]] = {name: np.zeros(shape, kind) for name, kind, shape in LAYOUT}
    made["reals"][[NOW_S, IDLE_S]] = begin_s, 10.0
    made["counts"][[CELLS, FREE, FREE_NODE]] = cells, -1, -1
    made["stations.root"][:], made["stations.since_s"][:], made["stations.rate"][:] = -1, begin_s, 1.0
    for name in ("users.head", "users.tail", "users.slot", "lines.at"):
        made[name][:] = -1
    made["users.used_s"][:], made["users.part"][:] = -np.inf, 1.0
    return np.array([array.ctypes.data for array in made.values()], dtype=np.int64), made
