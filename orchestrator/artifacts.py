"""A plan's stages as artifacts on this machine's disk, and the specs that tell workers to load them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nodes import artifact
from nodes.artifact import FunctionStep, ModelStep, Step
from nodes.backend import TensorSpec
from nodes.functions import Param
from nodes.stage_spec import StageSpec, Successor
from nodes.store import Store
from orchestrator.routes import Reach, entry, onward, returned
from partitioner.extract import extract, save_onnx
from partitioner.load import Model
from partitioner.plan import Plan, Stage
from partitioner.topology import NodeId, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A stage ready to be sent: its artifact's folder and what its worker is to be told."""

    folder: Path
    spec: StageSpec


def build(
    plan: Plan,
    model: Model,
    store: Store,
    *,
    deployment: str,
    epoch: int,
    topology: Topology,
    reaches: Mapping[NodeId, Reach],
) -> dict[str, Built]:
    """Artifacts and specs of every stage, by stage name; what the store holds already is not made again."""
    codecs = {name: codec for c in plan.crossings for name, codec in zip(c.tensors, c.codecs, strict=True)}
    built = {}
    for index, stage in enumerate(plan.stages):
        sha = stage_artifact(model, stage.operators, stage.inputs, stage.outputs, store)
        following = plan.stages[index + 1] if index + 1 < len(plan.stages) else None
        out, back = onward(plan, stage), returned(plan, stage)
        sends = out.tensors if out is not None else ()
        returns = back.tensors if back is not None else ()
        node = topology.node(stage.node)
        spec = StageSpec(
            deployment=deployment,
            epoch=epoch,
            stage=stage.name,
            artifact=sha,
            backend=stage.backend,
            precision=stage.precision,
            threads=node.threads,
            options=node.options_of(stage.backend),
            slowdown=node.slowdown,
            successor=None if following is None else _successor(following, reaches),
            codecs={name: codecs[name] for name in dict.fromkeys((*sends, *returns))},
            sends=sends,
            returns=returns,
            node=stage.node,
        )
        built[stage.name] = Built(folder=store.path(sha), spec=spec)
    return built


def _successor(stage: Stage, reaches: Mapping[NodeId, Reach]) -> Successor:
    return Successor(stage=stage.name, address=reaches[stage.node].address, node=stage.node)


def stage_artifact(
    model: Model, operators: tuple[str, ...], inputs: tuple[str, ...], outputs: tuple[str, ...], store: Store
) -> str:
    """The id of the artifact that runs these operators; it lies in the store afterwards."""
    with tempfile.TemporaryDirectory(prefix=".building-", dir=store.root) as scratch:
        folder = Path(scratch)
        steps: list[Step] = []
        for number, piece in enumerate(extract(model, operators, inputs, outputs)):
            if piece.model is None:
                steps.append(
                    FunctionStep(
                        function=piece.function,
                        params=cast("Mapping[str, Param]", piece.params),
                        inputs=piece.inputs,
                        outputs=piece.outputs,
                    )
                )
            else:
                path = folder / f"model-{number}.onnx"
                save_onnx(piece.model, path, piece.directory)
                steps.append(ModelStep(onnx=path.name, inputs=piece.inputs, outputs=piece.outputs))
        artifact.write(folder, steps=steps, inputs=tensor_specs(model, inputs), outputs=tensor_specs(model, outputs))
        return store.add(folder)


def tensor_specs(model: Model, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    """Name, dtype and shape of activations; a dynamic one's dimensions are free."""
    specs = []
    for name in names:
        activation = model.graph.activations[name]
        shape: tuple[int | None, ...] = (None,) * len(activation.shape) if activation.dynamic else activation.shape
        specs.append(TensorSpec(name, activation.dtype, shape))
    return tuple(specs)


def model_inputs(plan: Plan, model: Model) -> tuple[tuple[TensorSpec, ...], dict[str, str]]:
    """What the router takes in, and the codec of each input."""
    first = entry(plan)
    return tensor_specs(model, model.graph.inputs), dict(zip(first.tensors, first.codecs, strict=True))
