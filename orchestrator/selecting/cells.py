"""What a comparison is made of: a cell's errors and costs, and its row on a node. Values only; nothing is decided."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nodes.selecting.cells import Cell, Footprint, Speed


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRange:
    """Least and greatest of an output over the samples, and of the reference's."""

    name: str
    low: float
    high: float
    reference_low: float
    reference_high: float

    @property
    def kept(self) -> float:
        """The cell's span over the reference's: below 1 where the ends are cut off, as by a saturated int8."""
        span = self.reference_high - self.reference_low
        return (self.high - self.low) / span if span else float(self.high == self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Outputs against the reference's; nodes/variants/errors_of.py has the formulas.

    `max_error` is a share of the output's largest magnitude, `mean_error` is absolute, `cosine` the least of any row.
    `sqnr_db` is None where nothing differs, the agreements without class scores; `certain_agreement` is that of the
    rows of which the reference is sure. `top1` and `top5` are shares of rows whose label is the largest score, among
    the five largest; `top1_loss` is the reference's top-1 less this one's. All three need labels, `top5` six classes.
    """

    max_error: float
    mean_error: float
    sqnr_db: float | None
    cosine: float
    label_agreement: float | None
    certain_agreement: float | None = None
    top1: float | None = None
    top5: float | None = None
    top1_loss: float | None = None
    ranges: tuple[OutputRange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a cell takes to run, and what a request or a million of them take on one node."""

    footprint: Footprint
    energy_j: float | None = None
    energy_source: str | None = None  # "rapl" or "estimated"
    usd_per_million: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The three axes of a cell that ran; `accuracy` is None for want of a reference."""

    speed: Speed
    accuracy: Accuracy | None
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell on a node: its figures, or the reason why there are none."""

    node: str
    cell: Cell
    state: str
    version: str = ""
    reason: str = ""
    figures: Figures | None = None


def row_to_json(row: Row) -> Mapping[str, Any]:
    """A row as plain values, figures by axis."""
    plain = asdict(row)
    plain["cell"]["options"] = dict(row.cell.options)
    if row.figures is not None:
        plain["figures"]["speed"]["answers_per_s"] = row.figures.speed.answers_per_s
        if row.figures.accuracy is not None:
            for entry, one in zip(plain["figures"]["accuracy"]["ranges"], row.figures.accuracy.ranges, strict=True):
                entry["kept"] = one.kept
    return plain
