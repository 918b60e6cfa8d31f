"""`isthmus profile` and `isthmus plan`: measure, and answer where to cut. Nothing is deployed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.render import atlas_table, plan_picture, unsplit_table
from isthmus.terminal import fail, note, progress, show, show_json
from nodes.errors import EngineMissing
from orchestrator.blueprint import pose
from orchestrator.errors import SpecError
from orchestrator.own_host import blueprint_here
from orchestrator.plan_json import atlas_to_json, plan_to_json
from orchestrator.profile_file import load_profile, profile_to_json, save_profile
from orchestrator.spec import DeploymentSpec, InputSpec
from orchestrator.topology_spec import load_topology
from partitioner.plan import Infeasible
from partitioner.problem import Problem
from partitioner.profile import Profile
from partitioner.search.atlas import Atlas, atlas
from partitioner.search.mincut import solve
from partitioner.topology import Node, Tier, Topology

MBPS = 125_000.0  # bytes per second
ATLAS_MBPS = (1.0, 1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What `plan` and `profile` are asked, as the command line gives it."""

    model: Path
    topology: Path | None = None
    source: str | None = None
    private: tuple[str, ...] = ()
    max_error: float = 0.0
    objective: str = "latency"
    shapes: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()

    def spec(self) -> DeploymentSpec:
        """The question as a deployment spec. SpecError for what cannot be meant."""
        if not self.model.is_file():
            raise SpecError(f"no file {self.model}; give an ONNX model")
        if self.objective != "latency":
            raise SpecError(f"objective {self.objective!r} is not supported yet; use latency")
        topology = this_machine() if self.topology is None else load_topology(self.topology)
        source = self.source or min(topology.nodes, key=lambda node: node.tier).name
        topology.node(source)
        from orchestrator.model_file import declared_inputs

        shapes = {name: _shape(name, text) for name, text in _pairs("--shape", self.shapes)}
        samples = {name: Path(text) for name, text in _pairs("--samples", self.samples)}
        names = [entry.name for entry in declared_inputs(self.model)]
        unknown = [name for name in (*shapes, *samples, *self.private) if name not in names]
        if unknown:
            raise SpecError(f"{self.model} has no input {unknown[0]!r}; it has {', '.join(names)}")
        inputs = tuple(
            InputSpec(
                name=name,
                at=source,
                shape=shapes.get(name),
                private=name in self.private,
                samples=samples.get(name),
            )
            for name in names
        )
        return DeploymentSpec(
            name=self.model.stem.replace("_", "-"),
            model=self.model,
            topology=topology,
            source=source,
            inputs=inputs,
            max_error=self.max_error,
            digest=repr((topology.nodes, topology.links, source, inputs, self.max_error)),
        )


def print_plan(question: Question, profile_file: Path | None, over: str | None = None, *, as_json: bool) -> None:
    """Plan, from a profile file or by measuring here, and print it, or the atlas `over` a link as SOURCE:TARGET.

    Exit 1 with the constraint if no plan fits.
    """
    spec = question.spec()
    ends = None if over is None else _range_of(over)
    with progress("profiling and planning"):
        problem = _from_file(spec, profile_file) if profile_file else _measured(spec)
        found = solve(problem) if ends is None else atlas(problem, *ends)
    if isinstance(found, Infeasible):
        fail(f"no plan fits: {found.constraint}: {found.detail}")
    if isinstance(found, Atlas):
        show_json(atlas_to_json(found)) if as_json else show(atlas_table(found))
    elif as_json:
        show_json(plan_to_json(found))
    else:
        show(plan_picture(found))
        show(unsplit_table(found))


def _range_of(text: str) -> tuple[tuple[str, str], float, float]:
    """SOURCE:TARGET or SOURCE:TARGET:LOW:HIGH in Mbps, as the link's ends and bytes per second."""
    parts = text.split(":")
    try:
        low, high = (float(part) for part in parts[2:]) if len(parts) > 2 else ATLAS_MBPS
    except ValueError:
        parts = []
    if len(parts) not in (2, 4):
        raise SpecError(f"--atlas {text}: should be SOURCE:TARGET, or SOURCE:TARGET:LOW:HIGH with goodputs in Mbps")
    return (parts[0], parts[1]), low * MBPS, high * MBPS


def profile_model(
    model: Path,
    topology: Path | None,
    address: str | None,
    shapes: Sequence[str],
    samples: Sequence[str],
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure a model on a topology's nodes, and write or print the profile."""
    spec = Question(model=model, topology=topology, shapes=tuple(shapes), samples=tuple(samples)).spec()
    refuse_early(spec, address)
    with progress("profiling"):
        found = _profile_there(spec, address) if address else asyncio.run(blueprint_here(spec, note)).profile
    if output is not None:
        save_profile(found, output)
    if as_json:
        show_json(profile_to_json(found))
        return
    for key, engine in found.engines.items():
        total_s = sum(engine.operator_s.values()) + engine.call_s
        where = f"{key.node_class}: {key.backend} {key.precision}, {key.threads} threads"
        show(f"{where}: whole model {total_s * 1e3:.2f} ms, {len(engine.segment_s)} segments timed")
    if output is not None:
        show(f"written to {output}; use it with: isthmus plan {model} --topology T --profile {output}")


def _profile_there(spec: DeploymentSpec, address: str) -> Profile:
    from orchestrator.client import Client

    with Client(address) as client:
        return client.profile(spec)[0]


def this_machine() -> Topology:
    """The topology of one node, this machine with the engines that it has."""
    from nodes.backend import installed_backends

    return Topology((Node(name="here", tier=Tier.DEVICE, backends=installed_backends()),))


def refuse_early(spec: DeploymentSpec, address: str | None) -> None:
    """What is wrong with a model, or lacks on this machine, is said before a cluster is started for it.

    InvalidModel, UnsupportedOperator, BadInput or SpecError; EngineMissing for a node of which no backend is here.
    """
    from nodes.backend import installed_backends
    from orchestrator.model_file import prepare

    prepare(spec)
    if address is not None:
        return
    here = set(installed_backends())
    for node in spec.topology.nodes:
        if node.address is None and not here & set(node.backends):
            wanted = ", ".join(node.backends)
            raise EngineMissing(
                f"node {node.name}: none of its backends ({wanted}) is installed here; see: isthmus doctor"
            )


def _from_file(spec: DeploymentSpec, path: Path) -> Problem:
    from isthmus.planning import engines_of
    from orchestrator.model_file import prepare
    from partitioner.load import load

    profile = load_profile(path)
    model = load(prepare(spec).path)
    if profile.model != model.sha256:
        raise SpecError(f"{path} is the profile of another model than {spec.model}; profile this one")
    return pose(spec, model, profile, engines_of(profile, spec.topology))


def _measured(spec: DeploymentSpec) -> Problem:
    refuse_early(spec, None)
    return asyncio.run(blueprint_here(spec, note)).problem()


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [tuple(text.split("=", 1)) for text in texts]
    for text, pair in zip(texts, pairs, strict=True):
        if len(pair) != 2:
            raise SpecError(f"{option} {text}: should be NAME=VALUE")
    return [(pair[0], pair[1]) for pair in pairs]


def _shape(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(",") if part)
    except ValueError:
        raise SpecError(f"--shape {name}={text}: should be numbers such as 1,3,224,224") from None
