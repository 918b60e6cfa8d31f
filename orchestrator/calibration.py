"""What a message costs in software: framing, gRPC, task switches and copies, timed over a real worker.

Requests to a stage are timed at two sizes in turn; of what is left beside the stage's own run, half is one message,
and what grows with the size is the cost of a byte. As in earnest, the stage computes for some milliseconds in its
own thread and everyone sleeps before a message comes: a busy loop's messages cost less than half as much.
"""

import asyncio
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

SIZES = (1, 1 << 18)  # float32 elements: next to nothing, and a mebibyte
WIDTH = 512  # of the square matrix that the stage multiplies by itself
WARM_UPS, RUNS = 3, 25
IDLE_S = 0.025  # between requests: long enough for processes to fall asleep, as they do while others compute


async def message_costs(fleet: Fleet, node: NodeId, store: Store) -> tuple[float, float]:
    """Seconds per message, and further seconds per byte, between here and the node's worker, links unshaped."""
    router = Router(on_drained=lambda *_: None)
    try:
        for size in SIZES:
            await _serve(fleet, node, store, router, size)
        spent: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(WARM_UPS + RUNS):
            for size, seconds in spent.items():
                seconds.append(await _round_trip_s(router, size))
        small_s, large_s = (statistics.median(seconds[WARM_UPS:]) for seconds in spent.values())
        return small_s / 2, max(large_s - small_s, 0.0) / (2 * 4 * (SIZES[1] - SIZES[0]))
    finally:
        await router.close()
        for size in SIZES:
            await fleet.call(node, "drop_stage", _deployment(size), 0, "s1")


async def _serve(fleet: Fleet, node: NodeId, store: Store, router: Router, size: int) -> None:
    member = fleet.member(node)
    backend = next(name for name, facts in member.found.engines.items() if "missing" not in facts)
    sha = _relay(store, size)
    await fleet.give(node, store.path(sha), sha)
    spec = StageSpec(
        deployment=_deployment(size), epoch=0, stage="s1", artifact=sha, backend=backend, returns=("y",), node=node
    )
    await fleet.call(node, "load_stage", spec)
    await router.switch(
        EpochRoutes(
            deployment=_deployment(size),
            epoch=0,
            source="",
            stages=(("s1", member.found.reach),),
            inputs=(TensorSpec("x", "float32", (size,)),),
            codecs={},
            outputs=("y",),
        )
    )


async def _round_trip_s(router: Router, size: int) -> float:
    """Seconds of a request and its answer of `size` float32 each, without the stage's own run."""
    feeds = {"x": np.zeros(size, np.float32)}
    await asyncio.sleep(IDLE_S)
    begun_s = time.perf_counter()
    answer = await router.infer(_deployment(size), feeds, trace=True)
    return time.perf_counter() - begun_s - sum(hop.compute_s for hop in answer.hops)


def _deployment(size: int) -> str:
    return f"isthmus-calibration-{size}"


def _relay(store: Store, size: int) -> str:
    """A stage that gives back its input, after a few milliseconds' multiplying that no engine can leave out."""
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name in "xy")
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [WIDTH, WIDTH])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], "largest", keepdims=1),
        helper.make_node("Expand", ["largest", "shape"], ["square"], "square"),
        helper.make_node("MatMul", ["square", "square"], ["product"], "product"),
        helper.make_node("ReduceMin", ["product"], ["least"], "least", keepdims=0),
        helper.make_node("Add", ["x", "least"], ["y"], "sum"),
    ]
    graph = helper.make_graph(nodes, "relay", [given], [made], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=store.root) as scratch:
        folder = Path(scratch)
        (folder / "relay.onnx").write_bytes(model.SerializeToString())
        steps = [ModelStep(onnx="relay.onnx", inputs=("x",), outputs=("y",))]
        ends = (TensorSpec("x", "float32", (size,)),), (TensorSpec("y", "float32", (size,)),)
        artifact.write(folder, steps=steps, inputs=ends[0], outputs=ends[1])
        return store.add(folder)
