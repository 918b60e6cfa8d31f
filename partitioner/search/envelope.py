"""The lower envelope of planes over a convex polygon: which plane is lowest where, and at which corners that changes.

Plain geometry in two dimensions: it knows no plans. Coordinates are meant to be near 1 in size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ROUNDING = 1e-12  # relative to the planes' size; a corner this near to a border is on it

Corner = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """The function base + slope_u·u + slope_v·v."""

    base: float
    slope_u: float
    slope_v: float

    def at(self, corner: Corner) -> float:
        """Its value there."""
        return self.base + self.slope_u * corner[0] + self.slope_v * corner[1]

    def less(self, other: "Plane") -> "Plane":
        """The difference, which is 0 or below where this plane is not above the other."""
        return Plane(
            base=self.base - other.base, slope_u=self.slope_u - other.slope_u, slope_v=self.slope_v - other.slope_v
        )

    @property
    def size(self) -> float:
        """The largest of its figures, to judge rounding by."""
        return max(abs(self.base), abs(self.slope_u), abs(self.slope_v))


def below(polygon: Sequence[Corner], plane: Plane, rounding: float) -> list[Corner]:
    """The part of a convex polygon where the plane is at most 0, up to rounding; empty if there is none.

    Sutherland, Hodgman: Reentrant polygon clipping (1974), for one border.
    """
    kept: list[Corner] = []
    heights = [plane.at(corner) for corner in polygon]
    for number, corner in enumerate(polygon):
        before, height_before = polygon[number - 1], heights[number - 1]
        height = heights[number]
        if min(height, height_before) < -rounding and max(height, height_before) > rounding:
            part = height_before / (height_before - height)
            kept.append((before[0] + part * (corner[0] - before[0]), before[1] + part * (corner[1] - before[1])))
        if height <= rounding:
            kept.append(corner)
    return kept


def centre(polygon: Sequence[Corner]) -> Corner:
    """The mean of the corners, which is inside."""
    return sum(u for u, _ in polygon) / len(polygon), sum(v for _, v in polygon) / len(polygon)


class Envelope:
    """Planes over a polygon, with the `regions` where each is lowest; they tile it. Grows by one plane at a time."""

    def __init__(self, polygon: Sequence[Corner], plane: Plane) -> None:
        self._polygon = list(polygon)
        self.regions: list[tuple[Plane, list[Corner]]] = [(plane, self._polygon)]
        self._size = plane.size

    def add(self, plane: Plane) -> None:
        """One more plane; it takes what lies above it from the others."""
        self._size = max(self._size, plane.size)
        rounding = self._size * ROUNDING
        own = self._polygon
        for other, _ in self.regions:
            own = below(own, plane.less(other), rounding)
        regions = [(other, below(region, other.less(plane), rounding)) for other, region in self.regions]
        self.regions = [(other, region) for other, region in [*regions, (plane, own)] if len(region) > 2]

    def at(self, corner: Corner) -> float:
        """The lowest plane's value there."""
        return min(plane.at(corner) for plane, _ in self.regions)

    def corners(self) -> list[Corner]:
        """Every corner of every region; some more than once."""
        return [corner for _, region in self.regions for corner in region]
