"""Overload foreseen: machines, devices, cells and links that are asked for more than they can do, at their busiest."""

from typing import Any

import pytest

from simulations.world import World
from tests.simulations.tiny import group, tiny

EDGE = {"kind": "edge"}


def foreseen(**changed: Any) -> list[tuple[str, float]]:
    """What is overloaded, and its ρ."""
    lines = World(tiny(policy=EDGE, **changed), 0).begin()
    found = []
    for line in lines:
        name, _, rest = line.partition(": ρ = ")
        found.append((name, float(rest.partition(",")[0])))
    return found


def asking(**how: Any) -> list[dict[str, Any]]:
    return [group("cameras", 2, asking=how)]


def test_nothing_is_said_of_what_bears_its_load() -> None:
    assert foreseen() == []


def test_a_node_by_its_servers() -> None:
    # 2 users × 300 a second × (2 + 6) ms on two servers
    assert ("node mec", pytest.approx(2.4)) in foreseen(users=asking(kind="regular", per_s=300))


def test_a_link_by_its_rate() -> None:
    links = [
        {"between": ["mast", "mec"], "mbps": 2, "rtt_ms": 1},
        {"between": ["mec", "cloud"], "mbps": 10, "rtt_ms": 2},
    ]
    # 2 users × 4 a second × 40 kB over 2 Mbit/s
    assert foreseen(users=asking(kind="poisson", per_s=4), links=links) == [("link mast → mec", pytest.approx(1.28))]


@pytest.mark.parametrize(("change", "rho"), [({"mbps": 2}, 1.28), ({"mbps": 100}, None), ({"is": "down"}, None)])
def test_a_link_at_its_slowest_while_it_is_up(change: dict[str, Any], rho: float | None) -> None:
    timeline = [{"at_s": 3, "link": ["mast", "mec"], **change}]
    found = foreseen(users=asking(kind="poisson", per_s=4), timeline=timeline)
    assert found == ([] if rho is None else [("link mast → mec", pytest.approx(rho))])


@pytest.mark.parametrize(
    ("peak_s", "period_s", "busiest"),
    [
        (2.0, 100.0, 1.9),  # the peak is within the run of 5 s
        (6.0, 8.0, 1 + 0.9 * 2**-0.5),  # the run ends an eighth of a period before it
        (52.0, 100.0, 0.0),  # the run is in the trough
    ],
)
def test_a_day_at_its_peak_or_as_far_as_the_run_comes(peak_s: float, period_s: float, busiest: float) -> None:
    how = {"kind": "diurnal", "per_s": 100, "swing": 0.9, "period_s": period_s, "peak_s": peak_s}
    rho = 0.8 * busiest  # 2 users × 100 a second × 8 ms on two servers
    wanted = {"node mec": pytest.approx(rho, abs=0.01)} if rho >= 1 else {}
    assert {name: one for name, one in foreseen(users=asking(**how)) if name == "node mec"} == wanted
