"""Where things stand on a map: metres to pixels at one scale, and places for machines of which none is given.

An edge machine without `at_m` stands beside the cells that it is wired to; what is left (the cloud, as a rule) stands
in a strip above the map, to no scale.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import cos, pi, sin

from isthmus.plot.simulation.scale import MARGIN, WIDTH
from partitioner.topology import Tier
from simulations.scenario import Group, Machine, Point, Scenario

MOST_HEIGHT, LEAST_HEIGHT, EDGE = 560.0, 220.0, 34.0
STRIP = 100.0  # above the map, if any machine stands in it
# Eighths of a turn, clockwise from the east. East of one cell, but aslant of several, which may stand in a row; never
# first north or south, where wires to the strip are.
OF_ONE, OF_SEVERAL = (0, 4, 1, 3, 7, 5, 2, 6), (1, 3, 7, 5, 0, 4, 2, 6)
BESIDE = 38.0  # pixels from cells to a machine whose place is not given


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Pixels of all cells and machines by name; `unplaced` are those of which the scenario does not say where."""

    spots: Mapping[str, Point]
    unplaced: frozenset[str]
    in_strip: tuple[str, ...]
    left: float
    top: float
    right: float
    bottom: float
    west_m: float
    north_m: float
    px_per_m: float

    def spot(self, east_m: float, north_m: float) -> Point:
        """The pixel of a place; north is up."""
        return self.left + (east_m - self.west_m) * self.px_per_m, self.top + (self.north_m - north_m) * self.px_per_m


def layout_of(scenario: Scenario, top: float, radius: float) -> Layout:
    """Everything in its place below `top`; `radius`: how large cells and machines are drawn."""
    sites = [machine for machine in scenario.machines if machine.node.tier is not Tier.DEVICE]
    cells_of = _cells_of(scenario)
    strip = [one.node.name for one in sites if one.at_m is None and not _is_beside(one, cells_of)]
    map_top = top + (STRIP if strip else 0.0)
    plain = _scaled(scenario, sites, map_top)
    spots = {cell.name: plain.spot(*cell.at_m) for cell in scenario.cells}
    spots |= {one.node.name: plain.spot(*one.at_m) for one in sites if one.at_m is not None}
    for number, name in enumerate(strip):
        # In turn a little lower: wires between two of them pass beside a third one.
        spots[name] = WIDTH * (number + 1) / (len(strip) + 1), top + 30.0 + 30.0 * (number % 2)
    unplaced = [one for one in sites if one.at_m is None]
    for one in unplaced:
        if one.node.name not in spots:
            near = [spots[cell] for cell in cells_of[one.node.name]]
            spots[one.node.name] = _beside(near, spots.values(), plain, radius)
    return Layout(
        spots=spots, unplaced=frozenset(one.node.name for one in unplaced), in_strip=tuple(strip), left=plain.left,
        top=plain.top, right=plain.right, bottom=plain.bottom, west_m=plain.west_m, north_m=plain.north_m,
        px_per_m=plain.px_per_m,
    )  # fmt: skip


def _cells_of(scenario: Scenario) -> dict[str, list[str]]:
    """The cells that each machine is wired to."""
    cells = {cell.name for cell in scenario.cells}
    found: dict[str, list[str]] = {}
    for wire in scenario.wires:
        for one, other in ((wire.source, wire.target), (wire.target, wire.source)):
            if other in cells and other not in found.setdefault(one, []):
                found[one].append(other)
    return found


def _is_beside(machine: Machine, cells_of: Mapping[str, list[str]]) -> bool:
    return machine.node.tier is Tier.EDGE and bool(cells_of.get(machine.node.name))


def _scaled(scenario: Scenario, sites: Iterable[Machine], top: float) -> Layout:
    """The map alone: as large as fits, what is on it in its middle."""
    points = [cell.at_m for cell in scenario.cells]
    points += [one.at_m for one in sites if one.at_m is not None]
    points += [point for group in scenario.groups for point in outline_m(group)]
    west, east = min(x for x, _ in points), max(x for x, _ in points)
    south, north = min(y for _, y in points), max(y for _, y in points)
    left, right = MARGIN, WIDTH - MARGIN
    inner = right - left - 2 * EDGE
    px_per_m = min(inner / max(east - west, 1.0), (MOST_HEIGHT - 2 * EDGE) / max(north - south, 1.0))
    height = max((north - south) * px_per_m + 2 * EDGE, LEAST_HEIGHT)
    return Layout(
        spots={}, unplaced=frozenset(), in_strip=(), left=left, top=top, right=right, bottom=top + height,
        west_m=(west + east) / 2 - (right - left) / 2 / px_per_m,
        north_m=(south + north) / 2 + height / 2 / px_per_m, px_per_m=px_per_m,
    )  # fmt: skip


def outline_m(group: Group) -> tuple[Point, ...]:
    """Where its users are: the path that they take, or the corners of their area. Metres."""
    if group.moving.path:
        return tuple((east, north) for _, east, north in group.moving.path)
    west, south, east, north = group.moving.area
    return (west, south), (east, south), (east, north), (west, north)


def _beside(near: list[Point], taken: Iterable[Point], plain: Layout, radius: float) -> Point:
    """Close to the middle of `near`, over nothing that is there already: on ever wider rings."""
    middle = sum(x for x, _ in near) / len(near), sum(y for _, y in near) / len(near)
    others = list(taken)
    room = 2 * radius + 8
    tried: list[Point] = []
    for ring in range(0 if len(near) > 1 else 1, 12):
        for eighth in OF_SEVERAL if len(near) > 1 else OF_ONE:
            angle = eighth * pi / 4
            spot = middle[0] + ring * BESIDE * cos(angle), middle[1] + ring * BESIDE * sin(angle)
            inside = (
                plain.left + room < spot[0] < plain.right - room and plain.top + room < spot[1] < plain.bottom - room
            )
            if inside and all(abs(spot[0] - x) > room or abs(spot[1] - y) > room for x, y in others):
                return spot
            tried.append(spot)
    return tried[0]
