"""Measuring a cell on a node of a cluster, through the worker there: what `asking.ask` is to this machine.

A worker that is gone is no fault of the cell: it is left out, to be measured when the same command is given again.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nodes import artifact
from nodes.artifact import MANIFEST
from nodes.errors import NodesError, NotAuthorised, StreamClosed
from nodes.selecting.cells import LEFT_OUT, Measured
from nodes.selecting.exchange import Request, Said, Told, said_from, to_map
from nodes.selecting.on_worker import SAMPLES
from orchestrator.errors import ClusterError
from orchestrator.selecting.parts import Machine
from partitioner.topology import Node, NodeId

SLACK_S = 30.0  # for a worker to begin a process, end it and send its answers
GONE = (StreamClosed, ClusterError, NotAuthorised)

# A method of the agent that speaks to a node's worker: run(node, method, …), see orchestrator/agent.py.
Run = Callable[..., Any]


def machines(nodes: Sequence[Node], run: Run) -> tuple[Machine, ...]:
    """Each node as a machine that measures itself."""
    return tuple(Machine(name=node.name, ask=OnNode(node.name, run), nodes=(node,)) for node in nodes)


class OnNode:
    """Asks one node's worker. Once that is gone it is not asked again: its cells are left out."""

    def __init__(self, node: NodeId, run: Run) -> None:
        self._node, self._run = node, run
        self._held: set[str] = set()
        self._samples: dict[str, str] = {}  # artifacts of samples, by the file that they are of
        self._gone = ""

    def __call__(self, request: Request, limit_s: float) -> Said:
        """What the cell's process on the node said within `limit_s` seconds; its answers where `request` wants them."""
        if not self._gone:
            try:
                return self._asked(request, limit_s)
            except GONE as error:
                self._gone = " ".join(str(error).split())
            except NodesError as error:  # a full disk there, an older version: no fault of the cell either
                return self._instead(request, f"node {self._node}: {' '.join(str(error).split())}")
        why = f"node {self._node} is gone ({self._gone}); when it is back the same command goes on from here"
        return self._instead(request, why)

    def _instead(self, request: Request, reason: str) -> Said:
        if request.folder:
            return Measured(state=LEFT_OUT, reason=reason)
        return Told(backend=request.cell.backend, missing=reason)

    def _asked(self, request: Request, limit_s: float) -> Said:
        plain = to_map(request)
        if request.folder:
            plain["folder"] = self._give(Path(request.folder))
            plain["samples"] = self._give_samples(Path(request.samples))
            plain["batches"] = {size: self._give(Path(folder)) for size, folder in request.batches.items()}
        given = {"request": plain, "limit_s": limit_s}
        answer = self._run(self._node, "call", "cell", given, limit_s + SLACK_S)
        if request.outputs and answer["answers"]:
            _write(Path(request.outputs), answer["answers"])
        return said_from(answer["said"])

    def _give(self, folder: Path) -> str:
        """Have the worker hold an artifact; its id, which is the name of its folder in a store."""
        sha = folder.name
        if sha not in self._held:
            if not self._run(self._node, "call", "has_artifact", sha):
                names = (MANIFEST, *artifact.read(folder).files)
                self._run(self._node, "take_artifact", {name: (folder / name).read_bytes() for name in names}, sha)
            self._held.add(sha)
        return sha

    def _give_samples(self, file: Path) -> str:
        """The samples as an artifact that runs nothing."""
        if str(file) not in self._samples:
            with tempfile.TemporaryDirectory(prefix="isthmus-samples-") as scratch:
                building = Path(scratch) / "building"
                building.mkdir()
                shutil.copyfile(file, building / SAMPLES)
                sha = artifact.write(building, steps=(), inputs=(), outputs=())
                self._samples[str(file)] = self._give(building.rename(building.with_name(sha)))
        return self._samples[str(file)]


def _write(path: Path, data: bytes) -> None:
    """The whole file or none."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
