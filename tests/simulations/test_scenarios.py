"""The ready-made scenarios, shortened: each shows what it is for; one of them is worked out by hand."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from yaml import safe_load

from orchestrator.yaml_file import StrictModel, read_yaml
from simulations import scenario_models as yaml
from simulations.results import Outcome
from simulations.running import run
from simulations.scenario_file import READY_MADE, load_scenario, parse_scenario, ready_made

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "simulating.md"
NAMES = ("city-centre", "factory", "highway", "one-cell", "remote", "stadium")
DESCRIBED: dict[str, type[BaseModel]] = {
    "The file": yaml.ScenarioModel,
    "radio": yaml.RadioModel,
    "places": yaml.PlacesModel,
    "cells[]": yaml.CellModel,
    "cells[].band": yaml.BandModel,
    "cells[].band.layers": yaml.LayersModel,
    "cells[].band.block_errors": yaml.BlockErrorsModel,
    "cells[].trace": yaml.TraceModel,
    "cells[].trace.up": yaml.WaveringModel,
    "nodes[]": yaml.MachineModel,
    "nodes[].batch": yaml.BatchModel,
    "nodes[].power": yaml.PowerModel,
    "links[]": yaml.WireModel,
    "pipelines[]": yaml.PipelineModel,
    "pipelines[].steps[]": yaml.StepModel,
    "users[]": yaml.GroupModel,
    "users[].moving": yaml.MovingModel,
    "users[].asking": yaml.AskingModel,
    "timeline[]": yaml.ChangeModel,
    "policy": yaml.PolicyModel,
}
ready = pytest.mark.parametrize("name", NAMES)


def outcome(name: str, kind: str, seconds: float, **changed: Any) -> Outcome:
    """A ready-made scenario's first replication under a policy, cut off after so long; `changed` replaces keys."""
    data = read_yaml(READY_MADE / f"{name}.yaml")
    timeline = [one for one in data.get("timeline", ()) if one["at_s"] < seconds]
    data |= {"duration_s": seconds, "warmup_s": 2, "replications": 1, "timeline": timeline, "policy": {"kind": kind}}
    scenario = parse_scenario(data | changed, where=name, folder=Path())
    return run(scenario).outcomes[0]


def test_six_scenarios_come_ready_made() -> None:
    assert ready_made() == NAMES


@ready
def test_a_ready_made_scenario_says_what_it_asks_and_all_its_users_are_reached(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert len(scenario.about) > 60
    assert scenario.remarks == ()


@ready
def test_a_ready_made_scenario_answers_on_devices_alone_and_sends_nothing(name: str) -> None:
    figures = outcome(name, "device", 6).figures
    assert figures["answered_per_s"] > 0
    assert figures["sent_bytes"] == figures["radio_s"] == 0


@ready
def test_numbers_in_ready_made_scenarios_have_a_source_or_are_said_to_be_assumed(name: str) -> None:
    text = (READY_MADE / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "assumed" in text


def test_one_cells_latency_is_what_paper_says() -> None:
    symbols_per_s = 106 * 12 * 14 / 0.5e-3  # blocks, subcarriers, symbols a slot of 0.5 ms
    up_bits_per_s = symbols_per_s * (1 - 0.08) * 0.2 * 6 * 948 / 1024  # overhead, slots up, 64QAM at its best
    down_bits_per_s = symbols_per_s * (1 - 0.14) * 0.74 * 2 * 8 * 948 / 1024  # two layers, 256QAM
    up_s = (2.5 + 5) * 0.5e-3 + 60e3 * 8 / up_bits_per_s + 2e-3 + 60e3 * 8 / 1e9 + 1e-3  # grant, air, core, wire
    run_s = 4e-3 + 6e-3
    down_s = 2e3 * 8 / 1e9 + 1e-3 + 2e-3 + 0.7 * 0.5e-3 + 2e3 * 8 / down_bits_per_s  # wire, core, slot, air
    figures = outcome("one-cell", "adaptive", 60).figures
    assert figures["latency_mean_s"] == pytest.approx(up_s + run_s + down_s, rel=0.01)
    assert figures["compute_s"] == pytest.approx(run_s, rel=1e-9)
    assert figures["transfer_s"] == pytest.approx(60e3 * 8 / 1e9 + 2e3 * 8 / 1e9 + 2e-3, rel=1e-9)


def test_the_document_s_sum_is_what_the_run_comes_to() -> None:
    (table,) = re.findall(r"^\| what \| ms \|\n\| --- .*\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.M)
    *parts_ms, sum_ms = [float(row.split("|")[2]) for row in table.splitlines()]
    assert sum(parts_ms) == pytest.approx(sum_ms, abs=1e-9)
    figures = outcome("one-cell", "adaptive", 60).figures
    assert figures["latency_mean_s"] * 1e3 == pytest.approx(sum_ms, rel=0.01)


def test_the_document_s_headings_stand_apart() -> None:
    assert not re.findall(r"[^\n]\n#+ .*", re.sub(r"^```.*?^```", "", DOCUMENT.read_text(), flags=re.M | re.S))


def test_one_cells_server_draws_idle_watts_and_what_it_works() -> None:
    figures = outcome("one-cell", "edge", 20).figures
    assert figures["mec_j"] == pytest.approx(50 * 20 + (100 - 50) * figures["server.utilisation"] * 20, rel=1e-9)
    assert figures["machines_usd"] == pytest.approx(0.4 * 20 / 3600, rel=1e-9)


@pytest.mark.slow
def test_the_factorys_server_answers_sooner_than_vehicles_do_and_than_the_cloud() -> None:
    adaptive, device, cloud = (outcome("factory", kind, 12).figures for kind in ("adaptive", "device", "cloud"))
    assert adaptive["vehicles.latency_mean_s"] < 0.8 * device["vehicles.latency_mean_s"]
    assert adaptive["vehicles.latency_mean_s"] < 0.8 * cloud["vehicles.latency_mean_s"]


@pytest.mark.slow
def test_on_the_highway_cars_are_handed_over_and_the_edge_is_worth_it() -> None:
    edge, device = (outcome("highway", kind, 30).figures for kind in ("edge", "device"))
    assert edge["handovers"] > 10
    assert edge["latency_p50_s"] < 0.6 * device["latency_p50_s"]
    assert edge["latency_p99_s"] > device["latency_p99_s"]  # at cells' edges


@pytest.mark.slow
def test_in_the_city_cameras_gain_from_the_edge_where_phones_lose() -> None:
    adaptive, device, edge = (outcome("city-centre", kind, 12).figures for kind in ("adaptive", "device", "edge"))
    assert adaptive["cameras.latency_p50_s"] < 0.6 * device["cameras.latency_p50_s"]
    assert adaptive["phones.latency_p50_s"] < 0.6 * edge["phones.latency_p50_s"]
    assert adaptive["missed_share"] < min(device["missed_share"], edge["missed_share"])


@pytest.mark.slow
def test_in_the_stadium_the_goal_is_too_much_for_the_cells_but_not_for_phones() -> None:
    goal = [{"at_s": 6, "users": "fans", "ask_times": 5}]
    edge, adaptive = (outcome("stadium", kind, 20, timeline=goal) for kind in ("edge", "adaptive"))
    assert edge.figures["missed_share"] > 0.5
    assert adaptive.figures["missed_share"] < 0.6 * edge.figures["missed_share"]
    assert any(line.startswith("cell west, up: ρ = ") for line in edge.overloads)


@pytest.mark.slow
def test_far_out_the_adaptive_policy_answers_all_where_the_edge_alone_loses_many() -> None:
    lost = [{"at_s": 5, "node": "container", "is": "down"}, {"at_s": 39, "node": "container", "is": "up"}]
    adaptive, edge = (outcome("remote", kind, 40, timeline=lost).figures for kind in ("adaptive", "edge"))
    assert adaptive["failed_share"] == 0
    assert edge["failed_share"] > 0.1


def described() -> dict[str, dict[str, str]]:
    """The tables in docs/simulating.md: by heading, each key with its default."""
    text = DOCUMENT.read_text()
    sections = re.findall(r"^### (.+)\n\n\| key \| default \| meaning \|\n\| --- .*\n((?:\|.*\n)+)", text, re.M)
    rows = {name.strip("`"): [row.split("|") for row in table.splitlines()] for name, table in sections}
    return {name: {row[1].strip(" `"): row[2].strip() for row in each} for name, each in rows.items()}


def default(field: FieldInfo) -> str:
    """A key's default, as the tables write it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    return "–" if value is None or value == "" else value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(("heading", "model"), DESCRIBED.items())
def test_every_key_is_described_with_its_default(heading: str, model: type[BaseModel]) -> None:
    fields = {field.alias or name: default(field) for name, field in model.model_fields.items()}
    assert described()[heading] == fields


def test_no_mapping_of_the_file_is_left_undescribed() -> None:
    assert set(described()) == set(DESCRIBED)
    models = {one for one in vars(yaml).values() if isinstance(one, type) and issubclass(one, StrictModel)}
    assert models - {StrictModel} == set(DESCRIBED.values())


def test_the_documents_example_is_a_scenario() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    scenario = parse_scenario(safe_load(example), where="docs", folder=Path())
    assert run(scenario, replications=1).outcomes[0].figures["answered_per_s"] > 10
