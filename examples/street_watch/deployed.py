"""The watch over the four machines of topology.yaml: a camera, a microphone, a site at the edge and a cloud."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from examples.street_watch.frames import frame
from examples.street_watch.pipeline import CAMERA, MICROPHONE, NAME, pipeline
from examples.street_watch.situations import SITUATIONS
from examples.street_watch.watch import Event, event_of, given
from isthmus import Client
from isthmus.plot.page import plan_svg
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Plan
from policies.keyframes import Frame, KeyFrames

TOPOLOGY = Path(__file__).with_name("topology.yaml")
SAMPLE = "barrier"  # the situation to measure with: two lines of text
WITHIN_S = 60.0
TAKES, TAKE_S = 5, 0.2  # frames that the camera sees of each situation, and the time between them


@dataclass(frozen=True, slots=True)
class Served:
    """What came of all situations, with the plan that they were answered by and how long each took.

    `seen`: frames that the camera saw. Those that showed nothing new were not asked about.
    """

    plan: Plan
    events: list[Event]
    seconds: list[float]
    seen: int


def spec_of(folder: Path, topology: Path | Mapping[str, Any] = TOPOLOGY) -> DeploymentSpec:
    """The watch with its branches side by side, which may meet where the event is wanted.

    The keyword head and samples are written to `folder`.
    """
    sample = given(SAMPLE)
    for name, array in sample.items():
        np.save(folder / f"{name}.npy", array.astype(np.bytes_) if array.dtype == np.object_ else array)
    made = pipeline(folder, samples={name: f"{name}.npy" for name in sample})
    where = str(topology.resolve()) if isinstance(topology, Path) else topology
    return made.spec(folder, source=MICROPHONE, parallel=True, forward_only=False, topology=where)


def serve(spec: DeploymentSpec, client: Client) -> Served:
    """Deploy it and watch every situation: the camera puts its key frames, and the microphone asks about each."""
    client.deploy(spec)
    plan = client.plan(NAME)
    seconds, events = [], []
    video = KeyFrames()
    with client.source(NAME, CAMERA) as camera:
        for name, data, at_s in film():
            if not video.is_key(pixels(data), at_s):
                continue
            feeds: dict[str, Any] = given(name)
            item = camera.put({"frame": np.frombuffer(data, np.uint8)})
            answer = client.answer(NAME, feeds | {"frame": item}, timeout_s=WITHIN_S)
            camera.release(item)
            seconds.append(answer.latency_s)
            events.append(event_of(name, answer.outputs))
    return Served(plan, events, seconds, video.seen)


def film() -> Iterator[tuple[str, bytes, float]]:
    """The situations as the camera sees them one after the other: name, JPEG file, seconds."""
    for at, (name, take) in enumerate(product(SITUATIONS, range(TAKES))):
        yield name, frame(name, take), at * TAKE_S


def pixels(data: bytes) -> Frame:
    """A JPEG file's brightness at half its size, which takes little time to decode."""
    picture = Image.open(BytesIO(data))
    picture.draft("L", (picture.width // 2, picture.height // 2))
    return np.asarray(picture.convert("L"))


def picture(spec: DeploymentSpec, plan: Plan, path: Path) -> Path:
    """The plan drawn: which operators run where, and what crosses."""
    graph = read_model(spec, prepare(spec).path).graph
    path.write_text(plan_svg(graph, plan), encoding="utf-8")
    return path
