"""A deployment's YAML file and the value it means: which model, where its inputs are, what it may cost.

It refuses what this version cannot do by naming what it can. The model itself is not opened here, so
names of inputs and outputs are checked by whoever loads it.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nodes.codec import CODECS
from orchestrator.batching import Batching, BatchingModel
from orchestrator.errors import SpecError
from orchestrator.padding import PadModel, unlike
from orchestrator.sequence_terms import SequenceModel, SequenceTerms
from orchestrator.topology_spec import NAME, load_topology, parse_topology
from orchestrator.yaml_file import StrictModel, check, read_yaml
from partitioner.graph import DTYPE_BYTES
from partitioner.problem import NO_LIMITS, Limits
from partitioner.topology import NodeId, Tier, Topology

FRACTION = Field(ge=0, le=1)
MOST_REPLICAS = 16
LATER = ("source", "parallel", "replicas", "batching", "sequence")  # keys that specs of before could not have
STANDBY_MB = 256.0  # of each node's memory, for plans that are kept loaded in case they are needed
Positive = Annotated[float, Field(gt=0)]


class PrivacyModel(StrictModel):
    """How private an input is: not, wholly, until an operator whose output may leave, within a tier."""

    always: bool = False
    until: str | None = None
    within: Literal["device", "edge"] | None = None


class InputModel(StrictModel):
    """One entry of `inputs`."""

    at: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field()] | None = None
    dtype: str | None = None
    private: PrivacyModel = Field(default_factory=PrivacyModel)
    pad: PadModel | None = None
    samples: str | None = None

    @field_validator("private", mode="before")
    @classmethod
    def _any_form(cls, private: Any) -> Any:
        if isinstance(private, bool):
            return {"always": private}
        if isinstance(private, dict) and private and set(private) <= {"until", "within"}:
            return private
        raise ValueError(f"should be true, false or {{until: OPERATOR, within: TIER}} or one of them, is {private!r}")

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, dtype: str | None) -> str | None:
        if dtype is not None and dtype not in DTYPE_BYTES:
            raise ValueError(f"no dtype {dtype!r}; known are {', '.join(DTYPE_BYTES)}")
        return dtype


class OutputModel(StrictModel):
    """One entry of `outputs`."""

    to: str


class LimitsModel(StrictModel):
    """What a request may take at most (throughput: what there must be at least)."""

    latency_ms: Positive | None = None
    throughput_per_s: Positive | None = None
    energy_j: Positive | None = None
    cost_usd: Positive | None = None
    error: Annotated[float, FRACTION] | None = None

    def limits(self) -> Limits:
        """The same in SI units."""
        return Limits(
            latency_s=None if self.latency_ms is None else self.latency_ms / 1e3,
            throughput_per_s=self.throughput_per_s,
            energy_j=self.energy_j,
            cost_usd=self.cost_usd,
            error=self.error,
        )


class ReplicasModel(StrictModel):
    """On how many nodes at once a stage may run."""

    max: Annotated[int, Field(ge=1, le=MOST_REPLICAS)]


class DeploymentModel(StrictModel):
    """The whole file, but for `topology`, which may be a path."""

    name: Annotated[str, Field(pattern=NAME)]
    model: str
    objective: Literal["latency", "throughput", "energy", "cost"] = "latency"
    limits: LimitsModel = Field(default_factory=LimitsModel)
    pinned: dict[str, str] = Field(default_factory=dict)
    together: list[Annotated[list[str], Field(min_length=2)]] = Field(default_factory=list)
    forward_only: bool = True
    source: str | None = None
    parallel: bool | None = None
    max_error: Annotated[float, FRACTION] = 0.0
    codecs: list[str] | None = None
    standby_mb: Annotated[float, Field(ge=0)] = STANDBY_MB
    allow_nan: bool = False
    replicas: ReplicasModel | None = None
    batching: BatchingModel | None = None
    sequence: SequenceModel | None = None
    inputs: Annotated[dict[str, InputModel], Field(min_length=1)]
    outputs: dict[str, OutputModel] = Field(default_factory=dict)

    @field_validator("codecs")
    @classmethod
    def _known_codecs(cls, codecs: list[str] | None) -> list[str] | None:
        for name in codecs or ():
            if name not in CODECS:
                raise ValueError(f"no codec {name!r}; known are {', '.join(CODECS)}")
        return codecs


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
    straight to those that read it.

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
    return DeploymentSpec(
        name=model.name,
        model=_existing(folder, model.model, f"{where}: model"),
        topology=topology,
        source=source,
        inputs=tuple(_input(name, entry, folder, where) for name, entry in model.inputs.items()),
        outputs=tuple((name, entry.to) for name, entry in model.outputs.items()),
        objective=model.objective,
        limits=model.limits.limits(),
        pinned=tuple(_pin(name, node, topology, where) for name, node in model.pinned.items()),
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
    )


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


def _check_outputs(model: DeploymentModel, topology: Topology, source: NodeId, where: str) -> None:
    for name, entry in model.outputs.items():
        if entry.to not in topology.by_name:
            nodes = ", ".join(topology.by_name)
            raise SpecError(f"{where}: outputs.{name}.to: no node {entry.to!r}; nodes are {nodes}")
        if entry.to != source:
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


def _pin(name: str, node: str, topology: Topology, where: str) -> tuple[str, NodeId]:
    if node not in topology.by_name:
        raise SpecError(f"{where}: pinned.{name}: no node {node!r}; nodes are {', '.join(topology.by_name)}")
    return name, node


def _input(name: str, entry: InputModel, folder: Path, where: str) -> InputSpec:
    samples = entry.samples
    return InputSpec(
        name=name,
        at=entry.at,
        shape=None if entry.shape is None else tuple(entry.shape),
        dtype=entry.dtype,
        private=entry.private != PrivacyModel(),
        private_until=entry.private.until,
        private_within=None if entry.private.within is None else Tier[entry.private.within.upper()],
        samples=None if samples is None else _existing(folder, samples, f"{where}: inputs.{name}.samples"),
        pad=None if entry.pad is None else (entry.pad.axis, entry.pad.value),
        lengths=() if entry.pad is None or entry.pad.lengths is None else tuple(entry.pad.lengths),
    )


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
    meaning = json.dumps(given, sort_keys=True) + repr((topology.nodes, topology.links))
    return sha256(meaning.encode()).hexdigest()
