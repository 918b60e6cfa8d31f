"""The watch over the four machines of topology.yaml: a camera, a microphone, a site at the edge and a cloud."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.street_watch.pipeline import CAMERA, MICROPHONE, NAME, pipeline
from examples.street_watch.situations import SITUATIONS
from examples.street_watch.watch import Event, event_of, given
from isthmus import Client
from isthmus.plot.page import plan_svg
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Plan

TOPOLOGY = Path(__file__).with_name("topology.yaml")
SAMPLE = "barrier"  # the situation to measure with: two lines of text
WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """What came of all situations, with the plan that they were answered by and how long each took."""

    plan: Plan
    events: list[Event]
    seconds: list[float]


def spec_of(folder: Path, topology: Path | Mapping[str, Any] = TOPOLOGY) -> DeploymentSpec:
    """The watch with its branches side by side, which may meet where the event is wanted; the keyword head and samples are written to `folder`."""
    sample = given(SAMPLE)
    for name, array in sample.items():
        np.save(folder / f"{name}.npy", array.astype(np.bytes_) if array.dtype == np.object_ else array)
    made = pipeline(folder, samples={name: f"{name}.npy" for name in sample})
    where = str(topology.resolve()) if isinstance(topology, Path) else topology
    return made.spec(folder, source=MICROPHONE, parallel=True, forward_only=False, topology=where)


def serve(spec: DeploymentSpec, client: Client) -> Served:
    """Deploy it and watch every situation: the camera puts a frame, and the microphone asks about it."""
    client.deploy(spec)
    plan = client.plan(NAME)
    seconds, events = [], []
    with client.source(NAME, CAMERA) as camera:
        for name in SITUATIONS:
            feeds: dict[str, Any] = given(name)
            item = camera.put({"frame": feeds["frame"]})
            answer = client.answer(NAME, feeds | {"frame": item}, timeout_s=WITHIN_S)
            seconds.append(answer.latency_s)
            events.append(event_of(name, answer.outputs))
    return Served(plan, events, seconds)


def picture(spec: DeploymentSpec, plan: Plan, path: Path) -> Path:
    """The plan drawn: which operators run where, and what crosses."""
    graph = read_model(spec, prepare(spec).path).graph
    path.write_text(plan_svg(graph, plan), encoding="utf-8")
    return path
