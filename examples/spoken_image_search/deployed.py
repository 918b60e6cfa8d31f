"""The search over three machines: the phone that hears, the camera that has the photographs, and a cloud."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.spoken_image_search.pipeline import pipeline
from examples.spoken_image_search.questions import QUESTIONS, album, clip
from examples.spoken_image_search.search import Found
from isthmus import Client
from isthmus.plot.page import plan_svg
from nodes.backend import Array
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Plan

TOPOLOGY = Path(__file__).with_name("topology.yaml")
NAME = "spoken_image_search"
WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """What came of all questions, with the plan that answered them and how long each pair took."""

    plan: Plan
    found: list[Found]
    seconds: list[float]


def spec_of(folder: Path, topology: Path | Mapping[str, Any] = TOPOLOGY) -> DeploymentSpec:
    """The spoken search with its branches side by side; models and samples are written to `folder`."""
    np.save(folder / "sound.npy", _bytes(clip("coffee")))
    np.save(folder / "photo.npy", _bytes(album()["coffee"]))
    samples = {"sound": "sound.npy", "photo": "photo.npy"}
    made = pipeline(folder, spoken=True, samples=samples, photo_at="camera")
    where = str(topology.resolve()) if isinstance(topology, Path) else topology
    return made.spec(folder, source="phone", parallel=True, topology=where)


def serve(spec: DeploymentSpec, client: Client) -> Served:
    """Deploy it and ask every question of every photograph; the camera puts each of these once."""
    client.deploy(spec)
    plan = client.plan(spec.name)
    seconds, found = [], []
    with client.source(spec.name, "camera") as camera:
        items = {name: camera.put({"photo": _bytes(data)}) for name, data in album().items()}
        for name, (text, right) in QUESTIONS.items():
            told = {}
            for photo, item in items.items():
                feeds: dict[str, Any] = {"sound": _bytes(clip(name)), "photo": item}
                answer = client.answer(spec.name, feeds, timeout_s=WITHIN_S)
                seconds.append(answer.latency_s)
                told[photo] = answer.outputs
            scores = sorted(((photo, float(one["score"][0])) for photo, one in told.items()), key=lambda pair: -pair[1])
            heard = next(iter(told.values()))["heard"][0].decode()
            found.append(Found(text, heard, right, tuple(scores)))
    return Served(plan, found, seconds)


def picture(spec: DeploymentSpec, plan: Plan, path: Path) -> Path:
    """The plan drawn: which operators run where, and what crosses."""
    from orchestrator.model_file import prepare, read_model

    graph = read_model(spec, prepare(spec).path).graph
    path.write_text(plan_svg(graph, plan, None), encoding="utf-8")
    return path


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)
