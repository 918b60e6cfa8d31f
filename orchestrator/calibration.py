"""What a message costs in software: framing, gRPC, task switches and copies, timed over a real worker.

A stage that computes next to nothing is served, and requests to it are timed at two sizes; half of what is
left is one message, and what grows with the size is the cost of a byte.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from nodes import artifact
from nodes.artifact import ModelStep
from nodes.backend import TensorSpec
from nodes.stage_spec import StageSpec
from nodes.store import Store
from orchestrator.fleet import Fleet
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from partitioner.topology import NodeId

NAME = "isthmus-calibration"
LARGE = 1 << 18  # float32 elements: a mebibyte
RUNS = 25


async def message_costs(fleet: Fleet, node: NodeId, store: Store) -> tuple[float, float]:
    """Seconds per message, and further seconds per byte, between here and the node's worker, links unshaped."""
    sizes = {1: 0.0, LARGE: 0.0}
    for epoch, size in enumerate(sizes):
        sizes[size] = await _round_trip_s(fleet, node, store, size, epoch)
    small_s, large_s = sizes.values()
    return small_s / 2, max(large_s - small_s, 0.0) / (2 * 4 * LARGE)


async def _round_trip_s(fleet: Fleet, node: NodeId, store: Store, size: int, epoch: int) -> float:
    """Median seconds of a request and its answer of `size` float32 each, without the stage's own run."""
    member = fleet.member(node)
    backend = next(name for name, facts in member.found.engines.items() if "missing" not in facts)
    sha = _relay(store, size)
    await fleet.give(node, store.path(sha), sha)
    spec = StageSpec(deployment=NAME, epoch=epoch, stage="s1", artifact=sha, backend=backend, returns=("y",), node=node)
    await fleet.call(node, "load_stage", spec)
    router = Router(on_drained=lambda *_: None)
    try:
        await router.switch(
            EpochRoutes(
                deployment=NAME,
                epoch=epoch,
                source="",
                stages=(("s1", member.found.reach),),
                inputs=(TensorSpec("x", "float32", (size,)),),
                codecs={},
                outputs=("y",),
            )
        )
        feeds = {"x": np.zeros(size, np.float32)}
        spent = []
        for _ in range(RUNS):
            begun_s = time.perf_counter()
            answer = await router.infer(NAME, feeds, trace=True)
            computed_s = sum(hop.compute_s for hop in answer.hops)
            spent.append(time.perf_counter() - begun_s - computed_s)
        return statistics.median(spent)
    finally:
        await router.close()
        await fleet.call(node, "drop_stage", NAME, epoch, "s1")


def _relay(store: Store, size: int) -> str:
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "relay", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=store.root) as scratch:
        folder = Path(scratch)
        (folder / "relay.onnx").write_bytes(model.SerializeToString())
        steps = [ModelStep(onnx="relay.onnx", inputs=("x",), outputs=("y",))]
        ends = (TensorSpec("x", "float32", (size,)),), (TensorSpec("y", "float32", (size,)),)
        artifact.write(folder, steps=steps, inputs=ends[0], outputs=ends[1])
        return store.add(folder)
