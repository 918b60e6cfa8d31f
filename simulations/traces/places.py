"""Reads where base stations and users are: the EUA data sets (Lai et al., ICSOC 2018, MIT).

Files are CSV with a header: `LATITUDE,LONGITUDE` and, of sites, `SITE_ID`; letters' case does not matter. Places become
metres east and north of a point, on a plane that touches the earth there: within 50 km true to a thousandth.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from simulations.errors import BadTrace, OutOfRange
from simulations.radio.path_loss import Floats
from simulations.traces.text import read_named

EARTH_M = 6_371_000.0
MOST_M = 50_000.0


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Named places: `at_m` is places × (east, north), from `origin` (latitude, longitude in degrees)."""

    names: tuple[str, ...]
    at_m: Floats
    origin: tuple[float, float]

    def place(self, name: str) -> tuple[float, float]:
        """Where one of them is. OutOfRange for a name that none has, or more than one."""
        found = [number for number, one in enumerate(self.names) if one == name]
        if len(found) > 1:
            raise OutOfRange(f"{name!r} names {len(found)} places; give each its own SITE_ID")
        if not found:
            near = get_close_matches(name, self.names, n=3) or self.names[:3]
            raise OutOfRange(f"no place {name!r}; there are {len(self.names)}, such as {', '.join(near)}")
        east_m, north_m = self.at_m[found[0]].tolist()
        return east_m, north_m


def read_places(path: Path, origin: tuple[float, float] | None = None) -> Places:
    """Sites or users of a file, around `origin` or, without one, around their own middle.

    BadTrace with the line for what is no place, or lies farther from the origin than the plane is true.
    """
    rows = read_named(path)
    if not rows:
        raise BadTrace(f"{path}: names no place")
    lowered = [{str(key).strip().lower(): value for key, value in row.items()} for row in rows]
    degrees = np.array([_degrees(path, line, row) for line, row in enumerate(lowered, 2)])
    names = tuple(str(row.get("site_id") or f"{number}") for number, row in enumerate(lowered, 1))
    centre = origin or (float(degrees[:, 0].mean()), float(degrees[:, 1].mean()))
    north_m = np.radians(degrees[:, 0] - centre[0]) * EARTH_M
    east_m = np.radians(degrees[:, 1] - centre[1]) * EARTH_M * np.cos(np.radians(centre[0]))
    at_m = np.stack([east_m, north_m], axis=1)
    if (far := np.flatnonzero(np.hypot(east_m, north_m) > MOST_M)).size:
        away_km = float(np.hypot(*at_m[far[0]])) / 1e3
        raise BadTrace(f"{path}, line {int(far[0]) + 2}: {away_km:.0f} km from the origin; at most {MOST_M / 1e3:g} km")
    return Places(names, at_m, centre)


def _degrees(path: Path, line: int, row: dict[str, str]) -> tuple[float, float]:
    found = []
    for name, most in (("latitude", 90.0), ("longitude", 180.0)):
        if name not in row:
            raise BadTrace(f"{path}: has no column {name.upper()}")
        try:
            value = float(row[name])
        except (TypeError, ValueError):
            raise BadTrace(f"{path}, line {line}: {name.upper()} is {row[name]!r}, not a number") from None
        if not -most <= value <= most:
            raise BadTrace(f"{path}, line {line}: {name.upper()} is {value:g} degrees")
        found.append(value)
    return found[0], found[1]
