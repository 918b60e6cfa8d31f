"""One model over three engines: an emulated ARM board by TVM, then OpenVINO, then ONNX Runtime; one answer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from isthmus.zoo import build
from isthmus.zoo.photos import labels, photo
from nodes.backend import Array
from nodes.functions import function
from orchestrator.client import Client
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.nodes.boards import board, serving

pytestmark = pytest.mark.slow
TOPOLOGY = """\
nodes:
  - name: camera
    tier: device
    backends: [tvm]
    memory_mb: 6
    engines: {tvm: {target: cortex-a72, rpc: "ADDRESS"}}
  - {name: mec, tier: edge, backends: [openvino], memory_mb: 64}
  - {name: cloud, tier: cloud, backends: [onnxruntime], memory_mb: 14}
links:
  - {from: camera, to: mec, goodput_mbps: 100, rtt_ms: 1}
  - {from: mec, to: cloud, goodput_mbps: 1000, rtt_ms: 1}
"""
SPEC = """\
name: mixed
model: MODEL
topology: topology.yaml
inputs: {input: {at: camera, private: true}}
"""
WHOLE_MODEL_S = {("camera", "tvm"): 0.4, ("here", "openvino"): 0.1, ("here", "onnxruntime"): 0.02}


@pytest.fixture(scope="module")
def arm_board() -> Iterator[str]:
    """The address of an RPC server on an emulated Cortex-A72."""
    pytest.importorskip("tvm")
    from nodes.backends.tvm.cross import runtime
    from nodes.backends.tvm.targets import target

    device = board("aarch64", "cortex-a72")
    with runtime(target("cortex-a72")) as folder, serving(device, folder / "rpc_server") as (address, _):
        yield address


def spec_of(folder: Path, model: Path, address: str) -> DeploymentSpec:
    (folder / "topology.yaml").write_text(TOPOLOGY.replace("ADDRESS", address))
    (folder / "mixed.yaml").write_text(SPEC.replace("MODEL", str(model)))
    return load_spec(folder / "mixed.yaml")


def made_up(spec: DeploymentSpec) -> Profile:
    """A profile under which memory splits the model in three."""
    ready = prepare(spec)
    names = [operator.name for operator in load(ready.path).graph.operators]
    engines = {
        EngineKey(node_class=where, backend=backend): EngineProfile(operator_s=dict.fromkeys(names, s / len(names)))
        for (where, backend), s in WHOLE_MODEL_S.items()
    }
    return Profile(model=ready.sha256, engines=engines, message_s=1e-4)


def coffee() -> dict[str, Array]:
    (picture,) = function("decode_jpeg").run({}, np.frombuffer(photo("coffee"), np.uint8))
    (frame,) = function("resize").run({"size": [224, 224], "crop": 0.875}, picture)
    (planes,) = function("normalise").run({"mean": [127.0], "scale": [128.0]}, frame)
    return {"input": planes}


@pytest.mark.timeout(600)
def test_three_engines_say_what_the_whole_model_says(shared_client: Client, arm_board: str, tmp_path: Path) -> None:
    model = build("efficientnet_lite0")
    spec = spec_of(tmp_path, model, arm_board)
    status = shared_client.deploy(spec, profile=made_up(spec))
    try:
        assert [(stage["node"], stage["backend"]) for stage in status["plan"]["stages"]] == [
            ("camera", "tvm"),
            ("mec", "openvino"),
            ("cloud", "onnxruntime"),
        ]
        have = shared_client.infer("mixed", coffee(), timeout_s=120)["logits"]
    finally:
        shared_client.delete("mixed")
    (want,) = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, coffee())
    assert labels()[int(have.argmax())] == labels()[int(want.argmax())] == "espresso"
    assert float(np.abs(have - want).max() / np.abs(want).max()) < 1e-4
