"""Schedules for CPUs written by hand: what a kernel runs with before anything was measured, and what tuning tries.

A convolution or matrix product keeps a tile of its output in vector registers: `rows` output rows by `columns` output
channels, over all of the sum, then writes it through whatever was fused behind. Everything else runs over its last
axis in vectors. Each schedule keeps its trace, so a measured one is stored and replayed like any of TVM's own.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

_COLUMNS = 64  # wider tiles of output channels were never faster
_PARTIAL = 16  # partial sums of a sum over the last axis
_HEAVY = re.compile(r"T\.(exp|erf|tanh|sigmoid|pow|log|if_then_else|Select)\(")


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
    for width in _divisors(columns, _COLUMNS):
        waste, lanes = min((_waste(lanes, vectors), lanes) for lanes in _divisors(width, vectors.lanes))
        taken = width // lanes
        for height in _divisors(rows, 16):
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
        if plain := _attempt(_plain, module):
            yield plain
        return
    extents = [int(first.get(loop).extent) for loop in first.get_loops(anchor)]
    kinds = [int(var.iter_type) for var in first.get(anchor).iter_vars]
    spatial = [extent for extent, kind in zip(extents, kinds, strict=True) if kind == _SPATIAL]
    flat = all(extent == 1 for extent, kind in list(zip(extents, kinds, strict=True))[:-1] if kind == _REDUCED)
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
            if schedule := _attempt(_tiled, module, replace(tile, stays=stays), flat):
                made += 1
                yield schedule


def _elements(region: Any) -> int:
    return prod(int(dim) for dim in region.source.ty.shape)


_SPATIAL, _REDUCED = 0, 2  # tirx.IterVar's kinds: DataPar, CommReduce


def _attempt(schedule: Any, module: Any, *arguments: Any) -> Any:
    """The schedule, or None where a step doesn't apply to this kernel: what is left out is only tried otherwise."""
    try:
        return schedule(module, *arguments)
    except Exception:  # a ScheduleError, of which TVM has no class in Python
        return None


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def _reduces(schedule: Any, block: Any) -> bool:
    return any(int(var.iter_type) == _REDUCED for var in schedule.get(block).iter_vars)


def _anchor(schedule: Any) -> Any:
    """The one block that multiplies and sums two tensors over its last axis, if there is just one sum."""
    sums = [block for block in _blocks(schedule) if _reduces(schedule, block)]
    if len(sums) != 1 or len(schedule.get(sums[0]).reads) != 2:
        return None
    kinds = [int(var.iter_type) for var in schedule.get(sums[0]).iter_vars]
    whole = kinds == sorted(kinds) and kinds.count(_SPATIAL) > 1
    return sums[0] if whole else None


def _tiled(module: Any, tile: Tile, flat: bool) -> Any:
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    anchor = _anchor(schedule)
    blocks = _blocks(schedule)
    at = next(place for place, block in enumerate(blocks) if _reduces(schedule, block))
    before, after = blocks[:at], blocks[at + 1 :]
    for block in before:
        if not _is_heavy(schedule, block):
            schedule.compute_inline(block)
        else:
            _vectorised(schedule, block)
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
    kinds = [int(var.iter_type) for var in schedule.get(anchor).iter_vars]
    spatial = [loop for loop, kind in zip(inner, kinds, strict=True) if kind == _SPATIAL]
    summed = [loop for loop, kind in zip(inner, kinds, strict=True) if kind == _REDUCED]
    schedule.reorder(*summed, *spatial)
    _unrolled(schedule, spatial, tile.lanes)
    _unrolled(schedule, [rows, columns], tile.lanes)
    schedule.parallel(schedule.fuse(*(outer if packed is None else outer[:apart])))
    schedule.decompose_reduction(anchor, summed[0])  # last: no step takes its halves for a sum
    return schedule


def _unrolled(schedule: Any, loops: Sequence[Any], lanes: int) -> None:
    """The loops written out, the last in vectors."""
    *above, across = loops
    several, vector = schedule.split(across, [None, lanes])
    for loop in (*above, several):
        schedule.unroll(loop)
    schedule.vectorize(vector)


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
    blocks = _blocks(schedule)
    for block in blocks[:-1]:
        if not _reduces(schedule, block) and not _is_heavy(schedule, block):
            _attempt(schedule.compute_inline, block)
    for block in _blocks(schedule):
        _vectorised(schedule, block)
    return schedule


def _vectorised(schedule: Any, block: Any) -> None:
    """The block's last spatial axis in vectors, those before it in parallel."""
    kinds = [int(var.iter_type) for var in schedule.get(block).iter_vars]
    loops = list(schedule.get_loops(block))
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _SPATIAL]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCED]
    if not spatial:
        return
    extent = int(schedule.get(spatial[-1]).extent)
    width = max(_divisors(extent, _COLUMNS))
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
    lanes = max(_divisors(extent, _PARTIAL))
    if lanes < 4 or lanes == extent:
        schedule.parallel(schedule.fuse(*spatial))
        return
    along, lane = schedule.split(summed[-1], [None, lanes])
    partial = schedule.rfactor(lane, len(spatial))
    rows = schedule.fuse(*schedule.get_loops(block)[: len(spatial)])
    schedule.compute_at(partial, rows)
    *_, first, last = schedule.get_loops(partial)
    kinds = [int(var.iter_type) for var in schedule.get(partial).iter_vars]
    if kinds[-1] == _REDUCED:  # the lane comes first
        schedule.reorder(last, first)
        first, last = last, first
    schedule.vectorize(last)
    schedule.parallel(rows)
    start = schedule.decompose_reduction(partial, first)
    schedule.vectorize(schedule.get_loops(start)[-1])
    del along


def _is_heavy(schedule: Any, block: Any) -> bool:
    """Whether computing the block's values twice costs more than storing them: padding's branches, exponentials."""
    return _HEAVY.search(schedule.get(block).script()) is not None


def _divisors(number: int, most: int) -> Sequence[int]:
    return [value for value in range(1, min(number, most) + 1) if number % value == 0]
