"""From SINR to what a symbol carries: modulation and coding schemes, block errors, and repeats until it is through.

Schemes: 3GPP TS 38.214, tables 5.1.3.1-1 (64QAM) and -2 (256QAM). The SNR at which a tenth of the blocks is lost was
read off link simulations published with Sionna (NVIDIA, Apache-2.0), to 0.5 dB; schemes that these leave out lie as
far above Shannon's bound as their neighbour. A repeat's energy adds to what came before (chase combining).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulations.radio.path_loss import Floats

Integers = NDArray[np.int64]
TARGET = 0.1  # of the blocks may be lost at first
SPREAD_DB = 0.4  # from many lost to few, for blocks of some thousand bits
TRIES = 4  # of one block, the first included
LEAST_DB, MOST_DB, PER_DB = -30, 70, 100  # of the table: below nothing gets through, above nothing is lost
_NORMAL = NormalDist()
_TARGET_SIGMAS = _NORMAL.inv_cdf(TARGET)
_GRID = np.linspace(-8.0, 8.0, 6401)
_SHARE = np.array([_NORMAL.cdf(value) for value in _GRID])

_RATES_64 = {
    2: (120, 157, 193, 251, 308, 379, 449, 526, 602, 679),
    4: (340, 378, 434, 490, 553, 616, 658),
    6: (438, 466, 517, 567, 616, 666, 719, 772, 822, 873, 910, 948),
}
_RATES_256 = {
    2: (120, 193, 308, 449, 602),
    4: (378, 434, 490, 553, 616, 658),
    6: (466, 517, 567, 616, 666, 719, 772, 822, 873),
    8: (682.5, 711, 754, 797, 841, 885, 916.5, 948),
}
_SNR_256_DB = (  # schemes 2 to 26
    -0.7, 1.2, 2.7, 4.3, 5.9, 6.1, 7.5, 9.0, 9.1, 10.6, 10.7, 12.2, 13.6, 13.8, 15.3, 15.6, 17.0, 18.4, 18.6, 19.9,
    20.2, 21.7, 23.0, 23.3, 24.8,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Schemes:
    """A table of schemes, the most robust first: bits a symbol carries, and the SNR (dB) at which a tenth is lost."""

    name: str
    bits: Floats
    snr_db: Floats

    def best(self, sinr_db: ArrayLike) -> Integers:
        """The scheme that carries most where no more than a tenth of the blocks is lost; -1 where none is."""
        reached_db = np.maximum.accumulate(self.snr_db)
        return np.searchsorted(reached_db, np.asarray(sinr_db, dtype=np.float64), side="right") - 1

    def lost(self, scheme: ArrayLike, sinr_db: ArrayLike) -> Floats:
        """The share of blocks of a scheme (from 0) that are lost at this SINR."""
        over = (self.snr_db[np.asarray(scheme)] - np.asarray(sinr_db)) / SPREAD_DB + _TARGET_SIGMAS
        return np.asarray(np.interp(over, _GRID, _SHARE))

    def through(self, scheme: ArrayLike, sinr_db: ArrayLike) -> tuple[Floats, Floats]:
        """How often a block is sent on average, and the share that never gets through, with TRIES in all."""
        sinr = np.asarray(sinr_db, dtype=np.float64)
        left = np.ones(np.broadcast_shapes(np.shape(scheme), sinr.shape))
        sent = np.zeros_like(left)
        for tries in range(1, TRIES + 1):
            sent = sent + left
            left = left * self.lost(scheme, sinr + 10 * np.log10(tries))
        return sent, left

    def bits_per_symbol(self, scheme: ArrayLike, sinr_db: ArrayLike) -> Floats:
        """What a symbol carries in the end, repeats and losses deducted; 0 where the scheme is -1."""
        chosen = np.asarray(scheme)
        used = np.maximum(chosen, 0)
        sent, left = self.through(used, sinr_db)
        return np.where(chosen < 0, 0.0, self.bits[used] * (1 - left) / sent)


def carried(schemes: Schemes, sinr_db: Floats) -> Floats:
    """Bits that a symbol carries with the best scheme at each SINR, taken to the hundredth of a decibel."""
    at = np.rint((sinr_db - LEAST_DB) * PER_DB)
    return np.asarray(_table(schemes)[np.clip(at, 0, (MOST_DB - LEAST_DB) * PER_DB).astype(np.int64)])


@cache
def _table(schemes: Schemes) -> Floats:
    grid_db = LEAST_DB + np.arange((MOST_DB - LEAST_DB) * PER_DB + 1) / PER_DB
    return schemes.bits_per_symbol(schemes.best(grid_db), grid_db)


def _bits(rates: Mapping[int, Sequence[float]]) -> Floats:
    return np.array([order * rate / 1024 for order, each in rates.items() for rate in each])


def _shannon_db(bits: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.exp2(bits) - 1))


def _snr_256_db() -> Floats:
    bound_db = _shannon_db(_bits(_RATES_256))
    below = bound_db[:2] + (_SNR_256_DB[0] - bound_db[2])
    above = bound_db[27:] + (_SNR_256_DB[-1] - bound_db[26])
    return np.concatenate([below, _SNR_256_DB, above])


QAM256 = Schemes("256QAM", _bits(_RATES_256), _snr_256_db())
_ORDER = np.argsort(QAM256.bits, kind="stable")
QAM64 = Schemes(
    "64QAM",
    _bits(_RATES_64),
    np.interp(_bits(_RATES_64), QAM256.bits[_ORDER], np.maximum.accumulate(QAM256.snr_db[_ORDER])),
)
