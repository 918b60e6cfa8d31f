"""Schedules for CPUs written by hand: what a kernel runs with before anything was measured, and what tuning tries.

A convolution or matrix product keeps a tile of its output in vector registers: `rows` output rows by `columns` output
channels, over all of the sum, then writes it through whatever was fused behind. Everything else runs over its last
axis in vectors. Each schedule keeps its trace, so a measured one is stored and replayed like any of TVM's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from nodes.backends.tvm.blocks import (
    SPATIAL,
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
from nodes.backends.tvm.int8_intrinsics import dot_products
from nodes.backends.tvm.int8_schedule import by_dot_products, sums_bytes

_COLUMNS = 64  # wider tiles of output channels were never faster


@dataclass(frozen=True, slots=True)
class Tile:
    """Output rows and columns that one pass over the sum computes, in vectors of `lanes`, and what stays in reach.

    `stays`: "rows", whose columns are all done before the next rows; "weights" the other way round; "packed" weights
    too, but side by side: the strides of wide layers throw them out of the caches.
    """

    rows: int
    columns: int
    lanes: int
    stays: str = "rows"


@dataclass(frozen=True, slots=True)
class Vectors:
    """A processor's vector registers: floats in each, and how many there are."""

    lanes: int
    registers: int

    @classmethod
    def of(cls, target: Any) -> "Vectors":
        """Of a TVM target: AVX-512 has 32 of 16, AVX2 16 of 8, NEON 32 of 4."""
        from tvm.target.codegen import llvm_get_vector_width

        lanes = max(llvm_get_vector_width(target) // 32, 4)
        return cls(lanes, 16 if lanes == 8 else 32)


def tiles(rows: int, columns: int, vectors: Vectors) -> list[Tile]:
    """Tiles that divide an output of so many rows and columns and fit into the registers, the most promising first.

    What a tile loads per multiplication falls as it grows to a square: 1 / rows for weights, 1 / columns for inputs.
    """
    found = []
    for width in divisors(columns, _COLUMNS):
        waste, lanes = min((_waste(lanes, vectors), lanes) for lanes in divisors(width, vectors.lanes))
        taken = width // lanes
        for height in divisors(rows, 16):
            if taken * height <= vectors.registers - taken - 1:
                found.append((waste * (1 / height + 1 / (4 * taken)), Tile(height, width, lanes)))
    return [tile for _, tile in sorted(found, key=lambda pair: (pair[0], pair[1].rows))]


def _waste(lanes: int, vectors: Vectors) -> float:
    """By how much vectors of so many lanes fall short of full ones; those of no power of two are masked, or torn."""
    return vectors.lanes / lanes * (1.0 if lanes & (lanes - 1) == 0 else 1.35)


def by_hand(module: Any, target: Any, *, most: int) -> Iterator[Any]:
    """Up to `most` schedules of a kernel, the most promising first; none where it is not of a kind known here."""
    from tvm.s_tir import Schedule

    first = Schedule(module)
    anchor = _anchor(first)
    if anchor is None:
        if plain := attempt(_plain, module):
            yield plain
        return
    dot = next((dot for dot in dot_products(target) if sums_bytes(first, anchor, dot)), None)
    yield from _by_tiles(module, target, most=most) if dot is None else by_dot_products(module, dot, most=most)


def _by_tiles(module: Any, target: Any, *, most: int) -> Iterator[Any]:
    from tvm.s_tir import Schedule

    first = Schedule(module)
    anchor = _anchor(first)
    spatial, summed = extents(first, anchor)
    flat = all(extent == 1 for extent in summed[:-1])
    rows = spatial[-2] if len(spatial) > 1 else 1
    if flat and len(spatial) > 2:  # 1 × 1: rows of the picture are one long row
        rows *= spatial[-3]
    inputs, weights = (_elements(region) for region in first.get(anchor).reads)
    made = 0
    for tile in tiles(rows, spatial[-1], Vectors.of(target)):
        orders = ["rows", "weights"]
        if weights > inputs:
            orders = ["weights", "packed", "rows"] if flat else ["packed", "weights", "rows"]
        for stays in orders:
            if made == most:
                return
            if schedule := attempt(_tiled, module, replace(tile, stays=stays), flat):
                made += 1
                yield schedule


def _elements(region: Any) -> int:
    return prod(int(dim) for dim in region.source.ty.shape)


def _anchor(schedule: Any) -> Any:
    """The one block that multiplies and sums two tensors over its last axis, if there is just one sum."""
    sums = [block for block in blocks_of(schedule) if reduces(schedule, block)]
    if len(sums) != 1 or len(schedule.get(sums[0]).reads) != 2:
        return None
    kinds = [int(var.iter_type) for var in schedule.get(sums[0]).iter_vars]
    whole = kinds == sorted(kinds) and kinds.count(SPATIAL) > 1
    return sums[0] if whole else None


def _tiled(module: Any, tile: Tile, flat: bool) -> Any:
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    anchor = _anchor(schedule)
    blocks = blocks_of(schedule)
    at = next(place for place, block in enumerate(blocks) if reduces(schedule, block))
    before, after = blocks[:at], blocks[at + 1 :]
    for block in before:
        if not is_heavy(schedule, block):
            schedule.compute_inline(block)
        else:
            vectorised(schedule, block)
    for block in after[:-1]:
        schedule.compute_inline(block)
    last = after[-1] if after else schedule.cache_write(anchor, 0, "global")
    packed = schedule.cache_read(anchor, 1, "global") if tile.stays == "packed" else None
    outer, rows, columns = _split_output(schedule, last, tile, flat)
    apart = 1 + int(len(outer) > 2)  # loops whose passes share no weights: over a batch and the tiles' columns
    schedule.compute_at(anchor, outer[-1], preserve_unit_loops=True)
    if packed is not None:
        schedule.compute_at(packed, outer[apart - 1], preserve_unit_loops=True)
        schedule.vectorize(schedule.split(schedule.get_loops(packed)[-1], [None, tile.lanes])[1])
    inner = schedule.get_loops(anchor)[len(outer) :]
    spatial, summed = sides(schedule, anchor, inner)
    schedule.reorder(*summed, *spatial)
    unrolled(schedule, spatial, tile.lanes)
    unrolled(schedule, [rows, columns], tile.lanes)
    schedule.parallel(schedule.fuse(*(outer if packed is None else outer[:apart])))
    schedule.decompose_reduction(anchor, summed[0])  # last: no step takes its halves for a sum
    return schedule


def _split_output(schedule: Any, block: Any, tile: Tile, flat: bool) -> tuple[list[Any], Any, Any]:
    """The loops around a tile of the block, the tile's rows, its columns."""
    loops = list(schedule.get_loops(block))
    if flat and len(loops) > 2:
        loops[-3:-1] = [schedule.fuse(*loops[-3:-1])]
    *outer, long, wide = loops
    long_out, rows = schedule.split(long, [None, tile.rows])
    wide_out, columns = schedule.split(wide, [None, tile.columns])
    batch, lines = outer[:1], outer[1:]
    around = [*batch, wide_out, *lines, long_out] if tile.stays != "rows" else [*outer, long_out, wide_out]
    schedule.reorder(*around, rows, columns)
    return around, rows, columns


def _plain(module: Any) -> Any:
    """Every block over its last axis in vectors; sums over the last axis stay as they are."""
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    blocks = blocks_of(schedule)
    for block in blocks[:-1]:
        if not reduces(schedule, block) and not is_heavy(schedule, block):
            attempt(schedule.compute_inline, block)
    for block in blocks_of(schedule):
        vectorised(schedule, block)
    return schedule
