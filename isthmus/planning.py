"""From a model file to a plan, in two calls: load_model and plan_for.

It deploys nothing and asks no other machine: what no profile says is measured here. Client.deploy measures on the
nodes themselves and corrects the plan by what it saw.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nodes.backend import Array, load_backend
from nodes.errors import EngineMissing
from nodes.normalise import Normalised, normalise
from nodes.profiler import profile_model
from orchestrator.blueprint import engine_keys, pose
from orchestrator.spec import DeploymentSpec, InputSpec
from orchestrator.topology_spec import load_topology
from partitioner.errors import InvalidProblem
from partitioner.load import Model, load
from partitioner.plan import Infeasible, Plan
from partitioner.problem import NO_LIMITS, Limits
from partitioner.profile import EngineKey, Profile
from partitioner.search.answer import answer
from partitioner.topology import NodeId, Topology

HERE = "here"  # the node class of what is measured on this machine


def load_model(
    path: str | Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    samples: Mapping[str, Array] | None = None,
) -> Model:
    """The ONNX model at `path`, normalised and read as a graph: ready for plan_for.

    `shapes` fixes the shape of each input that the model leaves open, by name; `samples`, example inputs as arrays,
    do that too and serve where shapes depend on data. InvalidModel with one line for a model that can't be planned.
    """
    normalised = normalise(Path(path), shapes=shapes, samples=samples)
    return load(normalised.proto, normalised.directory)


def plan_for(
    model: Model | str | Path,
    topology: Topology | str | Path,
    *,
    profile: Profile | None = None,
    source: NodeId | None = None,
    outputs_to: NodeId | Mapping[str, NodeId] | None = None,
    private: Iterable[str] = (),
    max_error: float = 0.0,
    objective: str = "latency",
    limits: Limits = NO_LIMITS,
    pinned: Mapping[str, NodeId] | None = None,
    together: Iterable[Sequence[str]] = (),
    forward_only: bool = True,
) -> Plan | Infeasible:
    """The best plan by the objective, proven by its certificate: least latency (seconds from input to outputs, one
    request at a time), energy (joules a request) or cost (US dollars), or largest throughput (answers a second).

    It keeps the `limits`, runs operators on the nodes they are `pinned` to, and those `together` in one stage. All
    inputs appear at `source` (else the first node of the lowest tier) and outputs return to it: `outputs_to` may say
    so, by output or for all. Inputs named in `private` leave their node in no pixel form. Codecs may change outputs by
    `max_error`, relative to the largest output; a lossy one is used only where `profile` holds its figures. Without a
    profile the model runs here for a second per engine; nodes count as this machine times their slowdown. Infeasible,
    with the constraint that binds, if no plan fits. SpecError, InvalidModel, InvalidProblem or EngineMissing, in one
    line, for a question that can't be asked. docs/planning.md tells how each is solved.
    """
    if not isinstance(model, Model):
        model = load_model(model)
    if not isinstance(topology, Topology):
        topology = load_topology(Path(topology))
    if source is None:
        source = min(topology.nodes, key=lambda node: node.tier).name
    if outputs_to is None or isinstance(outputs_to, str):
        outputs_to = dict.fromkeys(model.graph.outputs, outputs_to or source)
    kept = {private} if isinstance(private, str) else set(private)
    names = (*model.graph.inputs, *(kept - set(model.graph.inputs)))  # an unknown name is refused by pose
    spec = DeploymentSpec(
        name="plan",
        model=Path(model.graph.name),
        topology=topology,
        source=topology.node(source).name,
        inputs=tuple(InputSpec(name=name, at=source, private=name in kept) for name in names),
        outputs=tuple(outputs_to.items()),
        max_error=max_error,
        objective=objective,
        limits=limits,
        pinned=tuple((pinned or {}).items()),
        together=tuple(tuple(group) for group in together),
        forward_only=forward_only,
    )
    if profile is None:
        engines = _engines_here(topology)
        profile = _measured(model, engines)
    else:
        engines = engines_of(profile, topology)
    return answer(pose(spec, model, profile, engines))


def _engines_here(topology: Topology) -> dict[NodeId, tuple[EngineKey, ...]]:
    """The engines of each node that this machine has too; EngineMissing if none of them is here."""
    wanted = {backend for node in topology.nodes for backend in node.backends}
    missing: list[EngineMissing] = []
    here: list[str] = []
    for backend in sorted(wanted):
        try:
            load_backend(backend)
            here.append(backend)
        except EngineMissing as error:
            missing.append(error)
    if not here:
        raise missing[0]
    return {node.name: engine_keys(node, HERE, here) for node in topology.nodes}


def engines_of(profile: Profile, topology: Topology) -> dict[NodeId, tuple[EngineKey, ...]]:
    """What was measured for each node: under its own name as class, if there is one, else under any."""
    classes = {key.node_class for key in profile.engines}
    engines = {
        node.name: tuple(
            key
            for key in profile.engines
            if key.backend in node.backends
            and key.threads == node.threads
            and (key.node_class == node.name or node.name not in classes)
        )
        for node in topology.nodes
    }
    if not any(engines.values()):
        held = ", ".join(f"{key.backend} with {key.threads} threads" for key in sorted(profile.engines)) or "nothing"
        wanted = ", ".join(
            f"{backend} with {node.threads} threads" for node in topology.nodes for backend in node.backends
        )
        raise InvalidProblem(f"the profile has no engine of any node: it has {held}; profile again with {wanted}")
    return engines


def _measured(model: Model, engines: Mapping[NodeId, tuple[EngineKey, ...]]) -> Profile:
    """Seconds per operator on this machine, for each engine once."""
    keys = sorted({key for some in engines.values() for key in some})
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        written = Normalised(model.proto, model.directory, {}).save(Path(folder) / "model.onnx")
        return profile_model(written, keys)
