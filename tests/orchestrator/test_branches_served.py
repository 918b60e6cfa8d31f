"""A plan whose branches run side by side, deployed on real Ray: it answers, and loses nothing when workers die."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from nodes.backend import Array
from orchestrator.client import Client
from orchestrator.errors import RequestFailed
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.load import load
from partitioner.plan import ROUTER
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually
from tests.nodes.onnx_models import info, model_of, node, random_weight

pytestmark = pytest.mark.slow
WIDE, NARROW = 2048, 8
HERE = EngineKey(node_class="here", backend="onnxruntime")
SPEC = """
name: branches
model: branches.onnx
parallel: true
inputs: {seen: {at: camera}, heard: {at: camera}}
pinned: {eye: camera, ear: cloud, both: cloud}
topology:
  nodes:
    - {name: camera, tier: device, backends: [onnxruntime]}
    - {name: cloud, tier: cloud, backends: [onnxruntime]}
  links:
    - {from: camera, to: cloud, goodput_mbps: 400, rtt_ms: 2}
"""


def two_branches(folder: Path) -> Path:
    """`seen` and `heard` [1, 2048] each through a layer of its own, multiplied → `event` [1, 8]."""
    nodes = [
        node("MatMul", ["seen", "w1"], ["looks"], "eye"),
        node("MatMul", ["heard", "w2"], ["sounds"], "ear"),
        node("Mul", ["looks", "sounds"], ["event"], "both"),
    ]
    weights = [random_weight("w1", WIDE, NARROW), random_weight("w2", WIDE, NARROW, seed=1)]
    model = model_of(nodes, [info("seen", 1, WIDE), info("heard", 1, WIDE)], [info("event", 1, NARROW)], weights)
    for name in ("looks", "sounds"):
        model.graph.value_info.append(info(name, 1, NARROW))
    onnx.save(model, folder / "branches.onnx")
    return folder / "branches.onnx"


def feeds(number: int) -> dict[str, Array]:
    draws = np.random.default_rng(number)
    return {name: draws.standard_normal((1, WIDE)).astype(np.float32) for name in ("seen", "heard")}


def event(given: dict[str, Array]) -> Array:
    weights = [np.random.default_rng(seed).normal(size=(WIDE, NARROW)) / np.sqrt(WIDE) for seed in (0, 1)]
    return np.asarray((given["seen"] @ weights[0]) * (given["heard"] @ weights[1]))


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    two_branches(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load_spec(tmp_path / "spec.yaml")


@pytest.fixture
def deployed(shared_client: Client, spec: DeploymentSpec) -> Iterator[Client]:
    model = load(prepare(spec).path)
    times = EngineProfile(operator_s=dict.fromkeys(("eye", "ear", "both"), 1e-4))
    shared_client.deploy(spec, profile=Profile(model=model.sha256, engines={HERE: times}, message_s=1e-4))
    yield shared_client
    shared_client.delete("branches")


def test_branches_run_on_their_nodes_and_meet(deployed: Client) -> None:
    plan = deployed.plan("branches")
    told = {(c.sender, c.receiver): c.tensors for c in plan.crossings}
    assert plan.parallel
    assert told == {
        (ROUTER, "s1"): ("seen",), (ROUTER, "s2"): ("heard",), ("s1", "s2"): ("eye",), ("s2", ROUTER): ("event",)
    }  # fmt: skip
    asked = [deployed.submit("branches", feeds(number), trace=number == 0) for number in range(40)]
    answers = [one.result(timeout=60) for one in asked]
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer.outputs["event"], event(feeds(number)), atol=1e-4)
    assert sorted(hop.stage for hop in answers[0].hops) == ["s1", "s2"]


def test_a_request_that_fails_in_one_branch_fails_alone(deployed: Client) -> None:
    bad = feeds(0)
    bad["seen"] = np.where(bad["seen"] > 0, 3e38, -3e38).astype(np.float32)  # overflows in the camera's branch
    asked = [deployed.submit("branches", bad if number == 3 else feeds(number)) for number in range(8)]
    with pytest.raises(RequestFailed, match="eye"):
        asked[3].result(timeout=60)
    for number in (0, 1, 2, 4, 5, 6, 7):
        np.testing.assert_allclose(asked[number].result(timeout=60).outputs["event"], event(feeds(number)), atol=1e-4)


@pytest.mark.parametrize("killed", ["camera", "cloud"])
def test_no_request_is_lost_when_a_branch_dies(deployed: Client, killed: str) -> None:
    asked = [deployed.submit("branches", feeds(number), timeout_s=60) for number in range(30)]
    pid = deployed.status()["workers"][killed]["pid"]
    os.kill(pid, signal.SIGKILL)
    asked += [deployed.submit("branches", feeds(number), timeout_s=60) for number in range(30, 60)]
    for number, one in enumerate(asked):
        np.testing.assert_allclose(one.result(timeout=90).outputs["event"], event(feeds(number)), atol=1e-4)
    eventually(lambda: deployed.status()["workers"].get(killed, {}).get("pid") not in (None, pid), within_s=30)
