"""Grids of scenarios: what is tried, in which order, and what is said of keys that are none."""

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from simulations.scenario_file import parse_scenario
from simulations.sweeping import expand
from tests.simulations.tiny import group, tiny_yaml

ABOVE = (
    "name", "about", "seed", "replications", "duration_s", "warmup_s", "radio", "places", "cells", "nodes", "links",
    "pipelines", "users", "timeline",
)  # fmt: skip
WITHOUT_NODES = tuple(key for key in ABOVE if key != "nodes")


def test_two_keys_make_a_grid_whose_last_key_turns_fastest() -> None:
    points = expand(tiny_yaml(), ["users[0].count=10,20", "policy.kind=edge,cloud"])
    assert [point.label for point in points] == [
        "users[0].count=10, policy.kind=edge",
        "users[0].count=10, policy.kind=cloud",
        "users[0].count=20, policy.kind=edge",
        "users[0].count=20, policy.kind=cloud",
    ]
    assert [point.data["users"][0]["count"] for point in points] == [10, 10, 20, 20]
    assert points[1].values == {"users[0].count": 10, "policy.kind": "cloud"}


def test_the_rest_stays_and_the_given_yaml_too() -> None:
    data = tiny_yaml()
    (point,) = expand(data, ["users[1].asking.per_s=2.5"])
    assert data == tiny_yaml()
    assert point.data == tiny_yaml(
        users=[group("cameras", 2), group("phones", 1, asking={"kind": "poisson", "per_s": 2.5})]
    )


def test_a_key_that_the_file_leaves_to_its_default_can_be_swept() -> None:
    (point,) = expand(tiny_yaml(), ["radio.step_s=0.25"])
    assert parse_scenario(point.data, where="tiny", folder=Path()).step_s == 0.25


def test_keys_that_scenarios_name_themselves_can_be_swept() -> None:
    (point,) = expand(tiny_yaml(), ["pipelines[0].steps[1].ms.server=9"])
    assert point.data["pipelines"][0]["steps"][1]["ms"] == {"phone": 60, "server": 9}


def test_commas_within_brackets_part_nothing() -> None:
    points = expand(tiny_yaml(), ["cells[0].at_m=[0, 0],[50, 1.5]"])
    assert [point.data["cells"][0]["at_m"] for point in points] == [[0, 0], [50, 1.5]]
    assert points[1].label == "cells[0].at_m=[50, 1.5]"


def test_points_share_nothing() -> None:
    first, second = expand(tiny_yaml(), ["cells[0].at_m=[0, 0]", "seed=1,2"])
    first.data["users"][0]["count"] = 99
    first.data["cells"][0]["at_m"][0] = 7
    assert second.data["users"][0]["count"] == 2
    assert second.data["cells"][0]["at_m"] == [0, 0]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (
            "users[0].cuont=1,2",
            "users[0] has no key 'cuont'; there are count, name, device, pipeline, moving, asking, deadline_ms, "
            "budget_ms, priority",
        ),
        ("polcy.kind=edge", f"the scenario has no key 'polcy'; there are policy, {', '.join(ABOVE)}"),
        ("nonsense=1", f"the scenario has no key 'nonsense'; there are nodes, {', '.join(WITHOUT_NODES)}, policy"),
        (
            "policy.nonsense=1",
            "policy has no key 'nonsense'; there are kind, min_gain, min_dwell_s, drift, every_s, rule",
        ),
        ("users[2].count=1", "users has 2 entries, the first is [0]"),
        ("users.count=1", "users is a list: which entry? write users[0].count"),
        ("policy[0].kind=edge", "policy has no entries"),
        ("timeline[0].at_s=1", "timeline has no entries"),
        ("name.first=1", "name is tiny and has no key 'first'"),
        ("users[0]count=1", "'count' is no key; write it as users[0].asking.per_s"),
        ("users[0].count", "should be KEY=VALUE,VALUE, such as users[0].count=10,20"),
        ("=1", "should be KEY=VALUE,VALUE, such as users[0].count=10,20"),
        ("seed=", "should be KEY=VALUE,VALUE, such as users[0].count=10,20"),
        ("seed=1,]", "values should be as in YAML, with commas between"),
        ("seed=1,,2", "values should be as in YAML, with commas between"),
        ("seed=1,2,1", "a value is given twice"),
    ],
)
def test_what_is_amiss_is_said_in_one_line(sweep: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        expand(tiny_yaml(), [sweep])
    assert str(refused.value) == f"--sweep {sweep}: {said}"


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="seed is given twice; give all its values once"):
        expand(tiny_yaml(), ["seed=1", "seed=2"])


def test_a_grid_too_large_to_mean_is_refused_before_it_is_made() -> None:
    many = ",".join(map(str, range(1, 200)))
    with pytest.raises(SpecError, match="39,601 scenarios are more than 10,000"):
        expand(tiny_yaml(), [f"seed={many}", f"replications={many}"])
