"""A camera and a cloud, and a model that is worth cutting in the middle: what tests of the shells deploy."""

from pathlib import Path

import numpy as np
import onnx

from nodes.backend import Array
from orchestrator.blueprint import Blueprint
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import Model, load
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Link, Node, Tier, Topology
from tests.nodes.onnx_models import info, model_of, node, random_weight

WIDE = 4096
KEY = EngineKey(node_class="any", backend="onnxruntime")


def two_layers(folder: Path, *, given: str = "x", hidden: int = 4) -> Path:
    """Input [1, 4096] → narrow [1, hidden] → y [1, 64], normalised: operators `first` and `second`."""
    nodes = [node("MatMul", [given, "w1"], ["narrow"], "first"), node("MatMul", ["narrow", "w2"], ["y"], "second")]
    weights = [random_weight("w1", WIDE, hidden), random_weight("w2", hidden, 64, seed=1)]
    path = folder / f"two-{given}-{hidden}.onnx"
    model = model_of(nodes, [info(given, 1, WIDE)], [info("y", 1, 64)], weights)
    model.graph.value_info.append(info("narrow", 1, hidden))
    onnx.save(model, path)
    return path


def answer_of(feed: Array, *, hidden: int = 4) -> Array:
    """What the model computes of its input."""
    first = np.random.default_rng(0).normal(size=(WIDE, hidden)) / np.sqrt(WIDE)
    second = np.random.default_rng(1).normal(size=(hidden, 64)) / np.sqrt(hidden)
    return np.asarray((feed @ first.astype(np.float32)) @ second.astype(np.float32))


def site(*, mbps: float = 8.0, memory_bytes: int | None = None, slowdown: float = 10.0) -> Topology:
    """Camera (slow) and cloud, one link both ways without delay to speak of."""
    nodes = (
        Node(name="camera", tier=Tier.DEVICE, backends=("onnxruntime",), slowdown=slowdown, memory_bytes=memory_bytes),
        Node(name="cloud", tier=Tier.CLOUD, backends=("onnxruntime",), memory_bytes=memory_bytes),
    )
    ends = (("camera", "cloud"), ("cloud", "camera"))
    rate = mbps / 8e-6
    return Topology(nodes, tuple(Link(source=a, target=b, bytes_per_s=rate, propagation_s=1e-4) for a, b in ends))


def seconds(model: Model, first_s: float = 1e-4, second_s: float = 1e-2, *, key: EngineKey = KEY) -> Profile:
    """A profile by which the first operator is cheap and the second is not: the plan is camera, then cloud."""
    return Profile(model=model.sha256, engines={key: EngineProfile(operator_s={"first": first_s, "second": second_s})})


def spec_of(
    path: Path, topology: Topology, *, given: str = "x", digest: str = "d", standby_bytes: int = 0
) -> DeploymentSpec:
    """A spec named "two" with the input at the camera; nothing stands by unless it may."""
    return DeploymentSpec(
        name="two",
        model=path,
        topology=topology,
        source="camera",
        inputs=(InputSpec(name=given, at="camera"),),
        standby_bytes=standby_bytes,
        digest=digest,
    )


def blueprint_of(
    folder: Path, topology: Topology | None = None, *, given: str = "x", digest: str = "d", standby_bytes: int = 0
) -> Blueprint:
    """The model on the site, profiled by decree; "here" is the one host's class."""
    path = two_layers(folder, given=given)
    model = load(path)
    key = EngineKey(node_class="here", backend="onnxruntime")
    where = topology or site()
    return Blueprint(
        spec=spec_of(path, where, given=given, digest=digest, standby_bytes=standby_bytes),
        model=model,
        profile=seconds(model, key=key),
        engines={each.name: (key,) for each in where.nodes},
    )
