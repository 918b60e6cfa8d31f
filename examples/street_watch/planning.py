"""Plans the watch over topology.yaml: the frame is at the camera, sound and watched words are at the microphone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nodes.backend import Array
from nodes.joining.sources import with_sources
from nodes.profiler import profile_model
from orchestrator.blueprint import engine_keys, pose
from orchestrator.spec import DeploymentSpec, InputSpec
from orchestrator.topology_spec import load_topology
from partitioner.load import Model
from partitioner.problem import Problem
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.sources import operator_of
from partitioner.topology import NodeId, Topology

TOPOLOGY = Path(__file__).with_name("topology.yaml")
SOURCE = "microphone"  # where requests begin
PLACES = {"frame": "camera", "sound": SOURCE, "watched": SOURCE}


def measured(path: Path, feeds: Mapping[str, Array], *, seconds: float = 1.0) -> Profile:
    """The model at `path` on this machine, run for so long on these inputs."""
    engines = {key for keys in _engines(load_topology(TOPOLOGY)).values() for key in keys}
    return profile_model(path, sorted(engines), feeds=feeds, seconds=seconds)


def problem(model: Model, profile: Profile) -> Problem:
    """What is asked of a solver: the least latency, branches side by side. Nodes count as where the profile comes from,
    times their slowdown.
    """
    topology = load_topology(TOPOLOGY)
    away = [name for name in model.graph.inputs if PLACES[name] != SOURCE]
    given = with_sources(model, away)
    free = {operator_of(name): 0.0 for name in away}  # what a sensor holds is there
    profile = replace(profile, engines={key: _with(engine, free) for key, engine in profile.engines.items()})
    spec = DeploymentSpec(
        name="street_watch",
        model=Path("street_watch.onnx"),
        topology=topology,
        source=SOURCE,
        inputs=tuple(InputSpec(name=name, at=PLACES[name]) for name in model.graph.inputs),
        parallel=True,
    )
    return pose(spec, given, profile, _engines(topology))


def _engines(topology: Topology) -> dict[NodeId, tuple[EngineKey, ...]]:
    return {node.name: engine_keys(node, "here", node.backends) for node in topology.nodes}


def _with(engine: EngineProfile, free: Mapping[str, float]) -> EngineProfile:
    return replace(engine, operator_s={**engine.operator_s, **free})
