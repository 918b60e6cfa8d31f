"""A sensor's clock is found out from exchanges, whatever their delays."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aligning.skew import MOST_DRIFT, Skew, sample


def exchange(skew: Skew, at_s: float, *, offset_s: float, drift: float, out_s: float, back_s: float) -> None:
    """At this time of the aligner; the sensor's clock shows at − offset − drift·at."""

    def shown(time_s: float) -> float:
        return time_s - offset_s - drift * time_s

    skew.heard(sample(shown(at_s), at_s + out_s, at_s + out_s, shown(at_s + out_s + back_s)))


@given(st.floats(-1e4, 1e4), st.floats(0, 0.5), st.floats(0, 0.5))
def test_an_exchange_tells_the_offset_within_half_its_delay(offset_s: float, out_s: float, back_s: float) -> None:
    skew = Skew()
    exchange(skew, 50.0, offset_s=offset_s, drift=0.0, out_s=out_s, back_s=back_s)
    assert abs(skew.corrected(50.0 - offset_s) - 50.0) <= (out_s + back_s) / 2 + 1e-6


def test_nothing_heard_nothing_corrected() -> None:
    assert Skew().corrected(3.5) == 3.5


@pytest.mark.parametrize("drift", [-2e-4, 0.0, 5e-5])
def test_offset_and_drift_are_found_under_jitter(drift: float) -> None:
    skew, lots = Skew(), random.Random(5)
    for at in range(300):
        delays = [0.002 + lots.expovariate(1 / 0.02) for _ in range(2)]
        exchange(skew, at, offset_s=12.5, drift=drift, out_s=delays[0], back_s=delays[1])
    shown = 300 - 12.5 - drift * 300
    assert abs(skew.corrected(shown) - 300) < 0.01  # a single exchange errs by up to 50 ms
    assert abs(skew.drift - drift) < 1e-4


def test_of_the_last_eight_that_of_least_delay_is_believed() -> None:
    skew = Skew()
    exchange(skew, 1.0, offset_s=2.0, drift=0, out_s=0.001, back_s=0.001)
    for at in range(7):
        exchange(skew, 2.0 + at, offset_s=2.0, drift=0, out_s=0.4, back_s=0.0)
    assert skew.corrected(0.0) == pytest.approx(2.0, abs=1e-9)
    exchange(skew, 10.0, offset_s=2.0, drift=0, out_s=0.4, back_s=0.0)
    assert skew.corrected(0.0) == pytest.approx(2.2, abs=1e-9)


def test_a_clock_that_is_set_is_followed_at_once() -> None:
    skew = Skew()
    for at in range(8):
        exchange(skew, at, offset_s=0.0, drift=0, out_s=0.01, back_s=0.01)
    exchange(skew, 9.0, offset_s=30.0, drift=0, out_s=0.02, back_s=0.02)
    assert skew.corrected(0.0) == pytest.approx(30.0, abs=0.021)


def test_drift_is_bounded_and_told_only_from_afar() -> None:
    skew = Skew()
    for at in range(9):
        exchange(skew, at, offset_s=0.0, drift=4e-4, out_s=0.001, back_s=0.001)
    assert skew.drift == 0.0
    for at in range(9, 60):
        exchange(skew, at, offset_s=0.0, drift=4e-4, out_s=0.001, back_s=0.001)
    assert skew.drift == pytest.approx(4e-4, rel=0.05)
    assert abs(skew.drift) <= MOST_DRIFT


@pytest.mark.parametrize("stamps", [(2.0, 1.0, 1.0, 1.0), (1.0, 3.0, 2.0, 4.0), (1.0, 0.0, 5.0, 2.0)])
def test_timestamps_of_no_exchange_are_refused(stamps: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="no exchange"):
        sample(*stamps)
