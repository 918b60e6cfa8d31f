"""Worker processes for tests, and artifacts small enough to send at will."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from nodes import artifact
from nodes.artifact import ModelStep
from nodes.backend import TensorSpec

DEADLINE_S = 20.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Worker:
    """A running worker and what it announced."""

    process: subprocess.Popen[str]
    announced: dict[str, Any]

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.announced["address"])

    def end(self) -> str:
        """Make sure that it is gone; what it wrote to stderr."""
        with suppress(ProcessLookupError):
            self.process.kill()
        return self.process.communicate(timeout=DEADLINE_S)[1]


def command(folder: Path, *arguments: str, node: str = "edge") -> list[str]:
    """The command line of a worker on loopback."""
    given = ["--node", node, "--state", str(folder / node), *arguments]
    return [sys.executable, "-m", "nodes.worker", *given]


def start(folder: Path, *arguments: str, node: str = "edge") -> Worker:
    """A worker, once it has announced itself."""
    announce = folder / f"{node}.json"
    process = subprocess.Popen(
        command(folder, "--announce", str(announce), *arguments, node=node),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_s = time.monotonic() + DEADLINE_S
    while not announce.exists():
        if process.poll() is not None or time.monotonic() > until_s:
            process.kill()
            raise RuntimeError(f"no worker: {process.communicate()[1]}")
        time.sleep(0.005)
    return Worker(process, json.loads(announce.read_text()))


def write_artifact(folder: Path, name: str, *, reads: str, makes: str, op_type: str, constant: float) -> str:
    """An artifact in `folder/name` that computes `makes = op_type(reads, constant)` on float32 [1, 4]; its id."""
    place = folder / name
    place.mkdir(exist_ok=True)
    shape = [1, 4]
    graph = helper.make_graph(
        [helper.make_node(op_type, [reads, "constant"], [makes])],
        "piece",
        [helper.make_tensor_value_info(reads, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(makes, TensorProto.FLOAT, shape)],
        [helper.make_tensor("constant", TensorProto.FLOAT, [1], [constant])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, place / "model-0.onnx")
    return artifact.write(
        place,
        steps=[ModelStep(onnx="model-0.onnx", inputs=(reads,), outputs=(makes,))],
        inputs=[TensorSpec(reads, "float32", (1, 4))],
        outputs=[TensorSpec(makes, "float32", (1, 4))],
    )
