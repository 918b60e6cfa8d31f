"""A model that keeps state in two places, each worth a stage, and what it computes step by step."""

from pathlib import Path

import numpy as np
import onnx

from nodes.backend import Array
from orchestrator.blueprint import Blueprint
from orchestrator.model_file import read_model
from orchestrator.sequence_terms import SequenceTerms
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Topology
from tests.nodes.onnx_models import info, model_of, node, random_weight
from tests.orchestrator.small_site import WIDE, site

KEY = EngineKey(node_class="here", backend="onnxruntime")
STATE = (("near_next", "near"), ("far_next", "far"))
SECONDS = {"first": 1e-4, "add_near": 1e-6, "second": 1e-2, "scaled": 1e-6, "add_far": 1e-6, "keep_far": 1e-6}


def remembering(folder: Path) -> Path:
    """x [1, 4096] → narrow [1, 4], summed up in `near` → y0 [1, 64] · scale, summed up in `far`: y."""
    nodes = [
        node("MatMul", ["x", "w1"], ["narrow"], "first"),
        node("Add", ["narrow", "near"], ["near_next"], "add_near"),
        node("MatMul", ["near_next", "w2"], ["wide"], "second"),
        node("Mul", ["wide", "scale"], ["wide_scaled"], "scaled"),
        node("Add", ["wide_scaled", "far"], ["y"], "add_far"),
        node("Identity", ["y"], ["far_next"], "keep_far"),
    ]
    given = [info("x", 1, WIDE), info("near", 1, 4), info("far", 1, 64), info("scale", 1, 64)]
    made = [info("y", 1, 64), info("near_next", 1, 4), info("far_next", 1, 64)]
    model = model_of(nodes, given, made, [random_weight("w1", WIDE, 4), random_weight("w2", 4, 64, seed=1)])
    model.graph.value_info.extend([info("narrow", 1, 4), info("wide", 1, 64), info("wide_scaled", 1, 64)])
    path = folder / "remembering.onnx"
    onnx.save(model, path)
    return path


def blueprint_of(
    folder: Path,
    topology: Topology | None = None,
    *,
    checkpoint: int = 64,
    most_bytes: int = 1 << 29,
    idle_s: float = 60,
) -> Blueprint:
    """The model on camera and cloud, profiled by decree so that it is cut in the middle, with a state in each half."""
    path = remembering(folder)
    terms = SequenceTerms(state=STATE, kept=("scale",), checkpoint=checkpoint, most_bytes=most_bytes, idle_s=idle_s)
    where = topology or site(slowdown=2)
    spec = DeploymentSpec(
        name="remembering",
        model=path,
        topology=where,
        source="camera",
        inputs=tuple(InputSpec(name=name, at="camera") for name in ("x", "scale")),
        standby_bytes=0,
        pinned=(("add_near", "camera"),),
        sequence=terms,
        digest="r",
    )
    model = read_model(spec, path)
    profile = Profile(model=model.sha256, engines={KEY: EngineProfile(operator_s=SECONDS)})
    return Blueprint(spec=spec, model=model, profile=profile, engines={each.name: (KEY,) for each in where.nodes})


def feed(number: int) -> Array:
    """The x of a step."""
    return np.random.default_rng(number).normal(size=(1, WIDE)).astype(np.float32)


def answers(feeds: list[Array], scale: Array) -> list[Array]:
    """Each step's y."""
    first = np.random.default_rng(0).normal(size=(WIDE, 4)) / np.sqrt(WIDE)
    second = np.random.default_rng(1).normal(size=(4, 64)) / np.sqrt(4)
    near, far, found = np.zeros((1, 4)), np.zeros((1, 64)), []
    for x in feeds:
        near = near + x @ first
        far = far + (near @ second) * scale
        found.append(far)
    return found
