"""Steps that the schedules written by hand share: a kernel's blocks, and what each is turned into."""

import re
from collections.abc import Sequence
from typing import Any

_COLUMNS = 64  # wider vectors of one block were never faster
_PARTIAL = 16  # partial sums of a sum over the last axis
_HEAVY = re.compile(r"T\.(exp|erf|tanh|sigmoid|pow|log|if_then_else|Select)\(")
SPATIAL, REDUCED = 0, 2  # tirx.IterVar's kinds: DataPar, CommReduce


def attempt(schedule: Any, module: Any, *arguments: Any) -> Any:
    """The schedule, or None where a step doesn't apply to this kernel: what is left out is only tried otherwise."""
    try:
        return schedule(module, *arguments)
    except Exception:  # a ScheduleError, of which TVM has no class in Python
        return None


def blocks_of(schedule: Any) -> list[Any]:
    """The kernel's blocks, in the order in which they run."""
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def reduces(schedule: Any, block: Any) -> bool:
    """Whether the block sums something up."""
    return any(int(var.iter_type) == REDUCED for var in schedule.get(block).iter_vars)


def unrolled(schedule: Any, loops: Sequence[Any], lanes: int) -> None:
    """The loops written out, the last in vectors."""
    *above, across = loops
    several, vector = schedule.split(across, [None, lanes])
    for loop in (*above, several):
        schedule.unroll(loop)
    schedule.vectorize(vector)


def vectorised(schedule: Any, block: Any) -> None:
    """The block's last spatial axis in vectors, those before it in parallel."""
    loops = list(schedule.get_loops(block))
    spatial, summed = sides(schedule, block, loops)
    if not spatial:
        return
    extent = int(schedule.get(spatial[-1]).extent)
    width = max(divisors(extent, _COLUMNS))
    if summed and width >= 4 and loops[-1] not in spatial:
        wide, columns = schedule.split(spatial[-1], [None, width])
        outer = [*spatial[:-1], wide]
        schedule.reorder(*outer, *summed, columns)
        schedule.vectorize(columns)
        schedule.parallel(schedule.fuse(*outer))
        start = schedule.decompose_reduction(block, summed[0])
        schedule.vectorize(schedule.get_loops(start)[-1])
        return
    elif summed:
        _summed_in_vectors(schedule, block, spatial, summed)
        return
    else:
        wide, columns = schedule.split(spatial[-1], [None, width])
        outer = [*spatial[:-1], wide]
        schedule.vectorize(columns)
    schedule.parallel(schedule.fuse(*outer))


def _summed_in_vectors(schedule: Any, block: Any, spatial: Sequence[Any], summed: Sequence[Any]) -> None:
    """A sum over the last axis: as many partial sums as a vector has lanes, then those."""
    extent = int(schedule.get(summed[-1]).extent)
    lanes = max(divisors(extent, _PARTIAL))
    if lanes < 4 or lanes == extent:
        schedule.parallel(schedule.fuse(*spatial))
        return
    along, lane = schedule.split(summed[-1], [None, lanes])
    partial = schedule.rfactor(lane, len(spatial))
    rows = schedule.fuse(*schedule.get_loops(block)[: len(spatial)])
    schedule.compute_at(partial, rows)
    *_, first, last = schedule.get_loops(partial)
    kinds = [int(var.iter_type) for var in schedule.get(partial).iter_vars]
    if kinds[-1] == REDUCED:  # the lane comes first
        schedule.reorder(last, first)
        first, last = last, first
    schedule.vectorize(last)
    schedule.parallel(rows)
    start = schedule.decompose_reduction(partial, first)
    schedule.vectorize(schedule.get_loops(start)[-1])
    del along


def is_heavy(schedule: Any, block: Any) -> bool:
    """Whether computing the block's values twice costs more than storing them: padding's branches, exponentials."""
    return _HEAVY.search(schedule.get(block).script()) is not None


def divisors(number: int, most: int) -> Sequence[int]:
    """Of a number, up to `most`, the smallest first."""
    return [value for value in range(1, min(number, most) + 1) if number % value == 0]


def extents(schedule: Any, block: Any) -> tuple[list[int], list[int]]:
    """How far the block's loops go: those over its output, those that it sums over."""
    output, summed = sides(schedule, block, schedule.get_loops(block))
    return [int(schedule.get(loop).extent) for loop in output], [int(schedule.get(loop).extent) for loop in summed]


def sides(schedule: Any, block: Any, loops: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Of the block's innermost loops, one for each of its axes: those over its output, those that it sums over."""
    kinds = [int(var.iter_type) for var in schedule.get(block).iter_vars]
    parted = ([loop for loop, kind in zip(loops, kinds, strict=True) if kind == one] for one in (SPATIAL, REDUCED))
    output, summed = parted
    return output, summed
