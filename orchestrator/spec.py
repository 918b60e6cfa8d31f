"""A deployment's YAML file and the value it means: which model, where its inputs are, what it may cost.

It refuses what this version cannot do by naming what it can. The model itself is not opened here, so
names of inputs and outputs are checked by whoever loads it.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.codec import CODECS
from nodes.joining.steps import Pipeline
from orchestrator.aligning.standing_in import InputForm, terms_for
from orchestrator.aligning.terms import AlignTerms
from orchestrator.batching import Batching
from orchestrator.errors import SpecError
from orchestrator.padding import unlike
from orchestrator.pipeline_file import joined_file, models_of
from orchestrator.pipeline_spec import pins_of, pipeline_of, source_of
from orchestrator.sequence_terms import SequenceTerms
from orchestrator.spec_form import STANDBY_MB, DeploymentModel, InputModel, PrivacyModel
from orchestrator.topology_spec import load_topology, parse_topology
from orchestrator.yaml_file import check, read_yaml
from partitioner.problem import NO_LIMITS, Limits
from partitioner.topology import NodeId, Tier, Topology

LATER = (
    "model",
    "steps",
    "shared_models",
    "source",
    "parallel",
    "replicas",
    "batching",
    "sequence",
    "align",
)  # keys that specs of before could not have


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """A model input: the node where it appears and what is known of it. `private_until` None and `private`: always.
    `private_within`: it may go as high as that tier; None: nowhere.

    A `shape` is given where the model leaves it open. `pad`: the axis along which it may be shorter, and what it is
    filled up with, to the first of `lengths` that holds it if there are some. `samples` is a file or folder for
    calibration.
    """

    name: str
    at: NodeId
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    private: bool = False
    private_until: str | None = None
    private_within: Tier | None = None
    samples: Path | None = None
    pad: tuple[int, float] | None = None
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What is to be deployed. `outputs` maps each named output to its node; `codecs` None allows every codec.
    `standby_bytes` of weights may stand by on each node, in case they are needed. `allow_nan`: NaN and infinities are
    no fault of a stage that makes them. A stage may run on up to `most_replicas` nodes: as many as the best plan has
    for the objective throughput, else as its load wants. `batching`: how requests share runs.
    `sequence`: what goes on from one request to the next. `parallel`: branches run side by side, each stage sending
    straight to those that read it. A pipeline's `model` is what its `steps` were joined into, `parts` the models that
    it runs; what names an operator may name a step of it, too. `align`: which items of its inputs make one request.
    `batched_model`: what the steps were joined into if those that run one model run it as one, where the better of both
    is wanted (shared_models.py).

    `digest` is the SHA-256 of the file's meaning with its topology, not of the model.
    """

    name: str
    model: Path
    topology: Topology
    source: NodeId
    inputs: tuple[InputSpec, ...]
    outputs: tuple[tuple[str, NodeId], ...] = ()
    objective: str = "latency"
    limits: Limits = NO_LIMITS
    pinned: tuple[tuple[str, NodeId], ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    forward_only: bool = True
    max_error: float = 0.0
    codecs: tuple[str, ...] = CODECS
    standby_bytes: int = round(STANDBY_MB * 1e6)
    allow_nan: bool = False
    most_replicas: int = 1
    batching: Batching | None = None
    sequence: SequenceTerms | None = None
    digest: str = ""
    parallel: bool = False
    steps: tuple[str, ...] = ()
    parts: tuple[Path, ...] = ()
    align: AlignTerms | None = None
    batched_model: Path | None = None


def load_spec(path: Path) -> DeploymentSpec:
    """The deployment in the file; paths in it are relative to the file. SpecError, in one line, for a fault."""
    return parse_spec(read_yaml(path), where=str(path), folder=path.parent)


def parse_spec(data: dict[str, Any], *, where: str, folder: Path) -> DeploymentSpec:
    """The deployment that `data` (as YAML gives it) means; `where` names it in errors."""
    rest = {key: value for key, value in data.items() if key != "topology"}
    model = check(DeploymentModel, rest, where=where)
    topology = _topology(data.get("topology"), where, folder)
    source = _source(model, topology, where)
    _check_outputs(model, topology, source, where)
    _check_lengths(model, where)
    joined = _pipeline(model, where, folder)
    pinned = _pinned(model, topology, where)
    return DeploymentSpec(
        name=model.name,
        model=_model(model, where, folder) if joined is None else joined_file(joined),
        topology=topology,
        source=source,
        inputs=tuple(_input(name, entry, folder, where) for name, entry in model.inputs.items()),
        outputs=_outputs(model, source),
        objective=model.objective,
        limits=model.limits.limits(),
        pinned=pinned,
        together=tuple(tuple(group) for group in model.together),
        forward_only=model.forward_only,
        max_error=model.max_error,
        codecs=CODECS if model.codecs is None else tuple(dict.fromkeys(("raw", *model.codecs))),
        standby_bytes=round(model.standby_mb * 1e6),
        allow_nan=model.allow_nan,
        most_replicas=_most_replicas(model, topology, source, where),
        batching=None if model.batching is None else model.batching.batching(),
        sequence=None if model.sequence is None else model.sequence.terms(),
        digest=_digest(model, topology),
        parallel=_parallel(model, where),
        steps=tuple(model.steps or ()),
        parts=() if joined is None else models_of(joined),
        align=_align(model, where, folder),
        batched_model=_batched_model(joined, model, where),
    )


def _model(model: DeploymentModel, where: str, folder: Path) -> Path:
    if model.model is None:
        raise SpecError(f"{where}: model: is missing; add it, or steps for a pipeline")
    return _existing(folder, model.model, f"{where}: model")


def _pipeline(model: DeploymentModel, where: str, folder: Path) -> Pipeline | None:
    """What `steps` mean; None without them. SpecError for what goes with a model alone, or with steps alone."""
    if model.steps is None:
        _check_no_pipeline(model, where)
        return None
    if model.model is not None:
        raise SpecError(f"{where}: model: a pipeline's models stand in its steps; leave out one of the two")
    sources = [source_of(name, entry.dtype, entry.shape, where) for name, entry in model.inputs.items()]
    if lacking := next((name for name, entry in model.outputs.items() if entry.wire is None), None):
        raise SpecError(f"{where}: outputs.{lacking}.from: is missing; name the step or the port that it comes from")
    if not model.outputs:
        raise SpecError(f"{where}: outputs: is missing; a pipeline says what it gives: {{NAME: STEP.PORT}}")
    outputs = {name: entry.wire or "" for name, entry in model.outputs.items()}
    made = pipeline_of(model.name, model.steps, sources, outputs, where=where, at=folder)
    return _batched(made, model, where) if model.shared_models == "batched" else made


def _batched(pipeline: Pipeline, model: DeploymentModel, where: str) -> Pipeline:
    """The same with steps that run one model run as one, where they may be at one node."""
    return replace(pipeline, batched=True, pinned=model.pinned | pins_of(model.steps or {}, where))


def _batched_model(joined: Pipeline | None, model: DeploymentModel, where: str) -> Path | None:
    """With `best` the file of the pipeline's other form; None where no two steps could run as one."""
    if joined is None or model.shared_models != "best":
        return None
    try:
        batched = joined_file(_batched(joined, model, where))
    except SpecError:
        return None  # a model that takes one row at a time
    return None if batched.read_bytes() == joined_file(joined).read_bytes() else batched


def _check_no_pipeline(model: DeploymentModel, where: str) -> None:
    if model.shared_models is not None:
        raise SpecError(f"{where}: shared_models: tells of a pipeline's steps, and there are none; leave it out")
    for name, output in model.outputs.items():
        if output.wire is not None:
            raise SpecError(f"{where}: outputs.{name}.from: tells of a pipeline's steps, and there are none")
        if output.to is None:
            raise SpecError(f"{where}: outputs.{name}.to: is missing; add it")
    for name, entry in model.inputs.items():
        if None in (entry.shape or ()):
            raise SpecError(f"{where}: inputs.{name}.shape: {entry.shape}; a model's shape is told in full")


def _topology(given: Any, where: str, folder: Path) -> Topology:
    match given:
        case str():
            return load_topology(folder / given)
        case dict():
            return parse_topology(given, where=where, within=("topology",))
        case None:
            raise SpecError(f"{where}: topology: is missing; give the path of a topology file, or nodes and links")
        case _:
            raise SpecError(f"{where}: topology: should be a path, or nodes and links, is {given!r}")


def _source(model: DeploymentModel, topology: Topology, where: str) -> NodeId:
    """The node where requests arise: the one that is given, or that of the first input."""
    given = model.source if model.source is not None else next(iter(model.inputs.values())).at
    if model.source is not None and given not in topology.by_name:
        raise SpecError(f"{where}: source: no node {given!r}; nodes are {', '.join(topology.by_name)}")
    for name, entry in model.inputs.items():
        if entry.at not in topology.by_name:
            nodes = ", ".join(topology.by_name)
            raise SpecError(f"{where}: inputs.{name}.at: no node {entry.at!r}; nodes are {nodes}")
        if entry.at != given and (model.sequence is not None or entry.pad is not None):
            key = "sequence" if model.sequence is not None else f"inputs.{name}.pad"
            raise SpecError(
                f"{where}: inputs.{name}.at: {entry.at!r}, while requests arise at {given!r}; "
                f"with {key} all inputs are at one node"
            )
    return given


def _outputs(model: DeploymentModel, source: NodeId) -> tuple[tuple[str, NodeId], ...]:
    """Where each returns. A pipeline names its state among its outputs, which is not given out."""
    state = model.sequence.state if model.steps and model.sequence is not None else ()
    return tuple((name, entry.to or source) for name, entry in model.outputs.items() if name not in state)


def _check_outputs(model: DeploymentModel, topology: Topology, source: NodeId, where: str) -> None:
    for name, entry in model.outputs.items():
        if entry.to is not None and entry.to not in topology.by_name:
            nodes = ", ".join(topology.by_name)
            raise SpecError(f"{where}: outputs.{name}.to: no node {entry.to!r}; nodes are {nodes}")
        if entry.to not in (None, source):
            raise SpecError(
                f"{where}: outputs.{name}.to: {entry.to!r}; an answer returns to where its inputs are so far, "
                f"so give {source!r}"
            )


def _check_lengths(model: DeploymentModel, where: str) -> None:
    pads = {name: entry.pad for name, entry in model.inputs.items()}
    if why := unlike(pads):
        raise SpecError(f"{where}: inputs.{why}")
    for name, entry in model.inputs.items():
        if entry.pad is None or entry.pad.lengths is None:
            continue
        if model.sequence is not None:
            raise SpecError(f"{where}: inputs.{name}.pad.lengths: a model that keeps state has one; leave them out")
        last, axis = entry.pad.lengths[-1], entry.pad.axis
        if entry.shape is not None and axis < len(entry.shape) and entry.shape[axis] != last:
            raise SpecError(
                f"{where}: inputs.{name}.pad.lengths: go up to {last}, while its shape is {entry.shape}; "
                f"the shape has the largest"
            )


def _most_replicas(model: DeploymentModel, topology: Topology, source: NodeId, where: str) -> int:
    """On how many nodes a stage may run; SpecError where no two nodes could share one, or it can't be planned."""
    if model.replicas is None or model.replicas.max == 1:
        return 1
    nodes = [node.name for node in topology.nodes]
    sharers = (sharers_of(topology, source, name, model.pinned.values()) for name in nodes)
    most = max(len({node for _, node in some}) for some in sharers) + 1
    given = f"{where}: replicas.max: {model.replicas.max}"
    if most == 1:
        raise SpecError(
            f"{given}, while no two nodes can share a stage: that takes nodes of one tier with a backend in common, "
            "other than where inputs are or operators are pinned to"
        )
    if model.replicas.max > most:
        raise SpecError(f"{given}, while at most {most} nodes can share a stage; give no more than that")
    if model.objective == "throughput" and (not model.limits.limits().none or not model.forward_only):
        raise SpecError(f"{given}: replicas for throughput are planned forward only and without limits")
    return model.replicas.max


def sharers_of(
    topology: Topology, source: NodeId, name: NodeId, pinned: Collection[NodeId] = ()
) -> tuple[tuple[str, NodeId], ...]:
    """Which nodes may run stages of this one beside it, each with an engine that both offer.

    Nodes of its tier that are reached from the source and reach it. None for the source, or where operators are pinned.
    """
    own = topology.node(name)
    if name in (source, *pinned):
        return ()
    return tuple(
        (backend, other.name)
        for other in topology.nodes
        if other.name not in (name, source) and other.tier == own.tier and not other.dials_only
        if topology.path(source, other.name) is not None and topology.path(other.name, source) is not None
        for backend in own.backends
        if backend in other.backends
    )


def _parallel(model: DeploymentModel, where: str) -> bool:
    """Whether branches run side by side; SpecError beside what is not planned or run so."""
    if not model.parallel:
        return False
    beside = {
        "sequence": model.sequence is not None,
        "replicas": model.replicas is not None and model.replicas.max > 1,
        f"objective: {model.objective}": model.objective != "latency",
    }
    if clash := next((key for key, is_there in beside.items() if is_there), None):
        raise SpecError(f"{where}: parallel: branches side by side don't go with {clash}; leave out one of them")
    return True


def _align(model: DeploymentModel, where: str, folder: Path) -> AlignTerms | None:
    if model.align is None:
        return None
    if model.sequence is not None:
        raise SpecError(f"{where}: align: goes with requests of their own, not with the steps of a sequence")
    forms = {
        name: InputForm(dtype=entry.dtype, shape=None if entry.shape is None else _fixed(entry.shape))
        for name, entry in model.inputs.items()
    }
    return terms_for(model.align, forms, where=where, folder=folder)


def _pinned(model: DeploymentModel, topology: Topology, where: str) -> tuple[tuple[str, NodeId], ...]:
    """Operators and steps with the nodes where they must run."""
    steps = {} if model.steps is None else pins_of(model.steps, where)
    if twice := next((name for name in steps if name in model.pinned), None):
        raise SpecError(
            f"{where}: steps.{twice}.at: {steps[twice]!r}, while it is pinned, too; leave out one of the two"
        )
    told = {f"pinned.{name}": (name, node) for name, node in model.pinned.items()}
    told |= {f"steps.{name}.at": (name, node) for name, node in steps.items()}
    for key, (_, node) in told.items():
        if node not in topology.by_name:
            raise SpecError(f"{where}: {key}: no node {node!r}; nodes are {', '.join(topology.by_name)}")
    return tuple(told.values())


def _input(name: str, entry: InputModel, folder: Path, where: str) -> InputSpec:
    samples = entry.samples
    return InputSpec(
        name=name,
        at=entry.at,
        shape=None if entry.shape is None else _fixed(entry.shape),
        dtype=entry.dtype,
        private=entry.private != PrivacyModel(),
        private_until=entry.private.until,
        private_within=None if entry.private.within is None else Tier[entry.private.within.upper()],
        samples=None if samples is None else _existing(folder, samples, f"{where}: inputs.{name}.samples"),
        pad=None if entry.pad is None else (entry.pad.axis, entry.pad.value),
        lengths=() if entry.pad is None or entry.pad.lengths is None else tuple(entry.pad.lengths),
    )


def _fixed(shape: Sequence[int | None]) -> tuple[int, ...] | None:
    """A shape that is told in full; None for one that differs from item to item."""
    told = tuple(dim for dim in shape if dim is not None)
    return told if len(told) == len(shape) else None


def _existing(folder: Path, given: str, where: str) -> Path:
    path = folder / given
    if not path.exists():
        raise SpecError(f"{where}: no file {path}; paths are relative to the spec's folder")
    return path


def _digest(model: DeploymentModel, topology: Topology) -> str:
    later = {name: getattr(model, name) for name in LATER}
    given = model.model_dump(mode="json", exclude={name for name, value in later.items() if value is None})
    for entry in given["inputs"].values():
        if entry["pad"] is None:
            del entry["pad"]
        elif entry["pad"]["lengths"] is None:
            del entry["pad"]["lengths"]
    for entry in given["outputs"].values():
        if entry["wire"] is None:
            del entry["wire"]
    meaning = json.dumps(given, sort_keys=True) + repr((topology.nodes, topology.links))
    return sha256(meaning.encode()).hexdigest()
