"""How far a cell's answers are from the reference's: what can't be compared, the errors, and what is left of the range.

The errors are those of nodes/variants/errors_of.py, which has the formulas; outputs of integers count where there are
no others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.variants.errors_of import errors_of
from orchestrator.selecting.cells import Accuracy, OutputRange

Outputs = Sequence[Mapping[str, Array]]  # of each sample, by name


class Incomparable(Exception):
    """Outputs that are not the reference's in shape or hold what is no number; one line."""


def accuracy_of(outputs: Outputs, reference: Outputs, labels: Sequence[int] | None = None) -> Accuracy:
    """The figures of one cell, by `labels` too if there are some: the right class of each row of scores.

    Incomparable for another count, name or shape, and for numbers that are none. BadInput for another number of labels.
    """
    if len(outputs) != len(reference):
        raise Incomparable(f"{len(outputs)} answers where the reference gave {len(reference)}")
    for one, other in zip(outputs, reference, strict=True):
        for name in other:
            _check(name, one, other)
    floats = [name for name, array in reference[0].items() if array.dtype.kind == "f"]
    names = [name for name in floats or reference[0] if any(one[name].size for one in reference)]
    if not names:
        raise Incomparable("the outputs are empty")
    found = errors_of(_wide(reference, names), _wide(outputs, names), labels)
    return Accuracy(
        max_error=found.relative,
        mean_error=found.mean,
        sqnr_db=found.sqnr_db,
        cosine=found.least_cosine,
        label_agreement=found.agreement if floats else None,
        certain_agreement=found.certain if floats else None,
        top1=found.top1,
        top5=found.top5,
        top1_loss=None if found.top1 is None or found.reference_top1 is None else found.reference_top1 - found.top1,
        ranges=tuple(_range(name, outputs, reference) for name in names),
    )


def _check(name: str, outputs: Mapping[str, Array], reference: Mapping[str, Array]) -> None:
    if name not in outputs:
        raise Incomparable(f"output {name!r} is missing")
    found, wanted = outputs[name], reference[name]
    if found.shape != wanted.shape:
        raise Incomparable(f"output {name!r} has shape {list(found.shape)}, the reference's {list(wanted.shape)}")
    if np.isfinite(wanted).all() and not np.isfinite(found).all():
        raise Incomparable(f"output {name!r} holds what is no number where the reference's are finite")


def _wide(series: Outputs, names: Sequence[str]) -> list[dict[str, Array]]:
    """As float64; what is no number in the reference is nothing in both."""
    return [{name: np.nan_to_num(one[name].astype(np.float64)) for name in names} for one in series]


def _range(name: str, outputs: Outputs, reference: Outputs) -> OutputRange:
    found, wanted = (_joined(name, series) for series in (outputs, reference))
    return OutputRange(
        name=name,
        low=float(found.min()),
        high=float(found.max()),
        reference_low=float(wanted.min()),
        reference_high=float(wanted.max()),
    )


def _joined(name: str, series: Outputs) -> NDArray[np.float64]:
    return np.concatenate([np.nan_to_num(one[name].astype(np.float64)).ravel() for one in series])
