"""Places of base stations and users: metres where the earth has them, refused by line where it has none."""

from pathlib import Path

import numpy as np
import pytest

from simulations.errors import BadTrace, OutOfRange
from simulations.traces.places import read_places

HEAD = "SITE_ID,LATITUDE,LONGITUDE\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "sites.csv"
    path.write_text(text)
    return path


def test_places_are_metres_around_their_middle(tmp_path: Path) -> None:
    found = read_places(written(tmp_path, HEAD + "7,-37.81,144.97\n8,-37.82,144.95\n"))
    assert (found.names, found.origin) == (("7", "8"), (pytest.approx(-37.815), pytest.approx(144.96)))
    assert found.at_m.sum(axis=0) == pytest.approx([0, 0], abs=1e-6)
    haversine_m = 2079.7  # between the two, by the great circle
    assert np.hypot(*(found.at_m[0] - found.at_m[1])) == pytest.approx(haversine_m, rel=1e-3)


def test_users_stand_among_the_sites_by_the_same_origin(tmp_path: Path) -> None:
    origin = (-37.81, 144.97)
    found = read_places(written(tmp_path, "Latitude,Longitude\n-37.81,144.97\n-37.80,144.97\n"), origin)
    assert found.at_m == pytest.approx(np.array([(0, 0), (0, 1111.95)]), abs=0.01)
    assert found.names == ("1", "2")


def test_a_place_is_found_by_its_name_and_others_are_told_where_there_is_none(tmp_path: Path) -> None:
    found = read_places(
        written(tmp_path, HEAD + "70,-37.81,144.97\n8,-37.80,144.97\n8,-37.79,144.97\n"), (-37.81, 144.97)
    )
    assert found.place("70") == pytest.approx((0, 0))
    with pytest.raises(OutOfRange, match=r"^no place '71'; there are 3, such as 70"):
        found.place("71")
    with pytest.raises(OutOfRange, match="'8' names 2 places"):
        found.place("8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "names no place"),
        ("NAME,LATITUDE\nx,1\n", "has no column LONGITUDE"),
        (HEAD + "1,north,1\n", "line 2: LATITUDE is 'north', not a number"),
        (HEAD + "1,1,1\n2,91,1\n", "line 3: LATITUDE is 91 degrees"),
        (HEAD + "1,1,1\n2,9,1\n", "line 2: 445 km from the origin; at most 50 km"),
    ],
)
def test_what_is_no_place_is_named_by_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadTrace, match=rf"sites.csv.*{said}"):
        read_places(written(tmp_path, text))
