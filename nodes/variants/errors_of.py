"""How far one model's outputs lie from another's. Pure numpy: arrays in, figures out; it runs no model.

x is the reference, y what is judged, over all values of all float outputs and all inputs fed:

- largest and mean: of |x − y|
- relative: the largest |x − y| of any output over that output's largest |x|, as partitioner.profile.TensorFigure has it
- SQNR = 10 · log10(Σx² / Σ(x − y)²) dB, the ratio of signal to quantisation noise (Widrow & Kollár, Quantization Noise)
- cosine = Σxy / (√Σx² · √Σy²) of each row, its mean and its least
- agreement: the share of rows whose largest score is at the same place; certain: of those rows alone whose softmax in
  the reference reaches SURE
- top1, top5: the share of rows whose label has the largest score, one of the five largest; of equal scores the first
  counts as the larger; top5 of six classes or more
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.errors import BadInput

SURE = 0.5
FIVE = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Figures as this module defines them; None where nothing differs (sqnr_db), or where there are no such rows."""

    largest: float
    mean: float
    relative: float
    sqnr_db: float | None
    cosine: float
    least_cosine: float
    agreement: float | None = None
    certain: float | None = None
    certain_rows: int = 0
    rows: int = 0
    top1: float | None = None
    reference_top1: float | None = None
    top5: float | None = None
    reference_top5: float | None = None


def errors_of(
    reference: Sequence[Mapping[str, Array]],
    judged: Sequence[Mapping[str, Array]],
    labels: Sequence[int] | None = None,
) -> Errors:
    """The outputs of two models for the same inputs, one mapping an input.

    Scores are the first float output [rows, classes]; `labels` are those of its rows, one after the other. BadInput if
    there are no outputs of floats, or another number of labels.
    """
    names = [name for name, array in reference[0].items() if array.dtype.kind == "f"] if reference else []
    if not names:
        raise BadInput("errors need an output of floats for one input at least")
    pairs = [[(_wide(a[name]), _wide(b[name])) for a, b in zip(reference, judged, strict=True)] for name in names]
    every = [pair for of_one in pairs for pair in of_one if pair[0].size]
    differences = np.concatenate([np.abs(x - y).ravel() for x, y in every])
    cosines = np.concatenate([_cosines(x, y) for x, y in every])
    scores = next((of_one for of_one in pairs if of_one[0][0].ndim == 2 and of_one[0][0].shape[1] > 1), None)
    return Errors(
        largest=float(differences.max()),
        mean=float(differences.mean()),
        relative=relative_error(every),
        sqnr_db=sqnr_db(every),
        cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        **(_by_label(scores, labels) if scores is not None else {}),
    )


def relative_error(pairs: Iterable[tuple[Array, Array]]) -> float:
    """The worst over pairs of reference and judged: largest |x − y| over largest |x|; without that where x is all 0."""
    worst = 0.0
    for x, y in pairs:
        reference = np.asarray(x, np.float64)
        magnitude = float(np.abs(reference).max(initial=0.0))
        difference = float(np.abs(reference - np.asarray(y, np.float64)).max(initial=0.0))
        worst = max(worst, difference / magnitude if magnitude else difference)
    return worst


def sqnr_db(pairs: Sequence[tuple[Floats, Floats]]) -> float | None:
    """Of pairs of arrays together; None if they are equal."""
    noise = sum(float(np.square(x - y).sum()) for x, y in pairs)
    signal = sum(float(np.square(x).sum()) for x, _ in pairs)
    return 10 * float(np.log10(signal / noise)) if noise and signal else None


def certainty(scores: Floats) -> Floats:
    """The softmax of each row's largest score; of rows that are probabilities already, the largest."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        largest: Floats = scores.max(axis=1)
        return largest
    found: Floats = 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)
    return found


def _by_label(scores: Sequence[tuple[Floats, Floats]], labels: Sequence[int] | None) -> dict[str, Any]:
    before, after = (np.concatenate([pair[side] for pair in scores]) for side in (0, 1))
    best, found = before.argmax(axis=1), after.argmax(axis=1)
    same, sure = best == found, certainty(before) >= SURE
    figures: dict[str, Any] = {
        "agreement": float(same.mean()),
        "certain": float(same[sure].mean()) if sure.any() else None,
        "certain_rows": int(sure.sum()),
        "rows": len(same),
    }
    if labels is not None:
        if len(labels) != len(same):
            raise BadInput(f"{len(labels)} labels were given for {len(same)} rows of scores; give one a row")
        figures |= {"top1": hits(after, labels, 1), "reference_top1": hits(before, labels, 1)}
        if after.shape[1] > FIVE:
            figures |= {"top5": hits(after, labels, FIVE), "reference_top5": hits(before, labels, FIVE)}
    return figures


def hits(scores: Floats, labels: Sequence[int], most: int) -> float:
    """The share of rows of scores [rows, classes] whose label is among the `most` largest."""
    largest = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    return float((largest == np.asarray(labels)[:, None]).any(axis=1).mean())


def _cosines(x: Floats, y: Floats) -> Floats:
    """Of each row; two rows of zeros are alike."""
    rows = x.shape[0] if x.ndim > 1 else 1
    x, y = x.reshape(rows, -1), y.reshape(rows, -1)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    alike = (x == y).all(axis=1)
    found: Floats = np.where(alike, 1.0, (x * y).sum(axis=1) / np.where(lengths > 0, lengths, 1.0))
    return found


def _wide(array: Array) -> Floats:
    return array.astype(np.float64)
