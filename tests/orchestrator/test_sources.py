"""Inputs at nodes of their own, as planning sees them: an operator pinned to its node, and tensors that stay there."""

from dataclasses import replace
from pathlib import Path

import pytest

from nodes.joining.join import join
from nodes.joining.sources import with_sources
from nodes.joining.steps import FunctionCall, Pipeline, Source
from nodes.normalise import normalise
from orchestrator.blueprint import check_names, pose
from orchestrator.errors import SpecError
from orchestrator.model_file import read_model
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.check import faults
from partitioner.constraints import violation
from partitioner.cost import evaluate
from partitioner.extract import extract
from partitioner.load import load
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Problem
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.search.answer import answer
from partitioner.sources import sources_of, told_inputs
from partitioner.topology import Link, Node, Tier, Topology
from tests.nodes.test_functions import jpeg
from tests.orchestrator.test_branches_served import two_branches

KEY = EngineKey(node_class="any", backend="onnxruntime")
PLACES = {"phone": Tier.DEVICE, "camera": Tier.DEVICE, "cloud": Tier.CLOUD}
SITE = Topology(
    tuple(Node(name=name, tier=tier, backends=("onnxruntime",)) for name, tier in PLACES.items()),
    tuple(
        Link(source=a, target=b, bytes_per_s=1e6, propagation_s=1e-3)
        for one in ("phone", "camera")
        for a, b in ((one, "cloud"), ("cloud", one))
    ),
)


def spec_of(folder: Path, *, private: bool = True) -> DeploymentSpec:
    seen = InputSpec(name="seen", at="camera", private=private)
    return DeploymentSpec(
        name="d",
        model=two_branches(folder),
        topology=SITE,
        source="phone",
        inputs=(seen, InputSpec(name="heard", at="phone")),
        parallel=True,
    )


def problem_of(spec: DeploymentSpec) -> Problem:
    model = read_model(spec, spec.model)
    seconds = {operator.name: 0.0 if operator.is_function else 1e-3 for operator in model.graph.operators}
    profile = Profile(model=model.sha256, engines={KEY: EngineProfile(operator_s=seconds)})
    return pose(spec, model, profile, dict.fromkeys(PLACES, (KEY,)))


def test_an_input_away_is_an_operator_and_a_number_and_the_model_stays_the_same(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    plain, model = load(spec.model), read_model(spec, spec.model)
    assert with_sources(plain, ()) is plain
    assert model.sha256 == plain.sha256
    assert model.graph.inputs == ("heard", "seen.item")
    assert dict(sources_of(model.graph)) == {"seen.item": "seen"}
    assert sorted(told_inputs(model.graph)) == ["heard", "seen"]
    number = model.graph.activations["seen.item"]
    assert (number.dtype, number.shape, number.nbytes) == ("int64", (1,), 8)
    (piece,) = extract(model, ("seen.source",), ("seen.item",), ("seen",))
    assert (piece.function, piece.params["tensor"], piece.params["shape"]) == ("held", "seen", [1, 2048])


def test_what_differs_from_item_to_item_may_be_held_in_any_size(tmp_path: Path) -> None:
    decode = FunctionCall(name="picture", function="decode_jpeg", wires=("photo",))
    photo = Source(name="photo", dtype="uint8", shape=(None,))
    pipeline = Pipeline(name="p", sources=(photo,), steps=(decode,), outputs={"seen": "picture"})
    sample = jpeg()
    model = load(normalise(join(pipeline), samples={"photo": sample}).proto)
    assert model.graph.activations["photo"].shape == sample.shape
    (piece,) = extract(with_sources(model, ("photo",)), ("photo.source",), ("photo.item",), ("photo",))
    assert piece.params["shape"] == [-1]


def test_the_best_plan_reads_each_input_where_it_is(tmp_path: Path) -> None:
    plan = answer(problem_of(spec_of(tmp_path)))
    assert isinstance(plan, Plan)
    at = {name: stage.node for stage in plan.stages for name in stage.operators}
    assert (at["seen.source"], at["eye"]) == ("camera", "camera")
    assert not list(faults(problem_of(spec_of(tmp_path)), plan))


def test_what_is_private_to_another_node_may_be_there_and_nowhere_else(tmp_path: Path) -> None:
    problem = problem_of(spec_of(tmp_path))
    assert (problem.may_be_on("seen", "camera"), problem.may_be_on("seen", "phone")) == (True, False)
    site = {one.node: one for one in problem.sites}
    names = [operator.name for operator in problem.graph.operators]
    abroad = {"seen.source": "camera", "eye": "cloud", "ear": "cloud", "both": "cloud"}
    plan = evaluate(problem, [site[abroad[name]] for name in names])
    broken = violation(problem, plan)
    assert isinstance(broken, Infeasible)
    assert broken.constraint == "privacy"
    assert any("private tensor seen" in fault for fault in faults(problem, plan))
    free = problem_of(spec_of(tmp_path, private=False))
    assert violation(free, evaluate(free, [site[abroad[name]] for name in names])) is None


def test_names_are_checked_as_users_know_them(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    model = read_model(spec, spec.model)
    check_names(spec, model)
    with pytest.raises(SpecError, match=r"inputs\.seen: is missing"):
        check_names(replace(spec, inputs=spec.inputs[1:]), model)
    other = InputSpec(name="seen.item", at="phone")
    with pytest.raises(SpecError, match=r"inputs\.seen\.item: .* has no such input; it has heard, seen"):
        check_names(replace(spec, inputs=(*spec.inputs, other)), model)
