"""A model of words, whose inputs may have several lengths, cut between camera and cloud: tests of lengths deploy it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from nodes.backend import Array
from orchestrator.blueprint import Blueprint
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Topology
from tests.nodes.onnx_models import INT64, info, model_of, node, weight
from tests.orchestrator.small_site import site

KEY = EngineKey(node_class="here", backend="onnxruntime")
LENGTHS = (4, 8, 32)
VOCABULARY, WIDE, MOST = 50, 8, 64
QUICK = site(mbps=8000, slowdown=1)


def words(folder: Path, length: int | str = "length") -> Path:
    """ids, mask int64 [batch, length] → each [batch, length, 8], its mean over the mask [batch, 8].

    Places are a weight of which a shorter text takes the beginning, heads a shape that holds the length.
    """
    random = np.random.default_rng(0)
    nodes = [
        node("Gather", ["words", "ids"], ["found"], "found"),
        node("Shape", ["ids"], ["shape"], "shape"),
        node("Slice", ["shape", "one", "two"], ["here"], "here"),
        node("Slice", ["places", "zero", "here"], ["placed"], "placed"),
        node("Add", ["found", "placed"], ["somewhere"], "somewhere"),
        node("Concat", ["minus", "here", "halves"], ["split"], "split", axis=0),
        node("Reshape", ["somewhere", "split"], ["heads"], "heads"),
        node("Softmax", ["heads"], ["shares"], "shares", axis=-1),
        node("Reshape", ["shares", "merge"], ["each"], "each"),
        node("Cast", ["mask"], ["kept"], "kept", to=onnx.TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "two"], ["kept_wide"], "kept_wide"),
        node("Mul", ["each", "kept_wide"], ["masked"], "masked"),
        node("ReduceSum", ["masked", "one"], ["summed"], "summed", keepdims=0),
        node("ReduceSum", ["kept", "one"], ["count"], "count", keepdims=1),
        node("Div", ["summed", "count"], ["mean"], "mean"),
    ]
    weights = [
        weight("words", random.normal(size=(VOCABULARY, WIDE))),
        weight("places", random.normal(size=(MOST, WIDE))),
        *(weight(name, [value], np.int64) for name, value in (("zero", 0), ("one", 1), ("two", 2), ("minus", -1))),
        weight("halves", [2, WIDE // 2], np.int64),
        weight("merge", [0, 0, WIDE], np.int64),
    ]
    given = [info(name, "batch", length, dtype=INT64) for name in ("ids", "mask")]
    path = folder / "words.onnx"
    onnx.save(model_of(nodes, given, [info("each", "batch", length, WIDE), info("mean", "batch", WIDE)], weights), path)
    return path


def text(length: int, seed: int = 0, rows: int = 1) -> dict[str, Array]:
    """A text of so many tokens, all of them to be seen."""
    ids = np.random.default_rng(seed).integers(1, VOCABULARY, (rows, length))
    return {"ids": ids, "mask": np.ones_like(ids)}


def spec_of(path: Path, topology: Topology = QUICK, lengths: Sequence[int] = LENGTHS) -> DeploymentSpec:
    """Two inputs that are filled up with 0 to one of the lengths."""
    shape, lengths = (1, lengths[-1]), tuple(lengths)
    inputs = tuple(
        InputSpec(name=name, at="camera", shape=shape, pad=(1, 0), lengths=lengths) for name in ("ids", "mask")
    )
    pinned = (("found", "camera"), ("masked", "cloud"))
    return DeploymentSpec(
        name="words", model=path, topology=topology, source="camera", inputs=inputs, pinned=pinned, digest="w",
        standby_bytes=0,
    )  # fmt: skip


def blueprint_of(folder: Path, topology: Topology = QUICK) -> Blueprint:
    """The model at every length, cut in the middle; profiled by decree."""
    spec = spec_of(words(folder), topology)
    model = read_model(spec, prepare(spec).path)
    each_s = {operator.name: 1e-5 for operator in model.graph.operators}
    profile = Profile(model=model.sha256, engines={KEY: EngineProfile(operator_s=each_s)})
    return Blueprint(spec=spec, model=model, profile=profile, engines={one.name: (KEY,) for one in topology.nodes})
