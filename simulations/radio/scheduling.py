"""What a cell's scheduler makes of several users at once: equal time for each, and proportionally fair more than that.

Round robin gives each of n users a part 1/n of the time at the rate that it has alone. Proportional fair gives as much
time, but each user's when its own fading is at its best: with independent Rayleigh fading the chosen one's power is the
greatest of n exponential draws. So the cell gains E[log2(1 + γ·max of n)] / E[log2(1 + γ·one)] (Viswanath, Tse and
Laroia, Opportunistic beamforming using dumb antennas, IEEE Trans. Inf. Theory 48(6), 2002); γ is MEAN_DB for everybody,
so that the gain hangs on the number alone. The lower the SINR the greater it really is.
"""

from functools import cache
from typing import Literal

import numpy as np

Scheduler = Literal["round-robin", "proportional-fair"]
MEAN_DB = 10.0
MOST = 64  # users: more gain next to nothing
_POWER = np.linspace(0.0, 40.0, 40_001)  # of a fading channel, over its mean


@cache
def gains(scheduler: Scheduler) -> tuple[float, ...]:
    """By what a cell's rate is multiplied while so many users (from 0, to MOST) want it at once."""
    if scheduler == "round-robin":
        return (1.0,) * (MOST + 1)
    alone = _mean_bits(1)
    return (1.0, *(_mean_bits(users) / alone for users in range(1, MOST + 1)))


def _mean_bits(users: int) -> float:
    """Bits a symbol, in the mean, of the one whose channel is best."""
    density = users * np.exp(-_POWER) * (1 - np.exp(-_POWER)) ** (users - 1)
    return float(np.trapezoid(np.log2(1 + 10 ** (MEAN_DB / 10) * _POWER) * density, _POWER))
