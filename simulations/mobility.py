"""Where users are and how far they went: standing, wandering between random points, in a grid of streets, on a path.

Vectorised: positions are metres, an array of users × (east, north), within a field from (0, 0) to `size_m`. `move`
takes any time, however many turns fall into it. Every draw comes from the generator that was given.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from simulations.errors import BadTrace, OutOfRange
from simulations.radio.path_loss import Floats

Size = tuple[float, float]
STRAIGHT_ON = 0.5  # at a crossing; else left or right, as likely as each other (ETSI TR 101 112, B.1.8)
_SIDES = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # east, north, west, south


class Mobility(ABC):
    """Users of one kind."""

    def __init__(self, at_m: Floats) -> None:
        self.at_m = at_m

    @abstractmethod
    def move(self, span_s: float) -> Floats:
        """Let that time pass; the metres that each user went."""


class Standing(Mobility):
    """Users who stay where they are."""

    @classmethod
    def scattered(cls, users: int, size_m: Size, draw: np.random.Generator) -> "Standing":
        """Anywhere in the field."""
        return cls(_anywhere(users, size_m, draw))

    def move(self, span_s: float) -> Floats:
        """Nobody goes anywhere."""
        return np.zeros(len(self.at_m))


class RandomWaypoint(Mobility):
    """Each user goes straight to a random point at a random speed, rests, and goes on to another."""

    def __init__(
        self, users: int, size_m: Size, draw: np.random.Generator, *, speeds: tuple[float, float], rest_s: float = 0.0
    ) -> None:
        """`speeds`: the least, above 0 (at 0 some would never arrive), and the most, m/s."""
        if not 0 < speeds[0] <= speeds[1]:
            raise OutOfRange(f"speeds {speeds[0]:g} to {speeds[1]:g} m/s: from above 0, rising")
        if rest_s < 0:
            raise OutOfRange(f"rest_s {rest_s:g}: from 0")
        super().__init__(_anywhere(users, size_m, draw))
        self._size_m, self._draw, self._speeds, self._rest_s = size_m, draw, speeds, rest_s
        self._to_m, self._speed = _anywhere(users, size_m, draw), draw.uniform(*speeds, users)
        self._resting_s = np.zeros(users)

    def move(self, span_s: float) -> Floats:
        """Rest, walk, arrive, choose anew, for as long as there is time."""
        left_s, went_m = np.full(len(self.at_m), span_s), np.zeros(len(self.at_m))
        while (left_s > 0).any():
            rested_s = np.minimum(self._resting_s, left_s)
            self._resting_s -= rested_s
            left_s -= rested_s
            way_m = self._to_m - self.at_m
            far_m = np.hypot(*way_m.T)
            step_m = np.minimum(self._speed * left_s, far_m)
            self.at_m = self.at_m + way_m * np.divide(step_m, far_m, out=np.zeros_like(far_m), where=far_m > 0)[:, None]
            arrived = (step_m >= far_m) & (left_s > 0)
            left_s = np.where(arrived, left_s - step_m / self._speed, 0.0)
            went_m += step_m
            self._choose(np.flatnonzero(arrived))
        return went_m

    def _choose(self, arrived: NDArray[np.int64]) -> None:
        self.at_m[arrived] = self._to_m[arrived]
        self._to_m[arrived] = _anywhere(len(arrived), self._size_m, self._draw)
        self._speed[arrived] = self._draw.uniform(*self._speeds, len(arrived))
        self._resting_s[arrived] = self._rest_s


class StreetGrid(Mobility):
    """Users keep to streets `block_m` apart and turn at crossings by chance; at the field's edge they turn around."""

    def __init__(
        self, users: int, size_m: Size, draw: np.random.Generator, *, block_m: float, speeds: tuple[float, float]
    ) -> None:
        """`speeds`: the least and the most, m/s; each user keeps its own. The field is as many blocks as fit."""
        blocks = np.floor_divide(size_m, block_m).astype(np.int64) if block_m > 0 else np.zeros(2, np.int64)
        if blocks.min() < 1:
            raise OutOfRange(f"block_m {block_m:g}: at least one block must fit into {size_m[0]:g} × {size_m[1]:g} m")
        if not 0 <= speeds[0] <= speeds[1]:
            raise OutOfRange(f"speeds {speeds[0]:g} to {speeds[1]:g} m/s: from 0, rising")
        self._blocks, self._block_m, self._draw = blocks, block_m, draw
        self._crossing = draw.integers(0, blocks + 1, (users, 2))  # the one behind
        self._side = draw.integers(0, 4, users)
        self._turn_back(np.arange(users))
        self._gone_m, self._speed = draw.uniform(0, block_m, users), draw.uniform(*speeds, users)
        super().__init__(self._position())

    def _position(self) -> Floats:
        return np.asarray(self._crossing * self._block_m + _SIDES[self._side] * self._gone_m[:, None])

    def _turn_back(self, users: NDArray[np.int64]) -> None:
        ahead = self._crossing[users] + _SIDES[self._side[users]]
        off = ((ahead < 0) | (ahead > self._blocks)).any(axis=1)
        self._side[users[off]] = (self._side[users[off]] + 2) % 4

    def move(self, span_s: float) -> Floats:
        """Along the street, crossing by crossing."""
        went_m = self._speed * span_s
        self._gone_m = self._gone_m + went_m
        while (at := np.flatnonzero(self._gone_m >= self._block_m)).size:
            self._crossing[at] += _SIDES[self._side[at]]
            self._gone_m[at] -= self._block_m
            chance = self._draw.random(len(at))
            turn = np.where(chance < STRAIGHT_ON, 0, np.where(chance < (1 + STRAIGHT_ON) / 2, 1, 3))
            self._side[at] = (self._side[at] + turn) % 4
            self._turn_back(at)
        self.at_m = self._position()
        return went_m


class Path(Mobility):
    """Every user follows one recorded path, each `spacing_s` behind the one before; at its end all begin anew."""

    def __init__(self, at_s: Floats, points_m: Floats, *, users: int = 1, spacing_s: float = 0.0) -> None:
        """`points_m`: one (east, north) for each of `at_s`, which begins at 0 and rises. BadTrace otherwise."""
        if len(at_s) < 2 or points_m.shape != (len(at_s), 2):
            raise BadTrace(f"path: {len(at_s)} times and {len(points_m)} points; it needs two or more of both")
        if at_s[0] != 0 or (np.diff(at_s) <= 0).any():
            raise BadTrace("path: times must begin at 0 and rise")
        self._at_s, self._points_m = at_s, points_m
        self._now_s = -np.arange(users) * spacing_s
        super().__init__(self._position())

    def _position(self) -> Floats:
        phase_s = np.mod(self._now_s, self._at_s[-1])
        return np.stack([np.interp(phase_s, self._at_s, axis_m) for axis_m in self._points_m.T], axis=1)

    def move(self, span_s: float) -> Floats:
        """Along the path; the metres are those between the two places, as the crow flies."""
        before_m = self.at_m
        self._now_s = self._now_s + span_s
        self.at_m = self._position()
        return np.asarray(np.hypot(*(self.at_m - before_m).T))


def _anywhere(users: int, size_m: Size, draw: np.random.Generator) -> Floats:
    return draw.random((users, 2)) * np.asarray(size_m, dtype=np.float64)
