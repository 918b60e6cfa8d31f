"""Shadows: as strong, as likely and as correlated as the report says; still where nobody moves; drawn by the seed."""

import numpy as np
import pytest

from simulations.radio.path_loss import UMA, UMI, Environment, sight_probability
from simulations.radio.shadowing import SIGHT_CORRELATION_M, Shadows

USERS = 40_000


def shadows(environment: Environment = UMI, seed: int = 7) -> Shadows:
    return Shadows(environment, (USERS, 1), np.random.default_rng(seed))


@pytest.mark.parametrize("environment", [UMI, UMA])
@pytest.mark.parametrize("metres", [40.0, 150.0])
def test_as_many_see_the_station_as_the_formula_says_before_and_after_moving(
    environment: Environment, metres: float
) -> None:
    made, wanted = shadows(environment), float(sight_probability(environment, metres))
    for _ in range(2):
        share = made.in_sight(np.full((USERS, 1), metres)).mean()
        assert share == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / USERS))
        made.move(np.full(USERS, 30.0))


@pytest.mark.parametrize("environment", [UMI, UMA])
@pytest.mark.parametrize("sight", [True, False])
def test_shadows_spread_and_fade_with_the_way_as_the_report_says(environment: Environment, sight: bool) -> None:
    std_db = environment.los_std_db if sight else environment.nlos_std_db
    correlation_m = environment.los_correlation_m if sight else environment.nlos_correlation_m
    made = shadows(environment)
    before = made.loss_db(sight)[:, 0]
    made.move(np.full(USERS, correlation_m))
    after = made.loss_db(sight)[:, 0]
    assert after.std() == pytest.approx(std_db, rel=4 / np.sqrt(2 * USERS))
    assert after.mean() == pytest.approx(0, abs=4 * std_db / np.sqrt(USERS))
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(np.exp(-1), abs=4 / np.sqrt(USERS))


def test_lines_of_sight_last_for_their_own_distance() -> None:
    made, far_m = shadows(), np.full((USERS, 1), 40.0)
    before = made.in_sight(far_m)
    made.move(np.full(USERS, SIGHT_CORRELATION_M / 50))
    assert (made.in_sight(far_m) == before).mean() > 0.9
    made.move(np.full(USERS, 20 * SIGHT_CORRELATION_M))
    share = before.mean()
    assert (made.in_sight(far_m) == before).mean() == pytest.approx(share**2 + (1 - share) ** 2, abs=0.01)


def test_who_stands_still_sees_no_change_and_seeds_tell_all() -> None:
    made, again, other = shadows(), shadows(), shadows(seed=8)
    before = made.loss_db(True)
    made.move(np.zeros(USERS))
    assert (made.loss_db(True) == before).all() and (again.loss_db(True) == before).all()
    assert not (other.loss_db(True) == before).any()
