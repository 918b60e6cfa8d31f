"""Steps that run one model, apart or as one: whichever is planned to be better is deployed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from orchestrator.client import Client
from orchestrator.model_file import prepare
from orchestrator.shared_models import settled
from orchestrator.spec import DeploymentSpec, parse_spec
from partitioner.figures import Predicted
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile

WIDE = 2048
NODES = ("phone", "cloud")
INFEASIBLE = Infeasible(constraint="memory", detail="too much")


def heads(folder: Path, rows: int | None = None) -> Path:
    """x [rows, 2048] → y: what one row takes is to read 16 MB of weights, and two take no longer."""
    weights = np.random.default_rng(3).standard_normal((WIDE, WIDE)).astype(np.float32) / np.float32(WIDE**0.5)
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows or "n", WIDE]) for name in "xy")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "multiply")]
    graph = helper.make_graph(nodes, "head", [given], [made], [numpy_helper.from_array(weights, "w")])
    path = folder / "head.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def spec_of(folder: Path, **changes: Any) -> DeploymentSpec:
    nodes = [{"name": name, "tier": "device", "backends": ["onnxruntime"]} for name in NODES[:1]]
    nodes += [{"name": name, "tier": "cloud", "backends": ["onnxruntime"]} for name in NODES[1:]]
    told = {
        "name": "heads",
        "shared_models": "best",
        "inputs": {name: {"at": "phone", "dtype": "float32", "shape": [1, WIDE]} for name in "ab"},
        "steps": {
            "one": {"model": "head.onnx", "reads": "a"},
            "other": {"model": "head.onnx", "reads": "b"},
        },
        "outputs": {"p": "one", "q": "other"},
        "topology": {"nodes": nodes, "links": [{"from": "phone", "to": "cloud", "goodput_mbps": 100, "rtt_ms": 5}]},
    } | changes
    return parse_spec(told, where="x", folder=folder)


def plan(form: DeploymentSpec, latency_s: float) -> Plan:
    return Plan(
        model=prepare(form).sha256,
        stages=(),
        crossings=(),
        predicted=Predicted(latency_s=latency_s, throughput_per_s=1.0),
    )


def profile(form: DeploymentSpec) -> Profile:
    return Profile(model=prepare(form).sha256, engines={}, message_s=0.0)


@pytest.mark.parametrize(
    ("apart_s", "batched_s", "taken"),
    [(0.2, 0.1, "batched"), (0.1, 0.2, "apart"), (0.1, 0.1, "apart"), (None, 0.3, "batched"), (None, None, "apart")],
)
def test_the_better_form_is_taken(tmp_path: Path, apart_s: float | None, batched_s: float | None, taken: str) -> None:
    heads(tmp_path)
    spec = spec_of(tmp_path)
    assert spec.batched_model is not None

    def measured(form: DeploymentSpec) -> tuple[Profile, Plan | Infeasible]:
        assert form.batched_model is None
        seconds = batched_s if form.model == spec.batched_model else apart_s
        return profile(form), INFEASIBLE if seconds is None else plan(form, seconds)

    form, found = settled(spec, None, None, measured)
    assert form == replace(spec, batched_model=None, model=spec.batched_model if taken == "batched" else spec.model)
    assert found == profile(form)


def test_a_profile_or_a_plan_that_is_given_tells_which(tmp_path: Path) -> None:
    heads(tmp_path)
    spec = spec_of(tmp_path)
    assert spec.batched_model is not None
    for model in (spec.model, spec.batched_model):
        own = replace(spec, model=model, batched_model=None)
        assert settled(spec, profile(own), None, pytest.fail) == (own, profile(own))
        assert settled(spec, None, plan(own, 1.0), pytest.fail) == (own, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"shared_models": "apart"},
        {"pinned": {"one": "phone", "other": "cloud"}},
        {"steps": {"one": {"model": "head.onnx", "reads": "a"}, "other": {"model": "head.onnx", "reads": "one"}}},
    ],
)
def test_steps_that_can_not_run_as_one_leave_nothing_to_choose(tmp_path: Path, changes: dict[str, Any]) -> None:
    heads(tmp_path)
    assert spec_of(tmp_path, **changes).batched_model is None


def test_a_model_that_takes_one_row_leaves_nothing_to_choose(tmp_path: Path) -> None:
    heads(tmp_path, rows=1)
    assert spec_of(tmp_path).batched_model is None


def test_batched_steps_at_two_nodes_stay_apart(tmp_path: Path) -> None:
    heads(tmp_path)
    both = {"one": {"model": "head.onnx", "reads": "a", "at": "phone"}, "other": {"model": "head.onnx", "reads": "b"}}
    apart = spec_of(tmp_path, shared_models="batched", steps=both, pinned={"other": "cloud"})
    assert onnx.load(apart.model).graph.node[0].op_type == "MatMul"
    as_one = spec_of(tmp_path, shared_models="batched", steps=both, pinned={"other": "phone"})
    assert onnx.load(as_one.model).graph.node[0].op_type == "Concat"


@pytest.mark.slow
def test_rows_that_read_the_same_weights_are_deployed_as_one(shared_client: Client, tmp_path: Path) -> None:
    heads(tmp_path)
    spec = spec_of(tmp_path)
    shared_client.deploy(spec)
    try:
        operators = {name for stage in shared_client.plan("heads").stages for name in stage.operators}
        assert any(name.startswith("one_and_other.") for name in operators), operators
        feeds = {
            name: np.random.default_rng(at).standard_normal((1, WIDE)).astype(np.float32)
            for at, name in enumerate("ab")
        }
        answer = shared_client.infer("heads", feeds)
        weights = np.random.default_rng(3).standard_normal((WIDE, WIDE)) / WIDE**0.5
        for made, given in (("p", "a"), ("q", "b")):
            np.testing.assert_allclose(answer[made], feeds[given] @ weights, atol=1e-4)
    finally:
        shared_client.delete("heads")
