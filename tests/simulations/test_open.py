"""What is still under way when a simulation ends is told, and what is overdue by then counts as missed."""

import pytest

from simulations.world import World
from tests.simulations.tiny import group, tiny

STEP = {"name": "all", "ms": {"phone": 80, "server": 8}, "out_kb": 0.1}
ALWAYS = {"kind": "regular", "per_s": 200}


@pytest.mark.parametrize("compiled", [False, True])
def test_requests_under_way_at_the_end_are_not_forgotten(compiled: bool) -> None:
    told = tiny(
        policy={"kind": "edge"}, users=[group("cameras", 4, asking=ALWAYS)], duration_s=3
    )  # more than the cell carries
    world = World(told, 0, compiled=compiled)
    figures = world.run().figures
    tally = world.all()
    ended = tally.answered + sum(tally.failed.values())
    assert tally.asked == pytest.approx(4 * 200 * 2, abs=4)
    assert tally.open == tally.asked - ended > 0.5 * tally.asked
    assert figures["open_share"] == tally.open / tally.asked
    assert 0 < tally.overdue < tally.open  # the newest still have time
    lost = tally.overdue + sum(tally.failed.values())
    assert figures["missed_share"] == pytest.approx((tally.late + lost) / (tally.answered + lost))
    assert figures["missed_share"] > 0.9
    assert figures["cameras.open_share"] == figures["open_share"]


@pytest.mark.parametrize("compiled", [False, True])
def test_how_busy_links_were(compiled: bool) -> None:
    links = [
        {"between": ["mast", "mec"], "mbps": 4, "rtt_ms": 1},
        {"between": ["mec", "cloud"], "mbps": 10, "rtt_ms": 2},
    ]
    asking = {"kind": "regular", "per_s": 5}
    told = tiny(policy={"kind": "edge"}, links=links, users=[group("cameras", 1, asking=asking)], duration_s=20)
    figures = World(told, 0, compiled=compiled).run().figures
    # 40 kB of every request over 4 Mbit/s: 80 ms, five times a second; answers of 1 kB back
    assert figures["mast → mec.link_load"] == pytest.approx(5 * 40e3 * 8 / 4e6, rel=0.05)
    assert figures["mec → mast.link_load"] == pytest.approx(5 * 1e3 * 8 / 4e6, rel=0.05)
    assert figures["mec → cloud.link_load"] == 0


def test_refusals_are_counted_in_all() -> None:
    figures = (
        World(
            tiny(
                policy={"kind": "edge"},
                users=[group("cameras", 4, asking=ALWAYS)],
                pipelines=[{"name": "detect", "input_kb": 0.2, "steps": [STEP]}],
                nodes=[
                    {"name": "phone", "tier": "device", "like": "phone"},
                    {"name": "mec", "tier": "edge", "like": "server", "queue_limit": 2},
                ],
                links=[{"between": ["mast", "mec"], "mbps": 1000, "rtt_ms": 1}],
            ),
            0,
        )
        .run()
        .figures
    )
    assert figures["refused"] == figures["mec.refused"] > 100
