"""Shapes that an engine is built for: for each input the least, the likeliest and the most of every dimension.

TensorRT calls it an optimisation profile. A shape outside it is refused here, by name, before the engine sees it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput, CompileError

# A free dimension that is no batch: a sentence's length, a picture's side. The first of these whose likeliest the
# model takes: builders check no more than that, and what lies above a model's own bound fails when it is run.
FREE = tuple((1, max(most // 4, 1), most) for most in (512, 256, 128, 64, 32, 16, 8, 4, 2, 1))


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Of one input: three shapes of the same rank, none of whose dimensions falls from one to the next."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]

    def __post_init__(self) -> None:
        triples = list(zip(self.least, self.best, self.most, strict=False))
        if len({len(self.least), len(self.best), len(self.most)}) > 1 or any(a > b or b > c for a, b, c in triples):
            raise CompileError(f"a shape's least, best and most must have one rank and not fall: {self}")

    def __str__(self) -> str:
        return ":".join("x".join(map(str, shape)) for shape in (self.least, self.best, self.most))

    def holds(self, shape: Sequence[int]) -> bool:
        """Whether an engine built for this range takes a tensor of that shape."""
        bounds = zip(self.least, shape, self.most, strict=False)
        return len(shape) == len(self.least) and all(low <= dim <= high for low, dim, high in bounds)


def read_shapes(text: str) -> Mapping[str, ShapeRange]:
    """Ranges as trtexec's users write them: "ids=1x1:1x128:8x512,gain=…". CompileError says how it is written."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, ranges = part.partition("=")
        try:
            least, best, most = (tuple(int(dim) for dim in shape.split("x")) for shape in ranges.split(":"))
        except ValueError:
            raise CompileError(
                f"option shapes: {part!r} is not written NAME=LEAST:BEST:MOST, such as ids=1x1:1x128:8x512"
            ) from None
        found[name] = ShapeRange(least, best, most)
    return found


def ranges_of(
    inputs: Sequence[TensorSpec],
    *,
    batch: tuple[int, int, int],
    given: Mapping[str, ShapeRange],
    usual: tuple[int, int, int] = FREE[0],
) -> dict[str, ShapeRange]:
    """The range of every input: as given, else `batch` for a free first dimension and `usual` for any other.

    CompileError for a range that fits no input.
    """
    if strange := [name for name in given if name not in [spec.name for spec in inputs]]:
        raise CompileError(f"option shapes: no input {strange[0]!r}; there are {', '.join(s.name for s in inputs)}")
    ranges = {}
    for spec in inputs:
        free = [batch if axis == 0 else usual for axis in range(len(spec.shape))]
        triples = [free[axis] if dim is None else (dim,) * 3 for axis, dim in enumerate(spec.shape)]
        whole = ShapeRange(*(tuple(triple[which] for triple in triples) for which in range(3)))
        ranges[spec.name] = _fitting(spec, given.get(spec.name, whole))
    return ranges


def check_ranges(ranges: Mapping[str, ShapeRange], feeds: Mapping[str, Array]) -> None:
    """BadInput, naming each tensor whose shape the engine was not built for."""
    faults = [
        f"{name!r} has shape {list(feeds[name].shape)}, the engine was built for {one}"
        for name, one in ranges.items()
        if not one.holds(feeds[name].shape)
    ]
    if faults:
        raise BadInput(f"{'; '.join(faults)} (least:best:most; options max_batch and shapes set it)")


def _fitting(spec: TensorSpec, one: ShapeRange) -> ShapeRange:
    fixed = zip(spec.shape, one.least, one.most, strict=False)
    if len(one.least) != len(spec.shape) or any(dim is not None and {dim} != {a, b} for dim, a, b in fixed):
        shape = "x".join("?" if dim is None else str(dim) for dim in spec.shape)
        raise CompileError(f"option shapes: {spec.name} is {shape}, which {one} does not fit")
    return one
