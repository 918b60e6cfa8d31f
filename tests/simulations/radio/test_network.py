"""A network of cells: the nearest serves, load elsewhere slows, handovers take their time, rates end at the peak."""

import numpy as np
import pytest

from simulations.errors import OutOfRange
from simulations.radio.carrier import Carrier, peak_bits_per_s
from simulations.radio.link_adaptation import QAM256
from simulations.radio.network import HYSTERESIS_DB, TRIGGER_S, RadioNetwork, Station
from simulations.radio.path_loss import UMA, UMI, Environment, Floats, path_loss_db

MID = Carrier(ghz=3.5, mhz=100)
IDLE, BUSY = np.zeros(2), np.ones(2)


def station(name: str, east_m: float, *, ghz: float = 3.5, environment: Environment = UMI) -> Station:
    carrier = Carrier(ghz=ghz, mhz=100)
    return Station(name=name, east_m=east_m, north_m=0.0, environment=environment, carrier=carrier, power_dbm=44.0)


def along(*east_m: float) -> Floats:
    return np.array([(east, 20.0) for east in east_m])


def network(at_m: Floats, *stations: Station) -> RadioNetwork:
    return RadioNetwork(stations or (station("west", 0.0), station("east", 600.0)), at_m, np.random.default_rng(1))


def without_shadows(made: RadioNetwork, at_m: Floats) -> RadioNetwork:
    """As if everything were in sight and nothing in the way."""
    masts = np.array([(one.east_m, one.north_m) for one in made.stations])
    ground_m = np.hypot(*(at_m[:, None] - masts[None]).transpose(2, 0, 1))
    made.loss_db = path_loss_db(UMI, 3.5, ground_m, True)
    made.serving = np.argmax(-made.loss_db, axis=1)
    return made


def test_without_others_a_user_s_snr_is_power_less_loss_less_noise() -> None:
    at_m = along(80.0)
    made = without_shadows(network(at_m, station("west", 0.0)), at_m)
    loss_db = float(path_loss_db(UMI, 3.5, np.hypot(80, 20), True))
    noise_dbm = -174 + 10 * np.log10(273 * 360e3)
    assert made.sinr_db("down", np.zeros(1))[0] == pytest.approx(44 - loss_db - noise_dbm - 9)
    assert made.sinr_db("up", np.zeros(1))[0] == pytest.approx(23 - loss_db - noise_dbm - 5)


def test_a_neighbour_s_load_slows_those_at_the_edge_more_and_another_band_none() -> None:
    at_m = along(30.0, 280.0)
    made = without_shadows(network(at_m), at_m)
    fall_db = made.sinr_db("down", IDLE) - made.sinr_db("down", BUSY)
    assert 0 < fall_db[0] < fall_db[1] and fall_db[1] > 10
    half_db = made.sinr_db("down", IDLE) - made.sinr_db("down", BUSY / 2)
    assert (half_db < fall_db).all() and (half_db > 0).all()
    apart = without_shadows(network(at_m, station("west", 0.0), station("east", 600.0, ghz=3.7)), at_m)
    assert apart.sinr_db("down", BUSY) == pytest.approx(apart.sinr_db("down", IDLE))


def test_users_of_a_busy_neighbour_disturb_the_uplink_as_they_are_heard() -> None:
    at_m = along(100.0, 400.0)
    made = without_shadows(network(at_m), at_m)
    heard_mw = 10 ** ((23 - made.loss_db[1, 0]) / 10)
    noise_mw = 10 ** ((-174 + 10 * np.log10(273 * 360e3) + 5) / 10)
    wanted_db = 23 - made.loss_db[0, 0] - 10 * np.log10(0.5 * heard_mw + noise_mw)
    assert made.serving.tolist() == [0, 1]
    assert made.sinr_db("up", np.array([1.0, 0.5]))[0] == pytest.approx(wanted_db)


def test_rates_reach_the_best_scheme_near_and_nothing_out_of_coverage() -> None:
    at_m = along(15.0, 4900.0)
    made = without_shadows(network(at_m, station("west", 0.0)), at_m)
    near, _ = made.alone_bits_per_s("down", np.zeros(1))
    peak = peak_bits_per_s(MID, "down", layers=2, bits_per_symbol=8) * MID.down_share
    assert near == pytest.approx(peak, rel=1e-6) and QAM256.bits[-1] == pytest.approx(8 * 948 / 1024)
    made.loss_db[1] = 200.0
    assert made.alone_bits_per_s("down", np.zeros(1))[1] == 0 < near


def test_who_is_far_off_sends_in_less_of_the_band_and_is_still_heard() -> None:
    at_m = along(60.0, 700.0)
    made = without_shadows(network(at_m, station("west", 0.0)), at_m)
    made.loss_db[:, 0] = 85.0, 132.0
    idle = np.zeros(1)
    far_db = made.sinr_db("up", idle)[1]
    schemes = made.stations[0].up_schemes
    whole = float(schemes.bits_per_symbol(schemes.best([far_db]), [far_db])[0])
    near, far = made.alone_bits_per_s("up", idle)
    assert whole == 0 < far < near / 10
    peak = peak_bits_per_s(MID, "up", layers=1, bits_per_symbol=6) * MID.up_share
    assert near == pytest.approx(peak, rel=0.01)
    assert made.parts_up.tolist() == [1.0, 0.02]


def hearing(made: RadioNetwork, west_db: float, east_db: float) -> None:
    """From now on these are the losses of both stations."""
    made._losses = lambda _at_m: np.array([[west_db, east_db]])  # type: ignore[method-assign]


def test_a_handover_comes_once_another_is_stronger_by_enough_for_long_enough() -> None:
    at_m = along(100.0)
    made = network(at_m)
    hearing(made, 100.0, 100.0 - HYSTERESIS_DB - 0.1)
    made.move(at_m, np.zeros(1), 1e3)  # so long that what is measured counts alone
    made.serving[:], made._better_s[:] = 0, 0.0
    step_s = TRIGGER_S / 2
    assert made.move(at_m, np.zeros(1), step_s).tolist() == []
    assert made.move(at_m, np.zeros(1), step_s).tolist() == [0] and made.serving.tolist() == [1]
    hearing(made, 100.0, 100.0 + HYSTERESIS_DB - 0.1)
    assert all(made.move(at_m, np.zeros(1), 1.0).size == 0 for _ in range(5))


def test_what_is_heard_for_a_moment_only_hands_nobody_over() -> None:
    at_m = along(100.0)
    made = network(at_m)
    hearing(made, 100.0, 110.0)
    made.move(at_m, np.zeros(1), 1e3)
    hearing(made, 100.0, 88.0)
    assert made.move(at_m, np.zeros(1), TRIGGER_S).size == 0  # 12 dB better now, by far less as smoothed
    assert made.move(at_m, np.zeros(1), 1e3).tolist() == [0]


def test_many_users_are_served_by_whom_they_hear_best() -> None:
    draw = np.random.default_rng(3)
    at_m = draw.random((3000, 2)) * (600, 40)
    made = network(at_m)
    near = made.serving == (at_m[:, 0] > 300)
    assert 0.75 < near.mean() < 0.99  # shadows decide for some
    assert (made.loss_db[np.arange(3000), made.serving] <= made.loss_db.max(axis=1)).all()


def test_networks_that_cannot_be_are_refused() -> None:
    with pytest.raises(OutOfRange, match="a radio network needs a station"):
        RadioNetwork((), along(1.0), np.random.default_rng(1))
    with pytest.raises(OutOfRange, match="surroundings of one kind"):
        network(along(1.0), station("a", 0), station("b", 10, environment=UMA))
