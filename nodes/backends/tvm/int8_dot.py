"""int8 convolutions and matrix products on ARM by tensor intrinsics: sdot and udot where the core has them.

A dot-product instruction multiplies four times four bytes and adds them to four int32 sums. Cores without it, such as
cortex-a72, get NEON's widening multiplications, others plain loops: the sums are the same, wrapping as int32 does.
Weights are stored in the order in which the instruction reads them (`pack`). Nothing is quantised here, and zero points
are the caller's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backends.tvm.cross import fcompile
from nodes.backends.tvm.int8_intrinsics import intrinsic
from nodes.backends.tvm.targets import TargetSpec
from nodes.backends.tvm.vendor import NAME, one_line, quiet, tvm
from nodes.errors import CompileError

FOUR = 4  # bytes that one instruction sums up, and int32 sums that it makes
_TILE_CHANNELS, _TILE_COLUMNS = 16, 4  # 16 vector registers of sums, which leaves as many for inputs and weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Conv:
    """x [height, width, channels] * w [filters, rows, columns, channels] → int32 [.., .., filters], nothing padded.

    `dtype` is int8 or uint8, of both. CompileError where channels or filters are no multiples of four.
    """

    height: int
    width: int
    channels: int
    filters: int
    rows: int = 1
    columns: int = 1
    stride: int = 1
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if self.dtype not in {"int8", "uint8"}:
            raise CompileError(f"{NAME}: an int8 kernel takes int8 or uint8, not {self.dtype}")
        if self.channels % FOUR or self.filters % FOUR:
            raise CompileError(
                f"{NAME}: an int8 kernel takes multiples of four, not {self.channels} channels and "
                f"{self.filters} filters: pad them with zeros"
            )
        if self.rows > self.height or self.columns > self.width:
            raise CompileError(f"{NAME}: a filter of {self.rows} × {self.columns} is larger than its input")

    @property
    def made(self) -> tuple[int, int, int]:
        """The output's shape."""
        return (
            (self.height - self.rows) // self.stride + 1,
            (self.width - self.columns) // self.stride + 1,
            self.filters,
        )

    @property
    def packed(self) -> tuple[int, ...]:
        """The packed weights' shape."""
        return self.filters // FOUR, self.rows, self.columns, self.channels // FOUR, FOUR, FOUR


def matmul(rows: int, depth: int, columns: int, dtype: str = "int8") -> Int8Conv:
    """[rows, depth] × [columns, depth] transposed, as a convolution of 1 × 1 over a picture of one row."""
    return Int8Conv(height=1, width=rows, channels=depth, filters=columns, dtype=dtype)


def pack(conv: Int8Conv, weights: NDArray[Any]) -> NDArray[Any]:
    """Weights [filters, rows, columns, channels] in the order that the kernel reads: fours of filters by channels."""
    split = weights.reshape(conv.filters // FOUR, FOUR, conv.rows, conv.columns, conv.channels // FOUR, FOUR)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 4, 1, 5))


def export_kernel(conv: Int8Conv, spec: TargetSpec, library: Path) -> Any:
    """A shared library for the target with one function, main(x, packed weights, y); TVM's module, for inspection."""
    try:
        with quiet():
            compiled = tvm().compile(schedule(conv, spec), target=tvm().target.Target(dict(spec.kind)))
            compiled.export_library(str(library), fcompile=fcompile(spec))
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"{NAME} cannot compile an int8 kernel for {spec.name}: {one_line(error)}") from None
    return compiled


def schedule(conv: Int8Conv, spec: TargetSpec) -> Any:
    """The kernel as a TIR module: a tile of sums held in registers over the whole reduction, rows in parallel."""
    tvm()
    from tvm.s_tir import Schedule

    made = Schedule(_compute(conv))
    block = made.get_sblock("y")
    row, column, channel, *filters, depth = made.get_loops(block)
    outer_column, column = made.split(column, [None, _divisor(conv.made[1], _TILE_COLUMNS)])
    outer, channel, lane = made.split(channel, [None, _divisor(conv.filters // FOUR, _TILE_CHANNELS // FOUR), FOUR])
    depth, four = made.split(depth, [None, FOUR])
    made.reorder(row, outer_column, outer, *filters, depth, column, channel, lane, four)
    written = made.cache_write(block, 0, "global")
    made.reverse_compute_at(written, outer)
    made.vectorize(made.get_loops(written)[-1])
    made.parallel(made.fuse(row, outer_column, outer))
    zero = made.decompose_reduction(block, filters[0])
    if name := intrinsic(spec, conv.dtype):
        made.tensorize(lane, name)
    made.unroll(column)
    made.unroll(channel)
    *_, first, second, last = made.get_loops(zero)
    made.unroll(first)
    made.unroll(second)
    made.vectorize(last)
    return made.mod


def _compute(conv: Int8Conv) -> Any:
    from tvm import te

    x = te.placeholder((conv.height, conv.width, conv.channels), conv.dtype, name="x")
    w = te.placeholder(conv.packed, conv.dtype, name="w")
    row, column = te.reduce_axis((0, conv.rows)), te.reduce_axis((0, conv.columns))
    depth = te.reduce_axis((0, conv.channels))

    def product(i: Any, j: Any, k: Any) -> Any:
        given = x[i * conv.stride + row, j * conv.stride + column, depth].astype("int32")
        weight = w[k // FOUR, row, column, depth // FOUR, k % FOUR, depth % FOUR].astype("int32")
        return te.sum(given * weight, axis=[row, column, depth])

    y = te.compute(conv.made, product, name="y")
    return tvm().IRModule({"main": te.create_prim_func([x, w, y])})


def _divisor(number: int, most: int) -> int:
    return max(part for part in range(1, most + 1) if number % part == 0)
