"""Users on the move: at their speed, inside the field, on the streets, on the path; the same by seed."""

from collections.abc import Callable

import numpy as np
import pytest

from simulations.errors import BadTrace, OutOfRange
from simulations.mobility import Mobility, Path, RandomWaypoint, Standing, StreetGrid

FIELD = (300.0, 200.0)
Make = Callable[[np.random.Generator], Mobility]
WANDERERS: dict[str, Make] = {
    "waypoint": lambda draw: RandomWaypoint(400, FIELD, draw, speeds=(1.0, 15.0), rest_s=2.0),
    "grid": lambda draw: StreetGrid(400, FIELD, draw, block_m=50.0, speeds=(1.0, 15.0)),
}
BOTH = pytest.mark.parametrize("made", WANDERERS.values(), ids=WANDERERS.keys())


@BOTH
def test_users_stay_in_the_field_and_go_no_faster_than_they_may(made: Make) -> None:
    users = made(np.random.default_rng(1))
    for _ in range(200):
        before_m = users.at_m.copy()
        went_m = users.move(0.7)
        assert (users.at_m >= -1e-9).all() and (users.at_m <= np.array(FIELD) + 1e-9).all()
        assert (np.hypot(*(users.at_m - before_m).T) <= went_m + 1e-9).all() and (went_m <= 15 * 0.7 + 1e-9).all()
    assert np.ptp(users.at_m[:, 0]) > 250  # they are everywhere


@BOTH
def test_the_seed_tells_all(made: Make) -> None:
    first, again, other = (made(np.random.default_rng(seed)) for seed in (1, 1, 2))
    for users in (first, again, other):
        users.move(100.0)
    assert (first.at_m == again.at_m).all() and not (first.at_m == other.at_m).all()


def test_a_wanderer_goes_straight_arrives_rests_and_goes_on() -> None:
    users = RandomWaypoint(1, FIELD, np.random.default_rng(5), speeds=(10.0, 10.0), rest_s=4.0)
    steps = [float(users.move(0.5)[0]) for _ in range(400)]
    assert {round(step, 9) for step in steps} >= {0.0, 5.0}
    rests = "".join("r" if step == 0 else "w" for step in steps).split("w")
    assert {len(rest) for rest in rests[:-1] if rest} <= {7, 8}  # 4 s, but for the halves in which it stopped and went
    walked = RandomWaypoint(300, FIELD, np.random.default_rng(5), speeds=(10.0, 10.0)).move(60.0)
    assert walked == pytest.approx(600)


def test_grid_users_keep_to_the_streets_and_go_straight_on_at_half_of_the_crossings() -> None:
    users = StreetGrid(2000, (2000.0, 2000.0), np.random.default_rng(2), block_m=100.0, speeds=(10.0, 10.0))
    users.move(3.0)
    off_m = np.abs(users.at_m - 100 * np.round(users.at_m / 100))
    assert off_m.min(axis=1).max() < 1e-9
    inner = ((users.at_m > 350) & (users.at_m < 1650)).all(axis=1)
    before_m = users.at_m[inner].copy()
    users.move(10.0)  # a block: one crossing
    way = np.sort(np.abs(users.at_m[inner] - before_m), axis=1)
    straight = (way[:, 0] < 1e-9).mean()
    assert straight == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(inner.sum()))


def test_a_path_is_followed_at_its_times_by_one_after_the_other_and_begins_anew() -> None:
    at_s, points = np.array([0.0, 10.0, 15.0]), np.array([(0.0, 0.0), (100.0, 0.0), (100.0, 100.0)])
    users = Path(at_s, points, users=2, spacing_s=5.0)
    assert users.move(12.5).tolist()[0] == pytest.approx(np.hypot(100, 50))
    assert users.at_m == pytest.approx(np.array([(100.0, 50.0), (75.0, 0.0)]))
    users.move(5.0)
    assert users.at_m[0] == pytest.approx((25.0, 0.0))


def test_who_stands_stays() -> None:
    users = Standing.scattered(50, FIELD, np.random.default_rng(1))
    before_m = users.at_m.copy()
    assert users.move(1e6).sum() == 0 and (users.at_m == before_m).all()


def test_what_cannot_be_is_refused() -> None:
    draw = np.random.default_rng(1)
    with pytest.raises(OutOfRange, match="speeds 0 to 2 m/s: from above 0"):
        RandomWaypoint(1, FIELD, draw, speeds=(0, 2))
    with pytest.raises(OutOfRange, match="block_m 500: at least one block must fit into 300 × 200 m"):
        StreetGrid(1, FIELD, draw, block_m=500, speeds=(1, 2))
    with pytest.raises(BadTrace, match="path: times must begin at 0 and rise"):
        Path(np.array([0.0, 2.0, 1.0]), np.zeros((3, 2)))
    with pytest.raises(BadTrace, match="path: 1 times and 1 points"):
        Path(np.array([0.0]), np.zeros((1, 2)))
