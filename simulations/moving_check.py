"""What is wrong with how users of a scenario move, named by its path in the file."""

from collections.abc import Iterator
from itertools import pairwise

from simulations.scenario_models import MovingModel, ScenarioModel

Fault = tuple[tuple[str | int, ...], str]


def moving_faults(model: ScenarioModel) -> Iterator[Fault]:
    """Each fault, in the order of the groups."""
    for number, group in enumerate(model.users):
        moving = group.moving
        for key, what in (*_speeds(moving), *_blocks(moving), *_points(moving)):
            yield ("users", number, "moving", key), what


def _speeds(moving: MovingModel) -> Iterator[tuple[str, str]]:
    if moving.kind not in ("waypoints", "streets") or moving.speeds_mps is None:
        return
    least, most = moving.speeds_mps
    if not 0 <= least <= most:
        yield "speeds_mps", f"{least:g} to {most:g} m/s: from 0, rising"
    elif least == 0 and moving.kind == "waypoints":
        yield "speeds_mps", "at 0 m/s some would never arrive; begin above 0"


def _blocks(moving: MovingModel) -> Iterator[tuple[str, str]]:
    west, south, east, north = moving.area_m
    if moving.kind == "streets" and moving.block_m and min(east - west, north - south) < moving.block_m:
        yield "block_m", f"{moving.block_m:g} m: not one block fits into {east - west:g} × {north - south:g} m"


def _points(moving: MovingModel) -> Iterator[tuple[str, str]]:
    if moving.kind != "path":
        return
    if len(moving.points) < 2:
        yield "points", f"{len(moving.points)} of them; a path needs two or more, each [seconds, east, north]"
        return
    if moving.points[0][0] != 0:
        yield "points", f"the first is at {moving.points[0][0]:g} s; times count from the path's begin, so it is 0"
    for before, after in pairwise(moving.points):
        if after[0] <= before[0]:
            yield "points", f"{after[0]:g} s is not after {before[0]:g} s; times must rise"
