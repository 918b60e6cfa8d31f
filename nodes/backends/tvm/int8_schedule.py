"""Schedules of kernels that sum products of bytes: a tile of sums held in registers over the whole sum, by tensor
intrinsics, then written through whatever was fused behind.

Tiles and orders are tried as those of `schedules` are. Kernels are known by their weights, packed for an instruction.
"""

from collections.abc import Iterator
from typing import Any

from nodes.backends.tvm.blocks import (
    attempt,
    blocks_of,
    divisors,
    extents,
    is_heavy,
    reduces,
    sides,
    unrolled,
    vectorised,
)
from nodes.backends.tvm.int8_intrinsics import FOUR, DotProduct

_SUMS = 24  # of 32 vector registers


def sums_bytes(schedule: Any, anchor: Any, dot: DotProduct) -> bool:
    """Whether the block sums products of activations and of weights packed for the instruction."""
    given, weights = (region.source for region in schedule.get(anchor).reads)
    last = [int(dim) for dim in weights.ty.shape[-2:]]
    types = [str(part.ty.dtype) for part in (given, weights)]
    return types == [dot.activations, "int8"] and last == [dot.lanes, FOUR]


def dot_tiles(lines: int, width: int, channels: int, lanes: int) -> list[tuple[int, int]]:
    """Tiles of rows by channels that divide an output and leave registers for what is multiplied, best first.

    Rows are parts of a line of `width`, or several whole ones of `lines`.

    What a tile loads per instruction: one vector of weights for each row, one spread input for each vector of channels.
    """
    found = []
    rows = [*divisors(width, _SUMS), *(width * several for several in divisors(lines, _SUMS) if several > 1)]
    for wide in divisors(channels // lanes, _SUMS):
        for long in rows:
            if wide * long <= _SUMS:
                found.append((1 / long + 1 / wide, (long, wide * lanes)))
    return [tile for _, tile in sorted(found)]


def by_dot_products(module: Any, dot: DotProduct, *, most: int) -> Iterator[Any]:
    """Up to `most` schedules of a kernel whose sums are such, the most promising first."""
    from tvm.s_tir import Schedule

    first = Schedule(module)
    anchor = next(block for block in blocks_of(first) if reduces(first, block))
    spatial, summed = extents(first, anchor)
    flat = len(summed) > 1 and all(extent == 1 for extent in summed[:-1])
    lines = spatial[-3] if flat else 1
    made = 0
    for long, wide in dot_tiles(lines, spatial[-2], spatial[-1], dot.lanes):
        for rows_stay in (True, False):
            if made == most:
                return
            if schedule := attempt(_tiled, module, dot, (long, wide), flat, rows_stay):
                made += 1
                yield schedule


def _tiled(module: Any, dot: DotProduct, tile: tuple[int, int], flat: bool, rows_stay: bool) -> Any:
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    blocks = blocks_of(schedule)
    at = next(place for place, block in enumerate(blocks) if reduces(schedule, block))
    anchor, before, after = blocks[at], blocks[:at], blocks[at + 1 :]
    for block in before:
        if is_heavy(schedule, block):
            vectorised(schedule, block)
        else:
            schedule.compute_inline(block)
    for block in after[:-1]:
        schedule.compute_inline(block)
    # Sums leave the registers by copies alone: what is behind them, written out as often, takes LLVM too long.
    stored = schedule.cache_write(anchor, 0, "global")
    last = after[-1] if after else stored
    loops = list(schedule.get_loops(last))
    if flat:
        loops[-3:-1] = [schedule.fuse(*loops[-3:-1])]
    *outer, long, across = loops
    long_out, rows = schedule.split(long, [None, tile[0]])
    across_out, columns = schedule.split(across, [None, tile[1]])
    around = [*outer, long_out, across_out] if rows_stay else [*outer, across_out, long_out]
    schedule.reorder(*around, rows, columns)
    if after:
        schedule.compute_at(stored, around[-1], preserve_unit_loops=True)
        unrolled(schedule, schedule.get_loops(stored)[len(around) :], dot.lanes)
    schedule.compute_at(anchor, around[-1], preserve_unit_loops=True)
    inner = schedule.get_loops(anchor)[len(around) :]
    spatial, summed = sides(schedule, anchor, inner)
    vectors, lane = schedule.split(spatial[-1], [None, dot.lanes])
    depth, four = schedule.split(summed[-1], [None, FOUR])
    steps = [*summed[:-1], depth]
    schedule.reorder(*steps, *spatial[:-1], vectors, lane, four)
    for loop in (*spatial[:-1], vectors):
        schedule.unroll(loop)
    if after:
        schedule.vectorize(schedule.split(columns, [None, dot.lanes])[1])
    else:
        unrolled(schedule, [rows, columns], dot.lanes)
    schedule.parallel(schedule.fuse(*around))
    start = schedule.decompose_reduction(anchor, steps[0])
    schedule.tensorize(lane, dot.name)
    *several, zeros = schedule.get_loops(start)[-(len(spatial) + 1) :]
    for loop in several:
        schedule.unroll(loop)
    schedule.vectorize(zeros)
    return schedule
