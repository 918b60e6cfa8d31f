"""A plan's stages as artifacts on this machine's disk, and the specs that tell workers to load them."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from nodes import artifact
from nodes.artifact import FunctionStep, ModelStep, Step
from nodes.backend import Option, TensorSpec
from nodes.free_lengths import with_free_lengths
from nodes.functions import Param
from nodes.ragged import Ragged, attached
from nodes.rebatch import with_free_rows
from nodes.stage_options import stage_options, takes_free_rows
from nodes.stage_spec import Branch, StageSpec, Successor
from nodes.store import Store
from orchestrator.batching import Batching
from orchestrator.errors import ClusterError
from orchestrator.replicas import crew_of
from orchestrator.routes import Reach, incoming, outgoing, returned
from orchestrator.sequence_terms import SequenceTerms, Stateful
from orchestrator.tuning.batches import rows_of
from partitioner.errors import InvalidModel
from partitioner.extract import extract, save_onnx
from partitioner.load import Model
from partitioner.plan import ROUTER, Plan, Stage
from partitioner.stateful import beside
from partitioner.topology import Node, NodeId, Topology

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A stage ready to be sent: its artifact's folder and what its worker is to be told; so for its replicas' nodes."""

    folder: Path
    spec: StageSpec
    replicas: Mapping[NodeId, "Built"] = field(default_factory=dict)

    def on(self, node: NodeId) -> "Built":
        """The same for one of the nodes that are to run it."""
        return self.replicas.get(node, self)


def build(
    plan: Plan,
    model: Model,
    store: Store,
    *,
    deployment: str,
    epoch: int,
    topology: Topology,
    reaches: Mapping[NodeId, Reach],
    allow_nan: bool = False,
    batching: Batching | None = None,
    sequence: SequenceTerms | None = None,
) -> dict[str, Built]:
    """Artifacts and specs of every stage, by stage name; what the store holds already is not made again.

    With `allow_nan` no stage minds NaN or infinities in what it makes. Stages share runs as `batching` says, where
    engine and operators take free rows; so they take every length of a model that has several. Those of a model with
    state keep it as `sequence` says.
    """
    ragged = attached(model.proto)
    codecs = {name: codec for c in plan.crossings for name, codec in zip(c.tensors, c.codecs, strict=True)}
    built = {}
    for index, stage in enumerate(plan.stages):
        (following, sends), further = _ways_on(plan, stage, reaches)
        back = returned(plan, stage)
        returns = back.tensors if back is not None else ()
        leaving = (*sends, *returns, *(name for branch in further for name in branch.sends))
        spec = StageSpec(
            deployment=deployment,
            epoch=epoch,
            stage=stage.name,
            artifact="",
            backend=stage.backend,
            precision=stage.precision,
            successor=following[0] if following else None,
            others=following[1:],
            codecs={name: codecs[name] for name in dict.fromkeys(leaving)},
            sends=sends,
            returns=returns,
            unbounded=stage.outputs if allow_nan else (),
            expected_s=stage.seconds,
            further=further,
            gathers=len(incoming(plan, stage)) if plan.parallel else 1,
        )
        if sequence is not None:
            spec = _keeping(spec, model, plan.stages[index:], sequence)
        if batching is not None:
            spec = replace(spec, max_delay_s=batching.max_delay_s, queue_limit=batching.queue_limit)
        on = {name: _built(model, stage, store, topology.node(name), spec, batching, ragged) for name in crew_of(stage)}
        built[stage.name] = replace(on.pop(stage.node), replicas=on)
    return built


def _ways_on(
    plan: Plan, stage: Stage, reaches: Mapping[NodeId, Reach]
) -> tuple[tuple[tuple[Successor, ...], tuple[str, ...]], tuple[Branch, ...]]:
    """Where a stage's first message goes, to one of a crew, and which tensors; then its messages to further stages."""
    stages = {one.name: one for one in plan.stages}
    ways = [(_successors(stages[c.receiver], reaches), c.tensors) for c in outgoing(plan, stage)]
    first = ways[0] if ways else ((), ())
    return first, tuple(Branch(successor=crew[0], sends=tensors) for crew, tensors in ways[1:])


def _keeping(spec: StageSpec, model: Model, onward: Sequence[Stage], sequence: SequenceTerms) -> StageSpec:
    """The spec of the first of these stages, with what it keeps of a sequence and what it hands on for later ones."""
    (state, kept), *later = (beside(model, stage.operators) for stage in onward)
    carries = dict.fromkeys(name for theirs, also in later for name in (*theirs.values(), *also))
    return replace(
        spec,
        state=state,
        kept=kept,
        carries=tuple(carries),
        unbounded=(*spec.unbounded, *(name for name in state if spec.unbounded)),
        idle_s=sequence.idle_s,
        most_sequences=sequence.most,
        sequence_bytes=sequence.most_bytes,
    )


def _built(
    model: Model,
    stage: Stage,
    store: Store,
    node: Node,
    spec: StageSpec,
    batching: Batching | None,
    ragged: Ragged | None,
) -> Built:
    """The stage as this node is to run it."""
    options = node.options_of(stage.backend)
    most = _most(stage.backend, options, node.threads, batching)
    if not takes_free_rows(stage.backend, options):
        if most > 1:
            _log.warning("stage %s answers one request at a time: %s takes fixed shapes", stage.name, stage.backend)
        if ragged is not None:
            _log.warning("stage %s runs at the largest length: %s takes fixed shapes", stage.name, stage.backend)
        most, ragged = 1, None
    sha, most, any_length = _stage(model, stage, store, most, ragged)
    batch = most * rows_of(model.graph) if most > 1 else 1
    placed = replace(
        spec,
        artifact=sha,
        node=node.name,
        threads=node.threads,
        options=options,
        max_batch=batch,
        preferred=() if batching is None or batch == 1 else tuple(size for size in batching.preferred if size <= batch),
        slowdown=node.slowdown,
        any_length=any_length,
    )
    return Built(folder=store.path(sha), spec=placed)


def _most(backend: str, options: Mapping[str, Option], threads: int, batching: Batching | None) -> int:
    """How many requests may share a run: what was found best for the engine, or given it, up to the spec's limit."""
    own = stage_options(backend, options, threads=threads).batch
    if batching is None or batching.most is None:
        return own
    return min(own, batching.most) if "batch" in options else batching.most


def _successors(stage: Stage, reaches: Mapping[NodeId, Reach]) -> tuple[Successor, ...]:
    """The workers of a stage, its own node's first; of a replica that is away none. ClusterError where that one is."""
    if stage.node not in reaches:
        raise ClusterError(f"node {stage.node}: its worker is away")
    here = (stage.node, *(node for node in stage.replicas if node in reaches))
    return tuple(Successor(stage=stage.name, address=reaches[node].address, node=node) for node in here)


def _stage(model: Model, stage: Stage, store: Store, batch: int, ragged: Ragged | None) -> tuple[str, int, bool]:
    """A stage's artifact, how many requests may share a run (1 where it has no free rows), and whether it takes every
    length.
    """
    ends = stage.operators, stage.inputs, stage.outputs
    forms = [(many, lengths) for lengths in (ragged, None) for many in (batch, 1)]
    for many, lengths in dict.fromkeys(forms):
        try:
            return (
                stage_artifact(model, *ends, store, free_rows=many > 1, ragged=lengths),
                many,
                lengths is not None,
            )
        except InvalidModel as refused:
            if many == 1 and lengths is None:
                raise
            less = "answers one request at a time" if many > 1 else "runs at the largest length"
            _log.warning("stage %s %s: %s", stage.name, less, refused)
    raise AssertionError("the last form is returned or raised")


def stage_artifact(
    model: Model,
    operators: tuple[str, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    store: Store,
    *,
    free_rows: bool = False,
    ragged: Ragged | None = None,
) -> str:
    """The id of the artifact that runs these operators; it lies in the store afterwards.

    What they carry on in a sequence is among its inputs and outputs, beside those given. InvalidModel where it should
    have `free_rows`, for several requests in a run, and its operators mix them; or should take all lengths of a
    `ragged` model and nothing that it is given tells which.
    """
    with tempfile.TemporaryDirectory(prefix=".building-", dir=store.root) as scratch:
        folder = Path(scratch)
        state, kept = beside(model, operators)
        inputs += (*state.values(), *kept)
        outputs += tuple(made for made in state if made not in outputs)
        steps: list[Step] = []
        for number, piece in enumerate(extract(model, operators, inputs, outputs)):
            if piece.model is None and free_rows:
                raise InvalidModel(f"{piece.function} takes one request at a time")
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
                if ragged is not None:
                    with_free_lengths(path, ragged, free_rows=free_rows)
                elif free_rows:
                    with_free_rows(path)
                steps.append(ModelStep(onnx=path.name, inputs=piece.inputs, outputs=piece.outputs))
        taken, made = (tensor_specs(model, names, free_rows=free_rows, ragged=ragged) for names in (inputs, outputs))
        artifact.write(folder, steps=steps, inputs=taken, outputs=made)
        return store.add(folder)


def tensor_specs(
    model: Model, names: tuple[str, ...], *, free_rows: bool = False, ragged: Ragged | None = None
) -> tuple[TensorSpec, ...]:
    """Name, dtype and shape of activations; a dynamic one's dimensions are free, and any's first with `free_rows`, and
    what depends on the length of a `ragged` model.
    """
    specs = []
    for name in names:
        activation = model.whole.activations[name]
        shape: tuple[int | None, ...] = (None,) * len(activation.shape) if activation.dynamic else activation.shape
        if ragged is not None:
            shape = ragged.free(name, shape)
        if free_rows:
            shape = (None, *shape[1:])
        specs.append(TensorSpec(name, activation.dtype, shape))
    return tuple(specs)


def model_inputs(plan: Plan, model: Model, *, free_rows: bool = False) -> tuple[tuple[TensorSpec, ...], dict[str, str]]:
    """What the router takes in, and the codec of each input."""
    entries = [crossing for crossing in plan.crossings if crossing.sender == ROUTER]
    codecs = {name: codec for one in entries for name, codec in zip(one.tensors, one.codecs, strict=True)}
    return tensor_specs(model, model.graph.inputs, free_rows=free_rows), codecs


def stateful_of(model: Model, terms: SequenceTerms | None, *, free_rows: bool = False) -> Stateful | None:
    """What a router must know of a model's sequences; None for one without."""
    if terms is None:
        return None
    given = tensor_specs(model, tuple(name for _, name in terms.state), free_rows=free_rows)
    return Stateful(
        state=tuple((made, spec) for (made, _), spec in zip(terms.state, given, strict=True)),
        kept=tensor_specs(model, terms.kept, free_rows=free_rows),
        idle_s=terms.idle_s,
        checkpoint=terms.checkpoint,
        most=terms.most,
    )
