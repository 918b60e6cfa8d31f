"""What a cell's users see of machines over the backhaul, and what is planned with."""

from collections import defaultdict
from dataclasses import replace

import pytest

from orchestrator.links_seen import LinkEstimate
from simulations.backhaul import Backhaul
from simulations.deployments import Leg, Spent, blueprint_of, links_from, spent_over
from simulations.engine import Engine
from simulations.errors import SimulationsError
from simulations.models import read_pipeline
from simulations.radio.energy import RadioPower
from simulations.scenario import Scenario
from tests.simulations.tiny import tiny

FREE: Spent = defaultdict(lambda: (0.0, 0.0))
LEG = Leg(up_bits_per_s=8e6, down_bits_per_s=80e6, up_s=0.01, down_s=0.004)


def seen(scenario: Scenario, backhaul: Backhaul | None = None) -> dict[tuple[str, str], LinkEstimate]:
    """Links by their ends, as users of the only cell see them."""
    wires = backhaul or Backhaul(Engine(), scenario.wires)
    machines = {one.node.name: one for one in scenario.machines if one.node.name != "phone"}
    return {link.ends: link for link in links_from(wires, "mast", "phone", machines, LEG)}


def test_a_link_up_is_the_radio_and_every_wire_stored_and_forwarded() -> None:
    link = seen(tiny())["phone", "cloud"]
    assert 1 / link.bytes_per_s == pytest.approx(8 / 8e6 + 8 / 1e9 + 8 / 1e10)
    assert link.propagation_s == pytest.approx(0.01 + 0.0005 + 0.010)


def test_the_way_back_has_the_radios_other_rate_and_wait() -> None:
    link = seen(tiny())["mec", "phone"]
    assert 1 / link.bytes_per_s == pytest.approx(8 / 80e6 + 8 / 1e9)
    assert link.propagation_s == pytest.approx(0.004 + 0.0005)


def test_machines_see_each_other_without_the_radio() -> None:
    link = seen(tiny())["mec", "cloud"]
    assert (link.bytes_per_s, link.propagation_s) == pytest.approx((1e10 / 8, 0.010))


def test_every_pair_that_is_linked_is_told_both_ways() -> None:
    assert set(seen(tiny())) == {
        ("phone", "mec"), ("mec", "phone"), ("phone", "cloud"), ("cloud", "phone"), ("mec", "cloud"), ("cloud", "mec"),
    }  # fmt: skip


def test_what_no_wire_leads_to_is_not_told_of() -> None:
    scenario = tiny()
    backhaul = Backhaul(Engine(), scenario.wires)
    for ends in (("mec", "cloud"), ("cloud", "mec")):
        backhaul.change(ends, bits_per_s=0.0, propagation_s=None, is_up=False)
    assert set(seen(scenario, backhaul)) == {("phone", "mec"), ("mec", "phone")}


def test_a_policy_of_one_tier_plans_with_engines_of_that_tier_alone() -> None:
    scenario = tiny(policy={"kind": "edge"})
    pipeline = scenario.pipelines[0]
    found = blueprint_of(scenario, pipeline, read_pipeline(pipeline), "phone", tuple(seen(scenario).values()), FREE)
    assert {name for name, keys in found.engines.items() if keys} == {"mec"}


def test_a_pipeline_that_nothing_reached_can_run_is_refused_by_name() -> None:
    scenario = tiny(policy={"kind": "edge"})
    pipeline, bare = scenario.pipelines[0], tuple(link for link in seen(scenario).values() if "mec" not in link.ends)
    with pytest.raises(SimulationsError, match=r"pipelines\.detect: no node of tier edge is like any"):
        blueprint_of(scenario, pipeline, read_pipeline(pipeline), "phone", bare, FREE)


def test_a_byte_costs_what_its_wires_and_the_radio_take_for_it() -> None:
    scenario = tiny()
    wires = tuple(replace(wire, j_per_byte=1e-6, usd_per_byte=1e-9) for wire in scenario.wires)
    backhaul, radio = Backhaul(Engine(), wires), {"up": RadioPower(2.0, 0.1), "down": RadioPower(1.0, 0.01)}
    links = tuple(seen(scenario).values())
    spent = spent_over(backhaul, "mast", "phone", links, radio)
    up = next(link for link in links if link.ends == ("phone", "cloud"))
    joules, dollars = spent["phone", "cloud"]
    assert joules == pytest.approx(2e-6 + 2.0 / up.bytes_per_s + 0.1 * 8 / 1e6)
    assert (dollars, spent["mec", "cloud"]) == (pytest.approx(2e-9), (pytest.approx(1e-6), pytest.approx(1e-9)))
