"""Functions that turn what models say into decisions: the likeliest labels, boxes, lines read, votes and rules."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.functions import params as given
from nodes.functions.params import Function, Inferred, Params, Shape, count, number, words
from nodes.functions.rules import Rule
from nodes.functions.text import held
from nodes.held import STRING

Floats = NDArray[np.float64]
MOST_BOXES = 10_000


def _top_k(params: Params, logits: Array) -> tuple[Array, ...]:
    """float32 [1, classes] or [classes] → string [k], the names of the largest in `labels`, and their softmax [k]."""
    labels, many = words(params, "labels"), count(params, "k", 1)
    row = logits.reshape(-1).astype(np.float64)
    if row.size != len(labels) or many > row.size:
        raise BadInput(f"{row.size} values for {len(labels)} labels, of which {many} are wanted")
    order = np.argsort(-row, kind="stable")[:many]
    return held([labels[at] for at in order]), softmax(row)[order].astype(np.float32)


def softmax(values: Array) -> Array:
    """Along the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _nms(params: Params, boxes: Array, scores: Array) -> tuple[Array, ...]:
    """float32 boxes [n, 4] (left, top, right, bottom), scores [n] → int64 [kept], best first.

    Greedy non-maximum suppression: a box goes that overlaps a better one by more than `iou` (intersection over union,
    0.5), or scores below `least` (0). Of more boxes than `most` (10,000) the best are looked at.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise BadInput(f"boxes [n, 4] and scores [n] are needed, not {list(boxes.shape)} and {list(scores.shape)}")
    overlap, least = float(number(params, "iou", 0.5)), float(number(params, "least", 0.0))
    values = scores.astype(np.float64)
    best = np.argsort(-values, kind="stable")[: count(params, "most", MOST_BOXES)]
    kept = _kept(boxes.astype(np.float64), overlap, best[values[best] >= least])
    return (np.array(kept, np.int64),)


def _kept(boxes: Floats, overlap: float, waiting: NDArray[np.intp]) -> list[int]:
    """Those of `waiting`, best first, that no better one overlaps."""
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        shared = np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - np.maximum(boxes[best, :2], boxes[waiting, :2])
        common = shared.clip(0).prod(axis=1)
        waiting = waiting[common <= overlap * (areas[best] + areas[waiting] - common)]
    return kept


def _ctc_decode(params: Params, logits: Array) -> tuple[Array, ...]:
    """float32 [n, steps, letters] → string [n] and the mean probability of its letters [n], 0 where none was read.

    Greedy: the likeliest letter of each step, repeats joined, blanks left out (Graves et al., ICML 2006). `alphabet`
    names them all; the letter at `blank` (0) is the blank. With `probabilities` 1 the values are such already.
    """
    alphabet, blank = words(params, "alphabet"), count(params, "blank", 0, least=0)
    if logits.ndim != 3 or logits.shape[2] != len(alphabet):
        raise BadInput(f"values [n, steps, {len(alphabet)}] are needed, not {list(logits.shape)}")
    chances = logits if number(params, "probabilities", 0) else softmax(logits)
    lines, sure = [], np.zeros(len(logits), np.float32)
    for at, row in enumerate(chances):
        best = row.argmax(axis=1)
        said = (best != blank) & np.concatenate(([True], best[1:] != best[:-1]))
        lines.append("".join(alphabet[letter] for letter in best[said]))
        if said.any():
            sure[at] = row.max(axis=1)[said].mean()
    return held(lines), sure


def _vote(params: Params, *labels: Array) -> tuple[Array, ...]:
    """One int64 [1] each → the int64 [1] that most say, weighed by `weights`; of equals the one said first."""
    _check_given(labels)
    told = [int(label.reshape(-1)[0]) for label in labels]
    weights = given.numbers(params, "weights", 1.0)
    weights = weights * len(told) if len(weights) == 1 else weights
    if len(weights) != len(told):
        raise BadInput(f"{len(told)} votes with {len(weights)} weights")
    sums: dict[int, float] = {}
    for label, weight in zip(told, weights, strict=True):
        sums[label] = sums.get(label, 0.0) + weight
    return (np.array([max(sums, key=sums.__getitem__)], np.int64),)


def _rule(params: Params, *values: Array) -> tuple[Array, ...]:
    """One number each, called by `names` → bool [1]: whether the condition `when` holds of them (rules.py)."""
    names = words(params, "names")
    if len(names) != len(values):
        raise BadInput(f"{len(values)} values for the names {', '.join(names)}")
    _check_given(values)
    numbers = {name: float(value.reshape(-1).max()) for name, value in zip(names, values, strict=True)}
    return (np.array([Rule.of(given.text(params, "when"), tuple(names)).holds(numbers)]),)


def _check_given(arrays: Sequence[Array]) -> None:
    if empty := [str(at) for at, array in enumerate(arrays) if not array.size]:
        raise BadInput(f"nothing is in number {', '.join(empty)} of what is decided by")


def _ranked(params: Params, logits: Shape) -> tuple[Inferred, ...]:
    many = count(params, "k", 1)
    return (STRING, (many,)), ("float32", (many,))


DECIDING: Mapping[str, Function] = {
    "top_k": Function(_top_k, _ranked, ("float32",), ("labels", "shares"), params=("labels", "k")),
    "nms": Function(
        _nms,
        lambda params, boxes, scores: (("int64", (None,)),),
        ("float32", "float32"),
        ("kept",),
        params=("iou", "least", "most"),
    ),
    "ctc_decode": Function(
        _ctc_decode,
        lambda params, logits: ((STRING, logits[:1]), ("float32", logits[:1])),
        ("float32",),
        ("lines", "sure"),
        params=("alphabet", "blank", "probabilities"),
    ),
    "vote": Function(
        _vote, lambda params, *labels: (("int64", (1,)),), ("int64",), ("label",), many=True, params=("weights",)
    ),
    "rule": Function(
        _rule, lambda params, *values: (("bool", (1,)),), (None,), ("holds",), many=True, params=("names", "when")
    ),
}
