"""The users of a scenario: where they are, how they move, and when they ask."""

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import pairwise
from math import cos, pi

import numpy as np

from simulations.air import Positions
from simulations.arrivals import Arrivals, Diurnal, OnOff, Poisson, Recorded, Regular, read_arrivals
from simulations.draws import Draws
from simulations.mobility import Mobility, Path, RandomWaypoint, Standing, StreetGrid
from simulations.scenario import Asking, Change, Group, Moving, Scenario

WINDOW_S = 30.0  # for which arrivals are drawn at once


def positions(scenario: Scenario, draws: Draws) -> Positions:
    """All users, group after group."""
    return Positions([(_mover(group, draws), group.moving.area[:2]) for group in scenario.groups])


def _mover(group: Group, draws: Draws) -> Mobility:
    moving, draw = group.moving, draws.of("moving", group.name)
    west, south, east, north = moving.area
    size_m = (east - west, north - south)
    match moving.kind:
        case "standing":
            return Standing.scattered(group.count, size_m, draw)
        case "waypoints":
            return RandomWaypoint(group.count, size_m, draw, speeds=moving.speeds, rest_s=moving.rest_s)
        case "streets":
            return StreetGrid(group.count, size_m, draw, block_m=moving.block_m, speeds=moving.speeds)
        case "path":
            return _path(moving, group.count)


def _path(moving: Moving, users: int) -> Path:
    at_s, points_m = np.array([point[0] for point in moving.path]), np.array([point[1:] for point in moving.path])
    return Path(at_s, points_m - np.array(moving.area[:2]), users=users, spacing_s=moving.spacing_s)


class Asks:
    """When the users of one group ask. Where its rate is multiplied, its own time runs faster."""

    def __init__(self, group: Group, first_user: int, draws: Draws, changes: Iterable[Change] = ()) -> None:
        self._first, self._count = first_user, group.count
        self._changes = [(0.0, 1.0), *((one.at_s, one.times) for one in changes if one.group == group.name)]
        self._own_s = 0.0  # the group's own time at the end of the last window
        is_shared = group.asking.kind == "recorded"
        self._dealt = 0
        self._sources: list[Arrivals] = [
            _source(group.asking, draws.of("asking", f"{group.name}/{number}"))
            for number in range(1 if is_shared else group.count)
        ]
        self._is_shared = is_shared

    def window(self, from_s: float, until_s: float) -> list[tuple[float, int]]:
        """Times and users, ascending; windows follow each other, and the rate changes only between them."""
        times = next(times for at_s, times in reversed(self._changes) if at_s <= from_s)
        begin_s, end_s = self._own_s, self._own_s + (until_s - from_s) * times
        self._own_s = end_s
        found: list[tuple[float, int]] = []
        for number, source in enumerate(self._sources):
            at_s = from_s + (source.window(begin_s, end_s) - begin_s) / times
            if self._is_shared:
                users = self._first + (self._dealt + np.arange(len(at_s))) % self._count
                self._dealt += len(at_s)
                found += zip(at_s.tolist(), users.tolist(), strict=True)
            else:
                found += [(one, self._first + number) for one in at_s.tolist()]
        found.sort()
        return found


def _source(asking: Asking, draw: np.random.Generator) -> Arrivals:
    match asking.kind:
        case "poisson":
            return Poisson(asking.per_s, draw)
        case "regular":
            return Regular(asking.per_s, draw)
        case "on-off":
            return OnOff(asking.per_s, draw, on_s=asking.on_s, off_s=asking.off_s)
        case "diurnal":
            return Diurnal(asking.per_s, draw, swing=asking.swing, period_s=asking.period_s, peak_s=asking.peak_s)
        case "recorded":
            assert asking.file is not None
            read: Recorded = read_arrivals(asking.file)
            return read


def mean_per_s(group: Group) -> float:
    """Requests a second of one user, over a long time."""
    mean = _source(group.asking, np.random.default_rng(0)).mean_per_s
    return mean / group.count if group.asking.kind == "recorded" else mean


def busiest_per_s(group: Group, duration_s: float) -> float:
    """The same while the group asks most; of one that is on and off, over a long time all the same."""
    asking = group.asking
    if asking.kind != "diurnal":
        return mean_per_s(group)
    to_peak_s = asking.peak_s % asking.period_s  # from the begin to the first peak
    ends_s = (0.0, duration_s) if to_peak_s > duration_s else (to_peak_s,)
    swings = (cos(2 * pi * (at_s - asking.peak_s) / asking.period_s) for at_s in ends_s)
    return asking.per_s * (1 + asking.swing * max(swings))


def edges_s(scenario: Scenario) -> Iterator[tuple[float, float]]:
    """Windows of at most WINDOW_S that end where a group's rate changes."""
    cuts = sorted({0.0, scenario.duration_s, *(one.at_s for one in scenario.changes if one.group is not None)})
    for begin_s, end_s in pairwise(cuts):
        at_s = begin_s
        while at_s < end_s:
            yield at_s, min(at_s + WINDOW_S, end_s)
            at_s = min(at_s + WINDOW_S, end_s)


def together(windows: list[list[tuple[float, int]]]) -> list[tuple[float, int]]:
    """Several groups' arrivals in one order."""
    return windows[0] if len(windows) == 1 else list(merge(*windows))
