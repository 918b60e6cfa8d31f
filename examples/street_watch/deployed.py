"""The watch over the four machines of topology.yaml: a camera, a microphone, a site at the edge and a cloud."""

from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from examples.street_watch.frames import frame
from examples.street_watch.pipeline import CAMERA, MICROPHONE, NAME, pipeline
from examples.street_watch.situations import SITUATIONS
from examples.street_watch.watch import Event, event_of, given
from isthmus import Client
from isthmus.plot.page import plan_svg
from nodes.backend import Array
from nodes.functions.sound import RATE
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Plan
from policies.keyframes import Frame, KeyFrames

TOPOLOGY = Path(__file__).with_name("topology.yaml")
SAMPLE = "barrier"  # the situation to measure with: two lines of text
WITHIN_S = 60.0
TAKES, TAKE_S = 5, 0.2  # frames that the camera sees of each situation, and the time between them
ALIGN = {
    "by": ["frame"],
    "under_way": 1,
    "modalities": {
        "frame": {},
        "sound": {"tolerance_ms": 1e3 * TAKE_S / 4, "missing": "without", "instead": "silence.npy"},
        "watched": {"wait_ms": 0, "missing": "last"},
    },
}


@dataclass(frozen=True, slots=True)
class Served:
    """What came of all situations, with the plan that they were answered by and how long each took.

    `seen`: frames that the camera saw; those that showed nothing new were not asked about. `unheard`: events without
    a sound.
    """

    plan: Plan
    events: list[Event]
    seconds: list[float]
    seen: int
    unheard: tuple[str, ...] = ()


def spec_of(folder: Path, topology: Path | Mapping[str, Any] = TOPOLOGY) -> DeploymentSpec:
    """The watch with its branches side by side, which may meet where the event is wanted. A frame asks with the sound
    of its time, and without one if there is none, and with the words that were watched for last.

    The keyword head, samples and silence are written to `folder`.
    """
    sample = given(SAMPLE)
    for name, array in sample.items():
        np.save(folder / f"{name}.npy", array.astype(np.bytes_) if array.dtype == np.object_ else array)
    np.save(folder / "silence.npy", silence())
    made = pipeline(folder, samples={name: f"{name}.npy" for name in sample})
    where = str(topology.resolve()) if isinstance(topology, Path) else topology
    return made.spec(folder, source=MICROPHONE, parallel=True, forward_only=False, align=ALIGN, topology=where)


def serve(spec: DeploymentSpec, client: Client, deaf: Container[str] = ()) -> Served:
    """Deploy it and watch every situation."""
    client.deploy(spec)
    return follow(client, deaf)


def follow(client: Client, deaf: Container[str] = ()) -> Served:
    """The film watched: the camera puts its key frames, the microphone what it hears at each; it is out of order in
    `deaf` situations. A request's error, if one has one.
    """
    video, shown = KeyFrames(), {at_s: name for name, _, at_s in film()}
    with client.source(NAME, CAMERA) as camera:

        def let_go(modality: str, inputs: Mapping[str, Any]) -> None:
            if modality == "frame":
                camera.release(inputs["frame"])

        with ThreadPoolExecutor(1) as taker:
            with client.align(NAME, forgotten=let_go, timeout_s=WITHIN_S) as aligned:
                answers = taker.submit(list, aligned)
                aligned.put("watched", given(SAMPLE)["watched"], captured_s=0.0)
                for name, data, at_s in film():
                    if name not in deaf:
                        aligned.put("sound", given(name)["sound"], captured_s=at_s)
                    if video.is_key(pixels(data), at_s):
                        item = camera.put({"frame": np.frombuffer(data, np.uint8)})
                        aligned.put("frame", item, captured_s=at_s)
            events, seconds, unheard = [], [], []
            for one in answers.result():
                if one.error is not None:
                    raise one.error
                name = shown[one.at_s]
                events.append(event_of(name, one.outputs))
                seconds.append(one.latency_s)
                unheard += [name] if "sound" in one.missing else []
    return Served(client.plan(NAME), events, seconds, video.seen, tuple(unheard))


def silence() -> Array:
    """Two seconds of it, as a file."""
    file = BytesIO()
    soundfile.write(file, np.zeros(2 * RATE, np.float32), RATE, format="OGG", subtype="VORBIS")
    return np.frombuffer(file.getvalue(), np.uint8)


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
