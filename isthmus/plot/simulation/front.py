"""A sweep's scenarios by two figures: a dot each with its intervals, and the line of those that no other one beats."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isfinite

from isthmus.plot.simulation.figures import Point, Swept, estimate_told, mean_of, named, points_of, value_told
from isthmus.plot.simulation.labels import Box, Labels
from isthmus.plot.simulation.scale import (
    MARGIN,
    SMALL,
    WIDTH,
    Scale,
    bottom_marks,
    frame,
    heading,
    left_marks,
    nothing,
    title,
)  # fmt: skip
from isthmus.plot.svg import PAPER, element, line, page, path, text

LEFT, RIGHT, HEIGHT, RADIUS = 104.0, 960.0, 440.0, 5.5
ON, OFF = "#0072b2", "#9aa5b1"
MORE_IS_BETTER = ("answered_per_s",)  # of all other figures less is
WIDE = 20.0  # above this ratio of largest to least, an axis is logarithmic


def front(points: Sequence[Point], x: str, y: str) -> list[Point]:
    """Those of which no other is as good in both and better in one, by `x` ascending. A NaN is on no front."""
    there = [one for one in points if isfinite(_mean(one, x)) and isfinite(_mean(one, y))]

    def cost(one: Point) -> tuple[float, float]:
        return _sign(x) * _mean(one, x), _sign(y) * _mean(one, y)

    def beaten(one: Point) -> bool:
        a, b = cost(one)
        return any(c <= a and d <= b and (c < a or d < b) for c, d in map(cost, there))

    return sorted((one for one in there if not beaten(one)), key=lambda one: (_mean(one, x), _mean(one, y)))


def pareto_svg(sweep: Swept, x: str, y: str) -> str:
    """`y` over `x`, figures by name, a dot a scenario. Those without one of both are counted, not drawn.

    Each of `sweep` is a label and its figures: estimates, or a mean and half of the interval (None if not known).
    """
    points, keys = shortly(points_of(sweep))
    name = f"{_plain(y)} against {_plain(x)}"
    there = [one for one in points if isfinite(_mean(one, x)) and isfinite(_mean(one, y))]
    if not there:
        return nothing(name, "no scenario has both figures")
    best = front(there, x, y)
    told = f"{len(best)} of {len(there)} scenarios are beaten by no other in both"
    told += f"; {len(points) - len(there)} without one of both" if len(there) < len(points) else ""
    told += f" · {_better(x, y)} · crosses: 95 % intervals"
    parts, top = heading(name, (told, f"labels: {keys}") if keys else (told,))
    top += 14
    across = _scale(there, x, LEFT, RIGHT)
    up = _scale(there, y, top + HEIGHT, top)
    parts += bottom_marks(across, top, up.start, lambda value: value_told(x, value), 8)
    parts += left_marks(up, LEFT, RIGHT, lambda value: value_told(y, value))
    parts.append(frame(LEFT, top, RIGHT, up.start))
    parts.append(text((LEFT + RIGHT) / 2, up.start + 38, _plain(x), size=12, anchor="middle"))
    parts.append(text(LEFT, top - 7, _plain(y), size=12))
    spots = [(across.at(_mean(one, x)), up.at(_mean(one, y))) for one in best]
    parts += _joined(spots, _sign(x) * _sign(y))
    for one in sorted(there, key=lambda one: one in best):
        parts += _dot(one, x, y, across, up, one in best)
    parts += _labels(there, best, (x, y), (across, up), _boxes(spots))
    described = "; ".join(f"{label}: {estimate_told(x, of[x])}, {estimate_told(y, of[y])}" for label, of in there)
    return page(WIDTH, up.start + 38 + MARGIN, name, f"{described}.", parts)


def _mean(point: Point, figure: str) -> float:
    return mean_of(point[1], figure)


def _sign(figure: str) -> int:
    return -1 if figure.endswith(MORE_IS_BETTER) else 1


def _plain(figure: str) -> str:
    return named(figure) + (" per second" if figure.endswith("_per_s") else "")


def _better(x: str, y: str) -> str:
    if _sign(x) == _sign(y):
        return "less is better in both" if _sign(x) > 0 else "more is better in both"
    more, less = (x, y) if _sign(x) < 0 else (y, x)
    return f"better: more {_plain(more)}, less {_plain(less)}"


def _half(point: Point, figure: str) -> float:
    half = point[1][figure].half
    return half if half is not None and isfinite(half) else 0.0


def _scale(points: Sequence[Point], figure: str, start: float, end: float) -> Scale:
    means = [_mean(one, figure) for one in points]
    low = min(_mean(one, figure) - _half(one, figure) for one in points)
    high = max(_mean(one, figure) + _half(one, figure) for one in points)
    if min(means) > 0 and max(means) > WIDE * min(means):
        low = max(low, min(means) / 3)
        return Scale(low / 1.2, high * 1.2, start, end, logarithmic=True)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    floor = 0.0 if 0 <= low < (high - low) else low - room
    return Scale(floor, high + room, start, end)


def _joined(spots: Sequence[tuple[float, float]], sense: int) -> Iterator[str]:
    """Steps along the front: beyond them everything is beaten. `sense` -1: more is better of one of both figures."""
    if len(spots) < 2:
        return
    steps: list[str | float] = ["M", *spots[0]]
    for (_, y), (x, lower) in pairwise(spots):
        steps += ["L", x, y, "L", x, lower] if sense > 0 else ["L", x, lower]
    yield path(steps, stroke=ON, width=2, stroke_linejoin="round", stroke_opacity=0.55)


def _dot(point: Point, x: str, y: str, across: Scale, up: Scale, is_best: bool) -> Iterator[str]:
    at_x, at_y = across.at(_mean(point, x)), up.at(_mean(point, y))
    colour = ON if is_best else OFF
    for scale, figure, level in ((across, x, True), (up, y, False)):
        half = _half(point, figure)
        if half > 0:
            low, high = scale.at(_mean(point, figure) - half), scale.at(_mean(point, figure) + half)
            ends = (low, at_y, high, at_y) if level else (at_x, low, at_x, high)
            yield line(*ends, stroke=colour, width=1.2)
    told = title(f"{point[0]}: {estimate_told(x, point[1][x])}, {estimate_told(y, point[1][y])}")
    yield element("circle", told, cx=at_x, cy=at_y, r=RADIUS, fill=colour, stroke=PAPER, stroke_width=1.2)


def _boxes(spots: Sequence[tuple[float, float]]) -> list[Box]:
    """What the steps of the front take."""
    found = []
    for (x1, y1), (x2, y2) in pairwise(spots):
        found += [(x1 - 2, y1 - 2, x2 + 2, y1 + 2), (x2 - 2, min(y1, y2) - 2, x2 + 2, max(y1, y2) + 2)]
    return found


def _labels(
    points: Sequence[Point], best: Sequence[Point], figures: tuple[str, str], scales: tuple[Scale, Scale],
    taken: Sequence[Box],
) -> Iterator[str]:  # fmt: skip
    """Those of the front first; one for which there is no room is left to its title."""
    (x, y), (across, up) = figures, scales
    spots = {id(one): (across.at(_mean(one, x)), up.at(_mean(one, y))) for one in points}
    dots = [(a - RADIUS, b - RADIUS, a + RADIUS, b + RADIUS) for a, b in spots.values()]
    labels = Labels((LEFT + 2, up.end, WIDTH - 4, up.start - 2), [*dots, *taken])
    for one in sorted(points, key=lambda one: one not in best):
        yield from labels.place(*spots[id(one)], one[0], off=9, size=SMALL, bold=one in best)


def shortly(points: Sequence[Point]) -> tuple[list[Point], str]:
    """Labels such as "users[0].count=10, policy.kind=edge" as "10, edge" with what these are of, if all name the same.

    Others are left as they are, and nothing is said.
    """
    parts = [[one.partition("=") for one in label.split(", ")] for label, _ in points]
    keys = {tuple(key for key, _, _ in one) for one in parts}
    if len(keys) != 1 or not all(sign for one in parts for _, sign, _ in one):
        return list(points), ""
    short = [", ".join(value for _, _, value in one) for one in parts]
    return [(label, found) for label, (_, found) in zip(short, points, strict=True)], ", ".join(*keys)
