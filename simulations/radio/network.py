"""Which station serves whom, and how fast: losses, interference by load, and handovers, for all users at once.

Shapes are users × stations. A station gives its band to one user at a time, in turn, so noise counts over all of it;
only who is far off sends in a part of it, beside others. A user's rate alone is divided by how many want it at once
(stations.Shared). Powers are dBm, rates bits a second for a user alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.errors import OutOfRange
from simulations.radio.carrier import Carrier, Direction
from simulations.radio.link_adaptation import QAM64, QAM256, Schemes, carried
from simulations.radio.path_loss import Environment, Floats, path_loss_db
from simulations.radio.shadowing import Shadows

USER_DBM = 23.0
NOISE_DBM_PER_HZ = -174.0
USER_NOISE_DB, STATION_NOISE_DB = 9.0, 5.0
HYSTERESIS_DB, TRIGGER_S = 3.0, 0.64  # another station must be so much stronger, for so long (event A3, TS 38.331)
WAYS: tuple[Direction, Direction] = ("up", "down")
PARTS = (1.0, 0.25, 0.0625, 0.02)  # of the band, in which a user may send: 2 % of 100 MHz are 5 of 273 blocks
FILTER_K, MEASURED_EVERY_S = 13, 0.2  # what users measure is smoothed: a share of 2^(-k/4) of each (TS 38.331, 5.5.3.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One cell: where its mast stands, what it sends with, how many layers a user gets each way."""

    name: str
    east_m: float
    north_m: float
    environment: Environment
    carrier: Carrier
    power_dbm: float
    down_layers: int = 2
    up_layers: int = 1
    down_schemes: Schemes = QAM256
    up_schemes: Schemes = QAM64

    def layers(self, direction: Direction) -> int:
        """As many as there are that way."""
        return self.down_layers if direction == "down" else self.up_layers

    def schemes(self, direction: Direction) -> Schemes:
        """The table that is used that way."""
        return self.down_schemes if direction == "down" else self.up_schemes


class RadioNetwork:
    """Stations and where the users are among them. `serving` is each user's station, by its number."""

    def __init__(self, stations: Sequence[Station], at_m: Floats, draw: np.random.Generator) -> None:
        """Users stand at `at_m` (users × 2, metres). OutOfRange without a station, or for two kinds of surroundings."""
        if not stations:
            raise OutOfRange("a radio network needs a station")
        if len({station.environment.name for station in stations}) > 1:
            raise OutOfRange("stations of one network stand in surroundings of one kind")
        self.stations = tuple(stations)
        self._masts_m = np.array([(station.east_m, station.north_m) for station in stations])
        self._power_dbm = np.array([station.power_dbm for station in stations])
        self._hz = np.array([station.carrier.blocks * station.carrier.block_hz for station in stations])
        self._ghz = ghz = np.array([station.carrier.ghz for station in stations])
        self._tables = {way: tuple({station.schemes(way): None for station in stations}) for way in WAYS}
        self._symbols = {way: np.array([_symbols(station, way) for station in stations]) for way in WAYS}
        self._table_of = {
            way: np.array([self._tables[way].index(station.schemes(way)) for station in stations]) for way in WAYS
        }
        self._same_band = (ghz[:, None] == ghz[None, :]) & ~np.eye(len(stations), dtype=bool)
        self._shadows = Shadows(stations[0].environment, (len(at_m), len(stations)), draw)
        self._better_s = np.zeros(len(at_m))
        self.parts_up = np.ones(len(at_m))
        self.loss_db = self._losses(at_m)
        self._heard_dbm = self._power_dbm - self.loss_db  # as users have it, smoothed
        self.serving: NDArray[np.int64] = np.argmax(self._heard_dbm, axis=1)

    def _losses(self, at_m: Floats) -> Floats:
        ground_m = np.hypot(*(at_m[:, None, :] - self._masts_m[None, :, :]).transpose(2, 0, 1))
        in_sight = self._shadows.in_sight(ground_m)
        plain_db = np.empty_like(ground_m)
        for ghz in np.unique(self._ghz):
            alike = np.flatnonzero(self._ghz == ghz)
            plain_db[:, alike] = path_loss_db(
                self.stations[0].environment, float(ghz), ground_m[:, alike], in_sight[:, alike]
            )
        return np.asarray(plain_db + self._shadows.loss_db(in_sight))

    def move(self, at_m: Floats, moved_m: Floats, span_s: float) -> NDArray[np.int64]:
        """Users are here now, after so many metres and seconds; those who were handed over to another station."""
        self._shadows.move(moved_m)
        self.loss_db = self._losses(at_m)
        kept = (1 - 2 ** (-FILTER_K / 4)) ** (span_s / MEASURED_EVERY_S)
        self._heard_dbm = heard_dbm = kept * self._heard_dbm + (1 - kept) * (self._power_dbm - self.loss_db)
        best, users = np.argmax(heard_dbm, axis=1), np.arange(len(at_m))
        is_better = heard_dbm[users, best] > heard_dbm[users, self.serving] + HYSTERESIS_DB
        self._better_s = np.where(is_better, self._better_s + span_s, 0.0)
        handed = np.flatnonzero(self._better_s >= TRIGGER_S)
        self.serving[handed] = best[handed]
        self._better_s[handed] = 0.0
        return handed

    def sinr_db(self, direction: Direction, load: Floats) -> Floats:
        """Each user's, at its station; `load` is the share of time in which each station sends (or is sent to)."""
        return self._sinr_down_db(load) if direction == "down" else self._sinr_up_db(load)

    def _sinr_down_db(self, load: Floats) -> Floats:
        users = np.arange(len(self.serving))
        heard_mw = 10 ** ((self._power_dbm - self.loss_db) / 10)
        others_mw = np.einsum("us,us->u", heard_mw, self._same_band[self.serving] * load)
        noise_mw = 10 ** ((NOISE_DBM_PER_HZ + 10 * np.log10(self._hz[self.serving]) + USER_NOISE_DB) / 10)
        return np.asarray(10 * np.log10(heard_mw[users, self.serving] / (others_mw + noise_mw)))

    def _sinr_up_db(self, load: Floats) -> Floats:
        """What a station hears of others' users is, on average, what each of these sends there while it is its turn."""
        users, stations = np.arange(len(self.serving)), len(self.stations)
        heard_mw = 10 ** ((USER_DBM - self.loss_db) / 10)
        of_station = np.bincount(self.serving, minlength=stations)
        from_station = np.zeros((stations, stations))
        np.add.at(from_station, self.serving, heard_mw)
        from_station /= np.maximum(of_station, 1)[:, None]
        others_mw = np.einsum("js,js->s", from_station * load[:, None], self._same_band)
        noise_mw = 10 ** ((NOISE_DBM_PER_HZ + 10 * np.log10(self._hz) + STATION_NOISE_DB) / 10)
        return np.asarray(10 * np.log10(heard_mw[users, self.serving] / (others_mw + noise_mw)[self.serving]))

    def alone_bits_per_s(self, direction: Direction, load: Floats) -> Floats:
        """What each user would get of its station alone, in that direction's slots; 0 out of coverage.

        A user's power is its own to concentrate: going up it takes the part of the band in which it gets most, which
        is noted in `parts_up`; the rest is left to others.
        """
        sinr_db, tried = self.sinr_db(direction, load), np.array(PARTS if direction == "up" else PARTS[:1])[:, None]
        dense_db, tables = sinr_db - 10 * np.log10(tried), self._table_of[direction][self.serving]
        bits = tried * carried(self._tables[direction][0], dense_db)
        for number, schemes in enumerate(self._tables[direction][1:], 1):
            bits[:, tables == number] = tried * carried(schemes, dense_db[:, tables == number])
        best = np.argmax(bits, axis=0)
        if direction == "up":
            self.parts_up = tried[best, 0]
        return np.asarray(bits[best, np.arange(len(best))] * self._symbols[direction][self.serving])


def _symbols(station: Station, direction: Direction) -> float:
    """A second, of all layers and the whole band."""
    carrier = station.carrier
    return carrier.blocks * carrier.block_rate(direction) * carrier.share(direction) * station.layers(direction)
