"""Path loss and line of sight in urban cells: 3GPP TR 38.901 (V17.0.0), tables 7.4.1-1 and 7.4.2-1.

Distances in metres, carriers in GHz, losses in dB; arrays in, arrays out, of any shapes that broadcast. Users stand
outdoors, below 13 m. Shadowing comes on top (shadowing.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulations.errors import OutOfRange

Floats = NDArray[np.float64]
LEAST_M, MOST_M = 10.0, 5000.0  # along the ground: what the tables cover
LEAST_GHZ, MOST_GHZ = 0.5, 100.0
USER_HEIGHT_M = 1.5
LIGHT_M_PER_S = 3.0e8  # as the report rounds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A kind of site: its mast, how fast lines of sight are lost, and how much and how finely losses are shadowed."""

    name: str
    base_height_m: float
    sight_decay_m: float
    los_std_db: float
    nlos_std_db: float
    los_correlation_m: float
    nlos_correlation_m: float


UMI = Environment(
    name="UMi", base_height_m=10.0, sight_decay_m=36.0, los_std_db=4.0, nlos_std_db=7.82,
    los_correlation_m=10.0, nlos_correlation_m=13.0,
)  # fmt: skip
UMA = Environment(
    name="UMa", base_height_m=25.0, sight_decay_m=63.0, los_std_db=4.0, nlos_std_db=6.0,
    los_correlation_m=37.0, nlos_correlation_m=50.0,
)  # fmt: skip
ENVIRONMENTS = {environment.name: environment for environment in (UMI, UMA)}


def sight_probability(environment: Environment, ground_m: ArrayLike) -> Floats:
    """How likely the base station is seen from that far along the ground."""
    far_m = np.maximum(np.asarray(ground_m, dtype=np.float64), 18.0)
    return np.asarray(18.0 / far_m + np.exp(-far_m / environment.sight_decay_m) * (1.0 - 18.0 / far_m))


def break_point_m(environment: Environment, carrier_ghz: float, user_height_m: float = USER_HEIGHT_M) -> float:
    """From where on the ground's reflection counts: d'BP."""
    return 4.0 * (environment.base_height_m - 1.0) * (user_height_m - 1.0) * carrier_ghz * 1e9 / LIGHT_M_PER_S


def path_loss_db(
    environment: Environment,
    carrier_ghz: float,
    ground_m: ArrayLike,
    in_sight: ArrayLike,
    user_height_m: float = USER_HEIGHT_M,
) -> Floats:
    """The loss over that far along the ground, with or without a line of sight. OutOfRange for a carrier, or a user's
    height, that the tables do not cover; distances are taken as the nearest that they do (10 m to 5 km).
    """
    if not LEAST_GHZ <= carrier_ghz <= MOST_GHZ:
        raise OutOfRange(f"carrier {carrier_ghz:g} GHz: TR 38.901 covers {LEAST_GHZ:g} to {MOST_GHZ:g} GHz")
    if not 1.5 <= user_height_m < 13.0:
        raise OutOfRange(f"user height {user_height_m:g} m: only 1.5 m to below 13 m are covered")
    flat_m = np.clip(np.asarray(ground_m, dtype=np.float64), LEAST_M, MOST_M)
    seen_db = _seen_db(environment, carrier_ghz, flat_m, user_height_m)
    hidden_db = np.maximum(seen_db, _hidden_db(environment, carrier_ghz, flat_m, user_height_m))
    return np.asarray(np.where(in_sight, seen_db, hidden_db))


def _seen_db(environment: Environment, carrier_ghz: float, flat_m: Floats, user_height_m: float) -> Floats:
    rise_m = environment.base_height_m - user_height_m
    slant_m = np.hypot(flat_m, rise_m)
    break_m = break_point_m(environment, carrier_ghz, user_height_m)
    carrier_db = 20.0 * np.log10(carrier_ghz)
    if environment == UMI:
        near_db, far_db, bend = 32.4 + 21.0 * np.log10(slant_m), 32.4 + 40.0 * np.log10(slant_m), 9.5
    else:
        near_db, far_db, bend = 28.0 + 22.0 * np.log10(slant_m), 28.0 + 40.0 * np.log10(slant_m), 9.0
    bent_db = far_db - bend * np.log10(break_m**2 + rise_m**2)
    return np.asarray(np.where(flat_m <= break_m, near_db, bent_db) + carrier_db)


def _hidden_db(environment: Environment, carrier_ghz: float, flat_m: Floats, user_height_m: float) -> Floats:
    slant_db = np.log10(np.hypot(flat_m, environment.base_height_m - user_height_m))
    carrier_db, higher_m = np.log10(carrier_ghz), user_height_m - 1.5
    if environment == UMI:
        return np.asarray(35.3 * slant_db + 22.4 + 21.3 * carrier_db - 0.3 * higher_m)
    return np.asarray(13.54 + 39.08 * slant_db + 20.0 * carrier_db - 0.6 * higher_m)
