"""Path loss and line of sight against published values of TR 38.901, and where the formulas end."""

import numpy as np
import pytest

from simulations.errors import OutOfRange
from simulations.radio.path_loss import UMA, UMI, Environment, break_point_m, path_loss_db, sight_probability


@pytest.mark.parametrize(
    ("environment", "ghz", "metres", "seen", "hidden"),
    [
        (UMI, 3.5, 100, 85.31, 104.64),
        (UMI, 3.5, 500, 107.11, 129.26),
        (UMI, 28, 100, 103.38, 123.88),
        (UMA, 3.5, 100, 83.14, 103.04),
        (UMA, 3.5, 500, 98.27, 129.92),
        (UMA, 28, 100, 101.20, 121.10),
    ],
)
def test_losses_are_the_report_s(
    environment: Environment, ghz: float, metres: float, seen: float, hidden: float
) -> None:
    found = path_loss_db(environment, ghz, [metres, metres], [True, False])
    assert found == pytest.approx([seen, hidden], abs=0.01)


@pytest.mark.parametrize(
    ("environment", "near", "far"), [(UMI, 0.2310, 0.0360), (UMA, 0.3477, 0.0363)], ids=["UMi", "UMa"]
)
def test_lines_of_sight_are_lost_as_the_report_says(environment: Environment, near: float, far: float) -> None:
    assert sight_probability(environment, [5, 18, 100, 500]) == pytest.approx([1, 1, near, far], abs=5e-5)


def test_the_ground_s_reflection_sets_in_where_the_report_says() -> None:
    assert (break_point_m(UMI, 3.5), break_point_m(UMA, 3.5)) == pytest.approx((210, 560))
    around = path_loss_db(UMI, 3.5, [209.999, 210.001], True)
    assert around[1] - around[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("environment", [UMI, UMA])
def test_what_is_hidden_loses_no_less_and_farther_loses_no_less(environment: Environment) -> None:
    metres = np.linspace(10, 5000, 4000)
    seen, hidden = (path_loss_db(environment, 3.5, metres, sight) for sight in (True, False))
    assert (hidden >= seen).all() and (np.diff(seen) >= 0).all() and (np.diff(hidden) >= 0).all()


def test_beyond_the_tables_distances_are_held_and_carriers_refused() -> None:
    assert path_loss_db(UMI, 3.5, [1, 9000], True) == pytest.approx(path_loss_db(UMI, 3.5, [10, 5000], True))
    with pytest.raises(OutOfRange, match=r"carrier 0.2 GHz: TR 38.901 covers 0.5 to 100 GHz"):
        path_loss_db(UMI, 0.2, 100, True)
    with pytest.raises(OutOfRange, match="user height 20 m"):
        path_loss_db(UMI, 3.5, 100, True, user_height_m=20)
