"""Functions of lines of text in a picture: where they are, which way up they stand, and each by itself.

A box is four corners (x, y) as parts of the picture's width and height, clockwise from where its text begins, so that
what was found in a small picture is cut out of a large one. There are always `most` boxes; those not needed are 0.
scipy and Pillow are imported when one first runs.
"""

from collections.abc import Mapping
from math import hypot
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.errors import BadInput, EngineMissing
from nodes.functions.params import Function, Inferred, Params, count, number
from nodes.functions.pictures import MAX_PIXELS

Floats = NDArray[np.float64]
MOST = 8  # boxes, unless told otherwise
HEIGHT, WIDTH = 48, 320  # pixels of a line, unless told otherwise
_CANDIDATES = 1000  # spots looked at: the largest
_THINNEST = 3.0  # pixels of a map; what is thinner is no text
_TALL = 1.5  # times as high as wide: text that runs from top to bottom


def _scipy() -> tuple[ModuleType, ModuleType]:
    try:
        from scipy import ndimage, spatial
    except ImportError:
        raise EngineMissing('finding text needs scipy; install it with: pip install "isthmus[pipelines]"') from None
    return ndimage, spatial


def _text_boxes(params: Params, chances: Array) -> tuple[Array, ...]:
    """float32 [1, 1, H, W], how likely text is at each pixel → boxes float32 [most, 4, 2], their scores [most].

    Pixels above `threshold` (0.3) that touch make a spot, its smallest rectangle a box; one whose mean is `least` (0.6)
    or more is made larger on all sides by area × `unclip` (1.6) / girth (Liao et al., AAAI 2020, section 3.5). The
    `most` (8) best are given, from top to bottom, then from left to right. BadInput for a map of no or of too many
    pixels, or with values that are no numbers.
    """
    surface = _map(chances)
    ndimage, spatial = _scipy()
    threshold, least = float(number(params, "threshold", 0.3)), float(number(params, "least", 0.6))
    unclip, most = float(number(params, "unclip", 1.6)), count(params, "most", MOST)
    spots, many = ndimage.label(surface > threshold, np.ones((3, 3)))
    sizes = np.bincount(spots.reshape(-1), minlength=many + 1)[1:]
    means = np.asarray(ndimage.mean(surface, spots, np.arange(1, many + 1))) if many else np.zeros(0)
    places = ndimage.find_objects(spots)
    found = []
    for at in np.argsort(-sizes, kind="stable")[:_CANDIDATES]:
        if means[at] < least:
            continue
        rows, columns = places[at]
        points = _outline(spots[rows, columns] == at + 1) + np.array([columns.start, rows.start])
        box, sides = _smallest(points[spatial.ConvexHull(points).vertices])
        if min(sides) >= _THINNEST:
            found.append((float(means[at]), _grown(box, sides, unclip)))
    best = sorted(found, key=lambda pair: -pair[0])[:most]
    return _as_tensors(best, surface.shape, most)


def _map(chances: Array) -> Floats:
    if chances.ndim != 4 or chances.shape[:2] != (1, 1) or not chances.size:
        raise BadInput(f"a map of text is float32 [1, 1, height, width], not {list(chances.shape)}")
    if chances.size > MAX_PIXELS:
        raise BadInput(f"a map of {chances.shape[3]} × {chances.shape[2]} exceeds {MAX_PIXELS:,} pixels")
    if not np.isfinite(chances).all():
        raise BadInput("a map of text with values that are no numbers")
    return np.asarray(chances[0, 0], np.float64)


def _as_tensors(best: list[tuple[float, Floats]], shape: tuple[int, ...], most: int) -> tuple[Array, ...]:
    """In the order in which they are read: lines whose tops differ by less than half their height are beside."""
    boxes, scores = np.zeros((most, 4, 2), np.float32), np.zeros(most, np.float32)
    waiting = sorted(best, key=lambda pair: float(pair[1][:, 1].mean()))
    ordered: list[tuple[float, Floats]] = []
    while waiting:
        first = waiting[0][1]
        below = first[:, 1].mean() + hypot(*(first[3] - first[0])) / 2
        row = [pair for pair in waiting if pair[1][:, 1].mean() < below]
        ordered += sorted(row, key=lambda pair: float(pair[1][:, 0].mean()))
        waiting = waiting[len(row) :]
    for at, (score, box) in enumerate(ordered):
        boxes[at] = np.clip(box / (shape[1], shape[0]), 0, 1)
        scores[at] = score
    return boxes, scores


def _outline(spot: NDArray[np.bool_]) -> Floats:
    """The outer corners of the first and last pixel of each row [n, 2]."""
    rows = np.flatnonzero(spot.any(axis=1))
    left, right = spot[rows].argmax(axis=1), spot.shape[1] - spot[rows][:, ::-1].argmax(axis=1)
    corners = [np.stack([x, y], axis=1) for x in (left, right) for y in (rows, rows + 1)]
    return np.concatenate(corners).astype(np.float64)


def _smallest(hull: Floats) -> tuple[Floats, tuple[float, float]]:
    """The smallest rectangle around a convex polygon, of which one side lies along one of the polygon's.

    Its corners, clockwise from the upper left one, and the lengths of its sides, along the text and across.
    """
    edges = np.roll(hull, -1, axis=0) - hull
    turns = np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2)
    turns = np.unique(np.where(turns > np.pi / 4, turns - np.pi / 2, turns))
    axes = np.stack([np.cos(turns), np.sin(turns), -np.sin(turns), np.cos(turns)], axis=1).reshape(-1, 2, 2)
    seen = hull @ axes.transpose(0, 2, 1)  # [turns, points, 2], along and across
    low, high = seen.min(axis=1), seen.max(axis=1)
    best = int((high - low).prod(axis=1).argmin())
    (left, top), (right, bottom) = low[best], high[best]
    box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) @ axes[best]
    sides = float(right - left), float(bottom - top)
    if sides[1] >= _TALL * sides[0]:
        return np.roll(box, -1, axis=0), sides[::-1]
    return box, sides


def _grown(box: Floats, sides: tuple[float, float], unclip: float) -> Floats:
    along, across = (box[1] - box[0]) / sides[0], (box[3] - box[0]) / sides[1]
    by = unclip * sides[0] * sides[1] / (2 * sum(sides))
    return np.asarray(box + by * np.array([-along - across, along - across, along + across, across - along]))


def _turn_boxes(params: Params, boxes: Array, chances: Array) -> tuple[Array, ...]:
    """float32 boxes [n, 4, 2] and how likely each is upright and upside down [n, 2] → the boxes the right way up.

    Those are turned that are upside down with `least` (0.9) or more: what a classifier is not sure of stays.
    """
    _check_boxes(boxes)
    if chances.shape != (len(boxes), 2):
        raise BadInput(f"{len(boxes)} boxes need chances [{len(boxes)}, 2], not {list(chances.shape)}")
    turned = np.asarray(chances[:, 1], np.float64) >= float(number(params, "least", 0.9))
    return (np.where(turned[:, None, None], np.roll(boxes, 2, axis=1), boxes),)


def _cut_lines(params: Params, picture: Array, boxes: Array) -> tuple[Array, ...]:
    """uint8 [H, W, 3] and boxes float32 [n, 4, 2] → float32 [n, 3, height, width] in −1…1: the lines in them.

    Each is brought to `height` (48), squeezed if it is wider than `width` (320) then, and filled up with 0 at its end.
    A box without a size gives zeros.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise BadInput(f"a picture is uint8 [height, width, 3], not {picture.dtype} {list(picture.shape)}")
    _check_boxes(boxes)
    height, width = count(params, "height", HEIGHT), count(params, "width", WIDTH)
    lines = np.zeros((len(boxes), 3, height, width), np.float32)
    for at, box in enumerate(boxes.astype(np.float64) * (picture.shape[1], picture.shape[0])):
        line = _cut(picture, box, height, width)
        lines[at, :, :, : line.shape[1]] = line.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    return (lines,)


def _cut(picture: Array, box: Floats, height: int, width: int) -> Array:
    """uint8 [height, at most width, 3]; of width 0 where the box holds no pixel."""
    from PIL import Image

    long, high = hypot(*(box[1] - box[0])), hypot(*(box[3] - box[0]))
    if min(long, high) < 1:
        return np.zeros((height, 0, 3), np.uint8)
    low = np.floor(box.min(axis=0)).astype(int).clip(0)
    right, bottom = (np.ceil(box.max(axis=0)).astype(int) + 1).tolist()
    part: Any = Image.fromarray(np.ascontiguousarray(picture[low[1] : bottom, low[0] : right]))
    many = max(1, int(high // height))  # pixels that become one are averaged first
    part = part.reduce(many) if many > 1 else part
    corners = (box - low) / many
    to = min(width, max(1, round(height * long / high)))
    quad = corners[[0, 3, 2, 1]].reshape(-1).tolist()
    return np.asarray(part.transform((to, height), Image.Transform.QUAD, quad, Image.Resampling.BICUBIC))


def _check_boxes(boxes: Array) -> None:
    if boxes.ndim != 3 or boxes.shape[1:] != (4, 2):
        raise BadInput(f"boxes are float32 [n, 4, 2], not {list(boxes.shape)}")
    corners = np.asarray(boxes, np.float64)
    if not ((corners >= 0) & (corners <= 1)).all():  # NaN is not, either
        raise BadInput("boxes with corners outside the picture, or that are no numbers")


def _boxes_of(params: Params, _chances: Any) -> tuple[Inferred, ...]:
    most = count(params, "most", MOST)
    return ("float32", (most, 4, 2)), ("float32", (most,))


def _lines_of(params: Params, _picture: Any, boxes: tuple[int | None, ...]) -> tuple[Inferred, ...]:
    return (("float32", (boxes[0], 3, count(params, "height", HEIGHT), count(params, "width", WIDTH))),)


LINES: Mapping[str, Function] = {
    "text_boxes": Function(
        _text_boxes, _boxes_of, ("float32",), ("boxes", "scores"), params=("threshold", "least", "unclip", "most")
    ),
    "turn_boxes": Function(
        _turn_boxes,
        lambda params, boxes, chances: (("float32", boxes),),
        ("float32", "float32"),
        ("boxes",),
        params=("least",),
    ),
    "cut_lines": Function(_cut_lines, _lines_of, ("uint8", "float32"), ("lines",), params=("height", "width")),
}
