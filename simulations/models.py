"""Pipelines as the planner takes them: a graph with measured seconds, from files or from steps written by hand.

A measured pipeline is one JSON file (`write_measured`), which needs neither ONNX nor weights: {"graph", "profile"}.
"""

import json
from hashlib import sha256
from pathlib import Path

from onnx import ModelProto

from orchestrator.errors import OrchestratorError, SpecError
from orchestrator.plain import read_as, to_plain
from orchestrator.profile_file import profile_from_json, profile_to_json
from partitioner.errors import PartitionerError
from partitioner.graph import Activation, Graph, Operator
from partitioner.load import Model, load
from partitioner.profile import EngineKey, EngineProfile, Profile
from simulations.scenario import Pipeline

MEASURED = Path(__file__).with_name("measured")
BY_HAND = "onnxruntime"  # what engine steps by hand are said to run on


def read_pipeline(pipeline: Pipeline) -> tuple[Model, Profile]:
    """Its graph and what was measured. SpecError, naming the file, for what cannot be read."""
    try:
        return read_found(pipeline)
    except SpecError as error:
        raise SpecError(f"pipelines.{pipeline.name}: {error}") from None


def read_found(pipeline: Pipeline) -> tuple[Model, Profile]:
    """The same; a SpecError begins with the file."""
    if pipeline.steps:
        return _chain(pipeline)
    assert pipeline.model is not None
    path = pipeline.model
    if not path.exists() and (ours := MEASURED / path.name).exists():
        path = ours
    if not path.exists():
        raise SpecError(f"{path}: no such file; measured ones that come along: {', '.join(measured())}")
    try:
        if path.suffix == ".json":
            return read_measured(path)
        if pipeline.profile is None:
            raise SpecError(f"{path.name}: an ONNX file needs profile: as well (isthmus profile writes one)")
        return load(path), profile_from_json(json.loads(pipeline.profile.read_text(encoding="utf-8")))
    except SpecError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OrchestratorError, PartitionerError) as error:
        raise SpecError(f"{path}: {type(error).__name__}: {error}") from None


def measured() -> tuple[str, ...]:
    """The measured pipelines that come with the package, by file name."""
    return tuple(sorted(path.name for path in MEASURED.glob("*.json")))


def write_measured(path: Path, graph: Graph, profile: Profile, about: str = "") -> None:
    """Keep a graph with its profile, without weights; `about` says on what it was measured, for people."""
    plain = {"about": about, "graph": to_plain(graph), "profile": profile_to_json(profile)}
    path.write_text(json.dumps(plain, separators=(",", ":")) + "\n", encoding="utf-8")


def read_measured(path: Path) -> tuple[Model, Profile]:
    """What `write_measured` wrote."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    graph: Graph = read_as(Graph, plain["graph"])
    profile = profile_from_json(plain["profile"])
    return Model(graph=graph, proto=ModelProto(), directory=None, sha256=profile.model), profile


def _chain(pipeline: Pipeline) -> tuple[Model, Profile]:
    """One operator a step, each reading what the one before it made."""
    activations, operators = {"input": _tensor("input", pipeline.input_bytes, None, (0,))}, []
    weights, before = {}, "input"
    for number, step in enumerate(pipeline.steps):
        made, readers = f"{step.name}.out", (number + 1,) if number + 1 < len(pipeline.steps) else ()
        activations[made] = _tensor(made, step.out_bytes, number, readers)
        weights[f"{step.name}.weights"] = step.weights_bytes
        operators.append(
            Operator(
                name=step.name, op_type="Step", domain="", inputs=(before,), outputs=(made,),
                weights=(f"{step.name}.weights",),
            )
        )  # fmt: skip
        before = made
    graph = Graph(
        name=pipeline.name, operators=tuple(operators), activations=activations, inputs=("input",), outputs=(before,),
        weights_bytes=weights,
    )  # fmt: skip
    named = sha256(repr(pipeline).encode()).hexdigest()
    classes = dict.fromkeys(like for step in pipeline.steps for like in step.seconds)
    engines = {
        EngineKey(node_class=like, backend=BY_HAND): EngineProfile(
            operator_s={step.name: step.seconds[like] for step in pipeline.steps}
        )
        for like in classes
        if all(like in step.seconds for step in pipeline.steps)
    }
    return Model(graph=graph, proto=ModelProto(), directory=None, sha256=named), Profile(model=named, engines=engines)


def _tensor(name: str, nbytes: int, producer: int | None, consumers: tuple[int, ...]) -> Activation:
    return Activation(name=name, shape=(nbytes,), dtype="uint8", producer=producer, consumers=consumers)
