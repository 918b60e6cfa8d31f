"""A job of 5,000 photographs while a worker, the controller and the job's driver are killed: each result there once.

python benchmarks/jobs.py [--json] [--quick]

EfficientNet-Lite0 over a camera and a cloud on this machine, cut in two, a folder of JPEG files as items.
Each is killed by SIGKILL once, at a fifth, two fifths and three fifths of the items. Every tenth result is held against
the whole model's, by ONNX Runtime.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from kit.cuts import chain_plan
from kit.figures import Figure, figure, report
from PIL import Image

from isthmus import Client, zoo
from isthmus.demo.scenario import blueprint
from isthmus.zoo.efficientnet import MEAN, SCALE, SIDE
from isthmus.zoo.photos import photos
from nodes.backend import Array
from nodes.functions import function
from orchestrator.jobs.terms import JobStatus
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.topology import Link, Node, Tier, Topology

LEAST = 0.4
LOOK_S = 0.05
IN_FLIGHT = 8
TOLD_EVERY = 10  # of the results that are held against the whole model's
SAME = 1e-3  # of the largest logit: fused otherwise, rounded otherwise


def main() -> None:
    """Run the job and report."""
    parser = argparse.ArgumentParser(description="A job that survives.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="300 photographs")
    options = parser.parse_args()
    count = 300 if options.quick else 5000
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photographs(folder / "photographs", count)
        with redirect_stdout(sys.stderr):  # Ray tells there of each actor that is killed
            figures = survived(folder, count)
    report("jobs", figures, json=options.json)


def photographs(folder: Path, count: int) -> None:
    """So many JPEG files of 224 × 224: crops of photographs, at random places from a seed."""
    folder.mkdir()
    random = np.random.default_rng(0)
    opened = [Image.open(BytesIO(data)).convert("RGB") for data in photos().values()]
    for number in range(count):
        picture = opened[number % len(opened)]
        side = random.uniform(LEAST, 1) * min(picture.size)
        left, top = (random.uniform(0, length - side) for length in picture.size)
        crop = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        crop.save(folder / f"{number:05}.jpg", quality=90)


def spec_of(model: Path) -> DeploymentSpec:
    """Two nodes of this machine, and a fast link."""
    nodes = [("camera", Tier.DEVICE), ("cloud", Tier.CLOUD)]
    ends = [("camera", "cloud"), ("cloud", "camera")]
    topology = Topology(
        tuple(Node(name=name, tier=tier, backends=("onnxruntime",)) for name, tier in nodes),
        tuple(Link(source=a, target=b, bytes_per_s=1.25e8, propagation_s=5e-4) for a, b in ends),
    )
    inputs = (InputSpec(name="frame", at="camera"),)
    return DeploymentSpec(
        name="classify", model=model, topology=topology, source="camera", inputs=inputs, digest="benchmark"
    )


def survived(folder: Path, count: int) -> list[Figure]:
    """The job, and what came of it."""
    model = zoo.build("efficientnet_lite0_frame")
    with Client() as client:
        spec = spec_of(model)
        profile, _ = client.profile(spec)
        plan = chain_plan(blueprint(spec, profile).problem(), ("camera", "cloud"), (0.5,), near=0.2)
        client.deploy(spec, profile=profile, plan=plan)
        begun_s = time.monotonic()
        output = folder / "logits.npz"
        name = client.jobs.submit(folder / "photographs", output, deployment=spec.name, in_flight=IN_FLIGHT)
        waits = kill_each(client, name, count)
        status = client.jobs.wait(name)
        took_s = time.monotonic() - begun_s
    if status.state != "SUCCEEDED":
        raise SystemExit(f"the job has {status.state}: {status.why}")
    with np.load(output) as held:
        items, logits = held["item"].tolist(), held["logits"]
    return [
        figure(f"results of {count} photographs", len(set(items)), "results", count, "higher"),
        figure("results that are there twice", len(items) - len(set(items)), "results", 0),
        figure("items that failed", status.failed, "items", 0),
        figure("unlike the whole model's, of every tenth result", unlike(folder, items, logits), "results", 0),
        figure("drivers that took over", status.restarts, "drivers", 1),
        *(figure(f"{what} killed: until the next results", wait_s, "s") for what, wait_s in waits),
        figure("the job, in all", took_s, "s"),
        figure("items a second, outages included", count / took_s, "/s", None, "higher"),
    ]


def kill_each(client: Client, job: str, count: int) -> list[tuple[str, float]]:
    """Kill a worker, the controller and the driver, each in its turn; for each how long until more items were done."""
    before = client.status()
    waits = []
    for part, what in enumerate(("worker", "controller", "driver"), start=1):
        status = seen(client, job, part * count // 5)
        pid = {
            "worker": before["workers"]["cloud"]["pid"],
            "controller": before["controller"]["pid"],
            "driver": status.driver_pid,
        }[what]
        os.kill(int(pid), signal.SIGKILL)
        killed_s = time.monotonic()
        done = client.jobs.status(job).done
        seen(client, job, done + IN_FLIGHT + 1)  # what was answered already is not counted as more
        waits.append((what, time.monotonic() - killed_s))
    return waits


def seen(client: Client, job: str, done: int) -> JobStatus:
    """How the job stands once so many items are done and a driver is at it."""
    while True:
        status = client.jobs.status(job)
        if status.is_over:
            raise SystemExit(f"the job has {status.state} before its time: {status.why}")
        if status.done >= done and status.driver_pid is not None:
            return status
        time.sleep(LOOK_S)


def unlike(folder: Path, items: Sequence[str], logits: Array) -> int:
    """How many of every tenth result differ from what the whole model answers."""
    session = onnxruntime.InferenceSession(zoo.build("efficientnet_lite0"), providers=["CPUExecutionProvider"])
    found = 0
    for item, have in list(zip(items, logits, strict=True))[::TOLD_EVERY]:
        with Image.open(folder / "photographs" / item) as picture:
            frame = np.array(picture.convert("RGB"))
        (planes,) = function("normalise").run({"mean": [MEAN], "scale": [SCALE]}, frame)
        (want,) = session.run(None, {"input": planes})
        found += bool(np.abs(want - have).max() > SAME * np.abs(want).max())
    return found


if __name__ == "__main__":
    main()
