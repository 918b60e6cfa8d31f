"""Workers that each hold one whole model as their only stage, and routes into them: for a router's failures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from nodes import artifact
from nodes.artifact import ModelStep
from nodes.backend import TensorSpec
from nodes.emulation import ShapedLink
from nodes.stage_spec import StageSpec
from nodes.worker_client import WorkerClient
from orchestrator.routes import EpochRoutes, Reach
from tests.nodes import workers
from tests.nodes.workers import Worker


@dataclass
class LoneStages:
    """Workers by node, on loopback, and what they hold; deployment "d"."""

    folder: Path
    workers: dict[str, Worker] = field(default_factory=dict)

    def worker(self, node: str) -> Worker:
        """The node's worker, started when first needed."""
        if node not in self.workers:
            self.workers[node] = workers.start(self.folder, "--emulated", node=node)
        return self.workers[node]

    def client(self, node: str) -> WorkerClient:
        """Its control plane."""
        return WorkerClient(self.worker(node).address, controller="c", secret="s")

    async def load(self, node: str, epoch: int, model: str, given: TensorSpec, made: TensorSpec) -> EpochRoutes:
        """Load the artifact `model` of the folder as the epoch's one stage; the routes that lead there."""
        place = self.folder / model
        sha = artifact.write(
            place, steps=[ModelStep(onnx="model-0.onnx", inputs=(given.name,), outputs=(made.name,))],
            inputs=[given], outputs=[made],
        )  # fmt: skip
        spec: dict[str, Any] = {"deployment": "d", "epoch": epoch, "stage": "s1", "backend": "onnxruntime"}
        async with self.client(node) as control:
            await control.claim()
            await control.put_artifact(place)
            await control.load_stage(StageSpec(**spec, artifact=sha, returns=(made.name,), slowdown=1.001))
        return EpochRoutes(
            deployment="d",
            epoch=epoch,
            source="camera",
            stages=(("s1", Reach(node=node, address=self.worker(node).address)),),
            inputs=(given,),
            codecs={},
            outputs=(made.name,),
        )

    def save(self, name: str, graph: onnx.GraphProto) -> None:
        """A model in the folder."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.checker.check_model(model)
        onnx.save(model, place / "model-0.onnx")

    def end(self) -> dict[str, str]:
        """End all; what each wrote to stderr."""
        return {node: worker.end() for node, worker in self.workers.items()}


def over_link(routes: EpochRoutes, bytes_per_s: float) -> tuple[tuple[ShapedLink, ...], dict[Any, Any]]:
    """`shaped` and `paths` for a link of that rate from the source to the stage, and a fast one back."""
    node = routes.stages[0][1].node
    links = tuple(
        ShapedLink(source=a, target=b, bytes_per_s=rate, propagation_s=1e-3)
        for a, b, rate in (("camera", node, bytes_per_s), (node, "camera", 1e6))
    )
    return links, {(link.source, link.target): ((link.source, link.target),) for link in links}


def counting(op_type: str | None) -> onnx.GraphProto:
    """int64 n [1] → float32 y [1]: with "Loop", y counts up to n one by one; else it is n cast."""
    ends = (
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    if op_type is None:
        return helper.make_graph([helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT)], "cast", *ends)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["v", "one"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    loop = helper.make_node("Loop", ["n", "yes", "zero"], ["y"], body=body)
    given = [
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
    ]
    return helper.make_graph([loop], "loop", *ends, given)


def elementwise(op_type: str, constant: float, columns: int) -> onnx.GraphProto:
    """float32 x [1, columns] → y = op_type(x, constant), of the same shape."""
    return helper.make_graph(
        [helper.make_node(op_type, ["x", "c"], ["y"])],
        "elementwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, columns])],
        [helper.make_tensor("c", TensorProto.FLOAT, [1], [constant])],
    )
