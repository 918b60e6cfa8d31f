"""A deployment that sorts small pictures, on a cluster of its own, and jobs that run through it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from nodes.backend import Array
from orchestrator.client import Client
from orchestrator.jobs.terms import JobStatus
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually
from tests.nodes.onnx_models import FLOAT, UINT8, info, model_of, node, random_weight, weight
from tests.orchestrator.small_site import site

SIDE, WIDE, CLASSES = 16, 16 * 16 * 3, 8


def sorter(folder: Path) -> Path:
    """uint8 frame [16, 16, 3] → y [1, 8]: operators `float`, `row`, `sort`."""
    nodes = [
        node("Cast", ["frame"], ["floats"], "float", to=FLOAT),
        node("Reshape", ["floats", "wide"], ["row"], "row"),
        node("MatMul", ["row", "w"], ["y"], "sort"),
    ]
    weights = [weight("wide", [1, WIDE], np.int64), random_weight("w", WIDE, CLASSES)]
    model = model_of(nodes, [info("frame", SIDE, SIDE, 3, dtype=UINT8)], [info("y", 1, CLASSES)], weights)
    onnx.save(model, folder / "sorter.onnx")
    return folder / "sorter.onnx"


def sorted_as(frame: Array) -> Array:
    matrix = (np.random.default_rng(0).normal(size=(WIDE, CLASSES)) / np.sqrt(WIDE)).astype(np.float32)
    return np.asarray(frame.reshape(1, WIDE).astype(np.float32) @ matrix)


def pictures(folder: Path, count: int) -> dict[str, Array]:
    folder.mkdir()
    frames = np.random.default_rng(1).integers(0, 255, (count, SIDE, SIDE, 3), np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:04}.png")
    return {f"{number:04}.png": frame for number, frame in enumerate(frames)}


@dataclass(frozen=True)
class Site:
    client: Client
    folder: Path
    model: Path


@contextmanager
def sorting(folder: Path) -> Iterator[Site]:
    """The deployment `sort` on a cluster that is there meanwhile."""
    path = sorter(folder)
    inputs = (InputSpec(name="frame", at="camera"),)
    where = site(mbps=8, slowdown=20)  # slow enough for a job to be met at work
    spec = DeploymentSpec(name="sort", model=path, topology=where, source="camera", inputs=inputs, digest="d")
    model = load(prepare(spec).path)
    times = dict.fromkeys((operator.name for operator in model.graph.operators), 1e-4) | {"sort": 2e-2}
    engine = EngineKey(node_class="here", backend="onnxruntime")
    with Client() as client:
        profile = Profile(model=model.sha256, engines={engine: EngineProfile(operator_s=times)}, message_s=1e-4)
        client.deploy(spec, profile=profile)
        yield Site(client, folder, path)


def seen(client: Client, name: str, done: int) -> JobStatus:
    """The job at work, once so many items are done."""
    status = eventually(
        lambda: found if (found := client.jobs.status(name)).done >= done and found.driver_pid else None,
        what=f"{done} items are done by a driver that lives",
        within_s=90,
    )
    assert status.state == "RUNNING", status
    return status
