"""Blueprints: one question, planned anew under other links, without nodes, or as fixed."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from orchestrator.blueprint import Blueprint, engine_keys, observed, private_tensors
from orchestrator.errors import SpecError
from orchestrator.links_seen import LinkEstimate
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits
from partitioner.topology import Node, Tier
from tests.orchestrator.small_site import blueprint_of, site

SLOW = LinkEstimate(source="camera", target="cloud", bytes_per_s=10.0, propagation_s=1e-4)


def nodes_of(plan: Plan | Infeasible) -> list[str]:
    assert isinstance(plan, Plan)
    return [stage.node for stage in plan.stages]


@pytest.fixture
def blueprint(tmp_path: Path) -> Blueprint:
    return blueprint_of(tmp_path)


def test_the_plan_follows_the_links(blueprint: Blueprint) -> None:
    assert nodes_of(blueprint.find()) == ["camera", "cloud"]
    assert nodes_of(blueprint.find([SLOW])) == ["camera"]


def test_an_excluded_node_takes_no_part(blueprint: Blueprint) -> None:
    assert nodes_of(blueprint.find((), ["cloud"])) == ["camera"]


def test_a_plan_made_for_other_links_is_priced_under_these(blueprint: Blueprint) -> None:
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    assert blueprint.price(plan, []) == pytest.approx(plan.predicted.latency_s)
    assert blueprint.price(plan, [SLOW]) > 1.0


def test_a_fixed_plan_is_what_is_found_and_tells_itself_from_a_free_one(blueprint: Blueprint) -> None:
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    fixed = replace(blueprint, fixed=plan)
    assert fixed.find([SLOW]) is plan
    assert fixed.digest != blueprint.digest


def test_a_plan_beyond_a_limit_under_these_links_cannot_serve(blueprint: Blueprint) -> None:
    plan = blueprint.find()
    hurried = replace(blueprint, spec=replace(blueprint.spec, limits=Limits(latency_s=0.5)))
    assert isinstance(plan, Plan)
    assert hurried.price(plan, []) == pytest.approx(plan.predicted.latency_s)
    assert hurried.price(plan, [SLOW]) == inf


def test_what_is_asked_for_reaches_the_solver(blueprint: Blueprint) -> None:
    spec = replace(blueprint.spec, objective="throughput", pinned=(("second", "camera"),))
    plan = replace(blueprint, spec=spec).find()
    assert nodes_of(plan) == ["camera"]
    assert isinstance(plan, Plan) and plan.certificate is not None
    assert plan.certificate.objective == "throughput"


def test_a_pin_of_an_operator_that_is_not_there_is_refused(blueprint: Blueprint) -> None:
    spec = replace(blueprint.spec, pinned=(("nothing", "camera"),))
    with pytest.raises(SpecError, match=r"pinned\.nothing: .* has no such operator"):
        replace(blueprint, spec=spec).find()


def test_only_the_observed_direction_of_a_link_changes() -> None:
    changed = observed(site(mbps=8), [SLOW])
    assert [link.bytes_per_s for link in changed.links] == [10.0, 1e6]


def test_a_private_input_keeps_its_pixel_forms(blueprint: Blueprint) -> None:
    kept = replace(blueprint.spec.inputs[0], private=True)
    assert "x" in private_tensors(replace(blueprint.spec, inputs=(kept,)), blueprint.model)
    assert private_tensors(blueprint.spec, blueprint.model) == frozenset()


def test_an_input_kept_within_a_tier_may_be_on_the_edge_and_not_above(blueprint: Blueprint) -> None:
    kept = replace(blueprint.spec.inputs[0], private=True, private_within=Tier.EDGE)
    problem = replace(blueprint, spec=replace(blueprint.spec, inputs=(kept,))).problem()
    assert problem.private == frozenset() and problem.within == {"x": Tier.EDGE}
    assert problem.may_be_on("x", "camera") and not problem.may_be_on("x", "cloud")


def test_a_nodes_engines_are_those_it_lists_and_has() -> None:
    node = Node(name="mec", tier=Tier.EDGE, backends=("openvino", "onnxruntime"), threads=2)
    (key,) = engine_keys(node, "here", {"onnxruntime", "tvm"})
    assert (key.backend, key.node_class, key.threads) == ("onnxruntime", "here", 2)


def test_an_engine_with_options_of_its_own_is_measured_by_itself() -> None:
    tuned = (("onnxruntime", (("level", "all"),)),)
    node = Node(name="board", tier=Tier.EDGE, backends=("openvino", "onnxruntime"), engines=tuned)
    classes = {key.backend: key.node_class for key in engine_keys(node, "here", {"openvino", "onnxruntime"})}
    assert classes == {"openvino": "here", "onnxruntime": "board"}
