"""The dynamic range of each float activation over calibration inputs: what a narrower type must hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10, sqrt

import numpy as np
from onnx import ModelProto

from nodes.backend import Array
from nodes.variants.pieces import tapped

FLOAT16_LARGEST = 65504.0
FLOAT16_SMALLEST = 2.0**-14  # of its normal numbers; below it bits are lost


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRange:
    """Lowest and highest value, root mean square, and smallest magnitude above 0 (0 if there is none)."""

    lowest: float
    highest: float
    rms: float
    smallest: float

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.lowest), abs(self.highest))

    @property
    def peak_db(self) -> float:
        """20 · log10(largest / rms), the crest factor: each 6 dB of it cost an integer type one bit."""
        return 20 * log10(self.largest / self.rms) if self.rms else 0.0

    @property
    def dynamic_db(self) -> float:
        """20 · log10(largest / smallest): what a type must span to hold every value."""
        return 20 * log10(self.largest / self.smallest) if self.smallest else 0.0

    @property
    def fits_float16(self) -> bool:
        """Whether no value overflows in half precision."""
        return self.largest <= FLOAT16_LARGEST


def ranges_of(core: ModelProto, feeds: Sequence[Mapping[str, Array]]) -> dict[str, TensorRange]:
    """Each float activation of a pure model, inputs and outputs among them, over all the feeds."""
    known = {tensor.name for tensor in core.graph.initializer}
    names = [entry.name for entry in core.graph.input if entry.name not in known]
    names += [name for node in core.graph.node for name in node.output if name]
    seen: dict[str, list[tuple[float, float, float, float, int]]] = {name: [] for name in names}
    for values in tapped(core, names, feeds):
        for name, array in values.items():
            if array.dtype.kind == "f" and array.size:
                seen[name].append(_sums(array.astype(np.float32, copy=False)))
    return {name: _together(found) for name, found in seen.items() if found}


def _sums(array: Array) -> tuple[float, float, float, float, int]:
    magnitudes = np.abs(array).ravel()
    squares = float(np.dot(magnitudes, magnitudes))
    largest = float(magnitudes.max())
    magnitudes[magnitudes == 0] = np.inf
    smallest = float(magnitudes.min()) if largest else np.inf
    return float(array.min()), float(array.max()), squares, smallest, array.size


def _together(found: Sequence[tuple[float, float, float, float, int]]) -> TensorRange:
    lows, highs, squares, smallest, counts = zip(*found, strict=True)
    return TensorRange(
        lowest=min(lows),
        highest=max(highs),
        rms=sqrt(sum(squares) / sum(counts)),
        smallest=0.0 if min(smallest) == np.inf else min(smallest),
    )
