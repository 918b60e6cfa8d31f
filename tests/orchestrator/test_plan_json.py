"""Claims about a plan's JSON: it adds up, and only what leaves a node is a crossing."""

import json
from dataclasses import replace

import pytest

from orchestrator.plan_json import plan_to_json
from tests.builders import plan_on


def test_stages_crossings_and_local_messages_add_up_to_the_latency() -> None:
    told = plan_to_json(plan_on("camera", "camera", "cloud"))
    total_s = sum(part["seconds"] for part in told["stages"] + told["crossings"]) + told["local_s"]
    assert total_s == pytest.approx(told["predicted"]["latency_s"])
    assert told["local_s"] == pytest.approx(0.002)


def test_only_messages_between_nodes_are_crossings_and_they_name_nodes() -> None:
    told = plan_to_json(plan_on("camera", "camera", "cloud"))
    assert [(each["from"], each["to"]) for each in told["crossings"]] == [("camera", "cloud"), ("cloud", "camera")]


def test_it_has_the_keys_that_were_promised() -> None:
    told = json.loads(json.dumps(plan_to_json(plan_on("camera", "cloud"))))
    promised = {"objective", "predicted", "stages", "crossings", "certificate", "unsplit"}
    assert promised | {"local_s", "reason"} <= set(told)
    assert {"latency_s", "throughput_per_s", "energy_j", "cost_usd"} <= set(told["predicted"])
    assert {"name", "node", "backend", "precision", "operators", "seconds"} <= set(told["stages"][0])
    assert {"from", "to", "tensors", "codec", "bytes", "seconds"} <= set(told["crossings"][0])
    assert {"status", "objective", "cost_model", "lower_bound", "gap", "method"} == set(told["certificate"])


def test_figures_without_watts_or_prices_are_null() -> None:
    told = plan_to_json(plan_on("camera", "cloud"))
    assert (told["predicted"]["energy_j"], told["unsplit"]) == (None, {"camera": 0.4, "cloud": None})


def test_a_candidate_without_certificate_says_null() -> None:
    assert plan_to_json(replace(plan_on("camera"), certificate=None))["certificate"] is None


def test_tensors_with_codecs_of_their_own_list_them_in_order() -> None:
    plan = plan_on("camera", "cloud")
    mixed = replace(plan.crossings[1], tensors=("a", "b"), codecs=("raw", "fp16"))
    told = plan_to_json(replace(plan, crossings=(plan.crossings[0], mixed, plan.crossings[2])))
    assert [each["codec"] for each in told["crossings"]] == ["raw,fp16", "raw"]
