"""Before the first bit: slots, grants, handovers, waking up; and what a radio takes while it carries."""

import numpy as np
import pytest

from simulations.errors import OutOfRange
from simulations.radio.access import GENERATIONS, IDLE_S, LTE, NSA, SA, Radios, grant_s, slot_wait_s
from simulations.radio.carrier import Carrier
from simulations.radio.energy import PHONE

TDD = Carrier(ghz=3.5, mhz=100)
FDD = Carrier(ghz=0.7, mhz=10, spacing_khz=15, down_share=1, up_share=1)
MANY = 40_000


def draw() -> np.random.Generator:
    return np.random.default_rng(1)


def test_a_grant_takes_a_pattern_and_as_much_of_one_as_chance_has_it() -> None:
    wait_s = grant_s(TDD, MANY, draw())
    assert (wait_s.min(), wait_s.max()) == (pytest.approx(2.5e-3, abs=1e-5), pytest.approx(5e-3, abs=1e-5))
    assert wait_s.mean() == pytest.approx(3.75e-3, rel=0.01)
    assert grant_s(TDD, MANY, draw(), request_every=4).mean() == pytest.approx(7.5e-3, rel=0.02)


def test_where_every_slot_goes_both_ways_only_processing_is_waited_for() -> None:
    assert grant_s(FDD, MANY, draw()).mean() == pytest.approx(4.5e-3, rel=0.01)
    assert slot_wait_s(FDD, MANY, draw()).mean() == pytest.approx(0.5e-3, rel=0.02)


def test_what_comes_during_the_slot_that_goes_up_waits_for_the_next_pattern() -> None:
    wait_s = slot_wait_s(TDD, MANY, draw())
    assert wait_s.min() >= 0 and wait_s.max() == pytest.approx(2 * 0.5e-3, abs=1e-5)
    assert wait_s.mean() == pytest.approx((3 * 0.5 + 2 * 1.0) / 5 * 0.5e-3, rel=0.02)


def test_handovers_interrupt_as_measured() -> None:
    assert [one.handover_s for one in (LTE, NSA, SA)] == pytest.approx([0.034, 0.046, 0.066])
    assert set(GENERATIONS) == {"LTE", "NSA", "SA"}


def test_a_radio_that_was_silent_for_ten_seconds_wakes_up_first() -> None:
    radios = Radios(2, SA, draw())
    assert 0.25 <= radios.use(0, 5.0) <= 0.3
    assert radios.use(0, 5.0 + IDLE_S) == 0
    assert radios.use(1, 5.0) > 0 and radios.use(0, 5.0 + 2 * IDLE_S) == 0
    assert radios.use(0, 6.0 + 3 * IDLE_S) > 0
    assert radios.woken == 3


def test_a_phone_s_power_is_the_fitted_one_and_energy_its_integral() -> None:
    up = PHONE["NSA", "up"]
    assert up.watts(100e6) == pytest.approx(3.199 + 3.22)
    assert up.joules(100e6, 2.0) == pytest.approx(2 * up.watts(50e6), rel=1e-12)
    assert PHONE["LTE", "up"].joules(0, 1.5) == pytest.approx(1.5 * 2.926)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OutOfRange, match="a request every 0 slots"):
        grant_s(TDD, 1, draw(), request_every=0)
    with pytest.raises(OutOfRange, match="1 bits in 0 s"):
        PHONE["LTE", "down"].joules(1, 0)
    with pytest.raises(OutOfRange, match="a rate of -1 bit/s"):
        PHONE["LTE", "down"].watts(-1)
