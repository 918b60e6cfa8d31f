"""What schedulers make of several users: nothing more in turn, and as much more by fading as drawing it says."""

import numpy as np
import pytest

from simulations.radio.scheduling import MEAN_DB, MOST, gains


def test_in_turn_nothing_is_gained() -> None:
    assert set(gains("round-robin")) == {1.0}


@pytest.mark.parametrize("users", [1, 2, 4, 8, 32])
def test_fading_gains_what_drawing_it_says(users: int) -> None:
    draw, many = np.random.default_rng(users), 200_000
    power = draw.exponential(1.0, (many, users))
    bits = np.log2(1 + 10 ** (MEAN_DB / 10) * power)
    best, one = bits.max(axis=1), bits[:, 0]
    error = 4 * (best / one.mean()).std() / many**0.5 + 4 * one.std() / one.mean() / many**0.5
    assert gains("proportional-fair")[users] == pytest.approx(best.mean() / one.mean(), abs=error)


def test_more_to_choose_from_is_never_worse_and_gains_ever_less() -> None:
    steps = np.diff(gains("proportional-fair")[1:])
    assert len(steps) == MOST - 1
    assert (steps > 0).all() and (np.diff(steps) < 0).all()
