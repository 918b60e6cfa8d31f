"""Blueprints of models with state: what a later controller reads of them, and names that do not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.blueprint import Blueprint
from orchestrator.blueprint_file import BlueprintFiles, version_digest
from orchestrator.errors import SpecError
from orchestrator.spec import InputSpec
from partitioner.plan import Infeasible, Plan
from tests.orchestrator.sequence_site import STATE, blueprint_of


@pytest.fixture(name="blueprint")
def _blueprint(tmp_path: Path) -> Blueprint:
    return blueprint_of(tmp_path)


def test_a_later_controller_plans_without_the_state_too(blueprint: Blueprint, tmp_path: Path) -> None:
    files = BlueprintFiles(tmp_path / "kept")
    files.save(blueprint, blueprint.spec.model)
    read = files.read(blueprint.spec.name, version_digest(blueprint))
    assert read.spec.sequence == blueprint.spec.sequence
    assert (read.model.graph.inputs, dict(read.model.state)) == (("x",), dict(STATE))
    assert read.find() == blueprint.find()


def test_a_plan_cuts_between_states_and_sends_none_of_them(blueprint: Blueprint) -> None:
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    assert [stage.operators[-1] for stage in plan.stages] == ["add_near", "keep_far"]
    assert {name for crossing in plan.crossings for name in crossing.tensors} == {"x", "near_next", "y"}


def test_a_state_whose_ends_cannot_share_a_stage_is_refused_by_their_names(blueprint: Blueprint) -> None:
    apart = (("add_far", "camera"), ("keep_far", "cloud"))
    refused = replace(blueprint, spec=replace(blueprint.spec, pinned=apart)).find()
    assert isinstance(refused, Infeasible)
    assert "add_far" in refused.detail and "keep_far" in refused.detail


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outputs": (("near_next", "camera"),)}, "outputs.near_next: is the state that near is next"),
        ({"inputs": (InputSpec(name="x", at="camera"),)}, "inputs.scale: is missing"),
        (
            {"inputs": tuple(InputSpec(name=name, at="camera", private=name == "scale") for name in ("x", "scale"))},
            "inputs.scale.private: what a sequence carries on lies at its stages",
        ),
    ],
)
def test_what_a_spec_says_of_what_is_carried_on_must_make_sense(
    blueprint: Blueprint, change: dict[str, object], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        replace(blueprint, spec=replace(blueprint.spec, **change)).problem()  # type: ignore[arg-type]
