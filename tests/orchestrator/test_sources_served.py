"""Inputs at different nodes, on real Ray: a request names what sensors hold, and none is lost when workers die."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from orchestrator.client import Client
from orchestrator.errors import RequestTimeout
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.plan import ROUTER
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually
from tests.orchestrator.test_branches_served import event, feeds, two_branches

pytestmark = pytest.mark.slow
HERE = EngineKey(node_class="here", backend="onnxruntime")
SPEC = """
name: sensors
model: branches.onnx
parallel: true
source: phone
inputs:
  seen: {at: camera, private: true}
  heard: {at: microphone, dtype: float32, shape: [1, 2048]}
align:
  by: [seen]
  modalities:
    seen: {}
    heard: {tolerance_ms: 10, lateness_ms: 50, wait_ms: 20000, missing: without, instead: 0}
topology:
  nodes:
    - {name: phone, tier: device, backends: [onnxruntime]}
    - {name: camera, tier: device, backends: [onnxruntime]}
    - {name: microphone, tier: device, backends: [onnxruntime]}
    - {name: cloud, tier: cloud, backends: [onnxruntime]}
  links:
    - {from: phone, to: cloud, goodput_mbps: 100, rtt_ms: 2}
    - {from: camera, to: cloud, goodput_mbps: 100, rtt_ms: 2}
    - {from: microphone, to: cloud, goodput_mbps: 100, rtt_ms: 2}
"""


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    two_branches(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load_spec(tmp_path / "spec.yaml")


@pytest.fixture
def deployed(shared_client: Client, spec: DeploymentSpec) -> Iterator[Client]:
    model = read_model(spec, prepare(spec).path)
    seconds = {operator.name: 0.0 if operator.is_function else 1e-4 for operator in model.graph.operators}
    profile = Profile(model=model.sha256, engines={HERE: EngineProfile(operator_s=seconds)}, message_s=1e-4)
    shared_client.deploy(spec, profile=profile)
    yield shared_client
    shared_client.delete("sensors")


def test_each_input_is_read_at_its_node_and_a_private_one_does_not_leave_it(deployed: Client) -> None:
    plan = deployed.plan("sensors")
    at = {name: stage.node for stage in plan.stages for name in stage.operators}
    assert (at["seen.source"], at["heard.source"], at["eye"]) == ("camera", "microphone", "camera")
    assert {name for c in plan.crossings if c.sender == ROUTER for name in c.tensors} == {"seen.item", "heard.item"}
    assert "seen" not in {name for crossing in plan.crossings for name in crossing.tensors}


@pytest.mark.parametrize("killed", ["", "camera", "microphone", "cloud"])
def test_every_request_is_answered_from_what_sensors_hold(deployed: Client, killed: str) -> None:
    with ExitStack() as sensors:
        camera, microphone = (sensors.enter_context(deployed.source("sensors", at)) for at in ("camera", "microphone"))
        asked = []
        for number in range(40):
            given = feeds(number)
            items = {"seen": camera.put({"seen": given["seen"]}), "heard": microphone.put({"heard": given["heard"]})}
            asked.append(deployed.submit("sensors", items, timeout_s=60))
            if number == 20 and killed:
                pid = deployed.status()["workers"][killed]["pid"]
                os.kill(pid, signal.SIGKILL)
        for number, one in enumerate(asked):
            np.testing.assert_allclose(one.result(timeout=90).outputs["event"], event(feeds(number)), atol=1e-4)
    if killed:
        eventually(lambda: deployed.status()["workers"].get(killed, {}).get("pid") not in (None, pid), within_s=30)


def test_what_sensors_hold_is_measured_as_what_is_given(shared_client: Client, spec: DeploymentSpec) -> None:
    profile, plan = shared_client.profile(spec)
    (engine,) = profile.engines.values()
    assert engine.operator_s["seen.source"] == 0
    assert engine.operator_s["eye"] > 0
    assert {name for stage in plan.stages for name in stage.operators} >= {"seen.source", "heard.source"}


def test_a_request_waits_for_its_item_and_one_that_was_released_is_named(deployed: Client) -> None:
    given = feeds(0)
    with deployed.source("sensors", "camera") as camera, deployed.source("sensors", "microphone") as microphone:
        seen, heard = camera.put({"seen": given["seen"]}), microphone.put({"heard": given["heard"]})
        items = {"seen": seen, "heard": heard}
        np.testing.assert_allclose(deployed.infer("sensors", items)["event"], event(given), atol=1e-4)
        camera.release(seen)
        with pytest.raises(RequestTimeout, match=f"item {seen.number} is not here"):
            deployed.infer("sensors", items, timeout_s=1)
