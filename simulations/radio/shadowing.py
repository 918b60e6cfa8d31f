"""What stands between users and base stations: lines of sight and shadowing that change as users move, correlated.

Both follow Gaussian processes along the path, with the autocorrelation exp(-distance / correlation distance) of 3GPP
TR 38.901 (7.4.4, 7.6.3). A user who stands still sees neither change. Every draw comes from the given generator.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulations.radio.path_loss import Environment, Floats, sight_probability

SIGHT_CORRELATION_M = 50.0  # of lines of sight, UMi and UMa: table 7.6.3.1-2
_GRID = 4001
_NORMAL = np.linspace(-5.0, 5.0, _GRID)
_SHARE = np.array([NormalDist().cdf(value) for value in _NORMAL])
_RISE = np.append(np.diff(_SHARE), 0.0)


class Shadows:
    """Between `users` × `stations` (the shape of all arrays here), in one environment."""

    def __init__(self, environment: Environment, shape: tuple[int, int], draw: np.random.Generator) -> None:
        self._environment, self._draw = environment, draw
        self._sight = draw.standard_normal(shape)
        self._seen, self._hidden = draw.standard_normal(shape), draw.standard_normal(shape)

    def move(self, moved_m: ArrayLike) -> None:
        """Users have moved that far, one number each."""
        moved = np.asarray(moved_m, dtype=np.float64)[:, None]
        kind = self._environment
        self._sight = self._later(self._sight, moved, SIGHT_CORRELATION_M)
        self._seen = self._later(self._seen, moved, kind.los_correlation_m)
        self._hidden = self._later(self._hidden, moved, kind.nlos_correlation_m)

    def _later(self, state: Floats, moved_m: Floats, correlation_m: float) -> Floats:
        kept = np.exp(-moved_m / correlation_m)
        return kept * state + np.sqrt(1.0 - kept**2) * self._draw.standard_normal(state.shape)

    def in_sight(self, ground_m: Floats) -> NDArray[np.bool_]:
        """Whether each user sees each station, from that far along the ground: as likely as the environment says."""
        return np.asarray(_share(self._sight) < sight_probability(self._environment, ground_m))

    def loss_db(self, in_sight: ArrayLike) -> Floats:
        """What shadows add to the path loss; negative where they take of it."""
        kind = self._environment
        return np.where(in_sight, kind.los_std_db * self._seen, kind.nlos_std_db * self._hidden)


def _share(values: Floats) -> Floats:
    """The normal distribution function, linear between points of the grid; `interp` would search for each."""
    at = (np.clip(values, -5.0, 5.0) + 5.0) * ((_GRID - 1) / 10.0)
    below = at.astype(np.int64)
    return np.asarray(_SHARE[below] + _RISE[below] * (at - below))
