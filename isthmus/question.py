"""What `plan` and `profile` are asked, as the command line gives it, and the spec and the problem that it means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import SpecError
from orchestrator.spec import DeploymentSpec, InputSpec
from orchestrator.topology_spec import load_topology
from partitioner.problem import NO_LIMITS, OBJECTIVES, Limits, Problem
from partitioner.topology import Node, NodeId, Tier, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A model, where it may run, and what is wanted of the plan. Pairs and groups are still text, as typed."""

    model: Path
    topology: Path | None = None
    source: str | None = None
    private: tuple[str, ...] = ()
    max_error: float = 0.0
    objective: str = "latency"
    shapes: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    pins: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    forward_only: bool = True
    parallel: bool = False
    serialised: bool = False
    replicas: int = 1

    def spec(self) -> DeploymentSpec:
        """The question as a deployment spec. SpecError for what cannot be meant."""
        if not self.model.is_file():
            raise SpecError(f"no file {self.model}; give an ONNX model")
        if self.objective not in OBJECTIVES:
            raise SpecError(f"no objective {self.objective!r}; there are {', '.join(OBJECTIVES)}")
        topology = this_machine() if self.topology is None else load_topology(self.topology)
        source = self.source or min(topology.nodes, key=lambda node: node.tier).name
        topology.node(source)
        inputs = self._inputs(source)
        if not 0 <= self.max_error <= 1:
            raise SpecError(f"--max-error {self.max_error:g}: should be from 0 to 1, a share of the largest output")
        pinned = [_pin(text, topology) for text in self.pins]
        for name, node in pinned:
            if dict(pinned)[name] != node:
                raise SpecError(f"--pin: {name} is pinned to {node} and to {dict(pinned)[name]}; keep one")
        error = self.max_error or self.limits.error or 0.0  # a budget alone lets each tensor take all of it
        meant = (inputs, error, self.objective, self.limits, self.pins, self.together, self.forward_only)
        return DeploymentSpec(
            name=self.model.stem.replace("_", "-"),
            model=self.model,
            topology=topology,
            source=source,
            inputs=inputs,
            objective=self.objective,
            limits=self.limits,
            pinned=tuple(pinned),
            together=tuple(_group(text) for text in self.together),
            forward_only=self.forward_only,
            max_error=error,
            digest=repr((topology.nodes, topology.links, source, meant)),
        )

    def wanted(self, problem: Problem) -> Problem:
        """The problem with what is asked of planning alone: side by side, replicas for throughput, serialised nodes."""
        return replace(problem, parallel=self.parallel, serialised=self.serialised, most_replicas=self.replicas)

    def _inputs(self, source: NodeId) -> tuple[InputSpec, ...]:
        from orchestrator.model_file import declared_inputs

        shapes = {name: _shape(name, text) for name, text in _pairs("--shape", self.shapes)}
        samples = {name: Path(text) for name, text in _pairs("--samples", self.samples)}
        names = [entry.name for entry in declared_inputs(self.model)]
        private = dict(_tiered(text) for text in self.private)
        unknown = [name for name in (*shapes, *samples, *private) if name not in names]
        if unknown:
            raise SpecError(f"{self.model} has no input {unknown[0]!r}; it has {', '.join(names)}")
        return tuple(
            InputSpec(
                name=name,
                at=source,
                shape=shapes.get(name),
                private=name in private,
                private_within=private.get(name),
                samples=samples.get(name),
            )
            for name in names
        )


def this_machine() -> Topology:
    """The topology of one node, this machine with the engines that it has."""
    from nodes.backend import installed_backends

    return Topology((Node(name="here", tier=Tier.DEVICE, backends=installed_backends()),))


def _tiered(text: str) -> tuple[str, Tier | None]:
    """An input that is private, and the tier that it may go up to, as INPUT or INPUT@TIER."""
    name, at, tier = text.partition("@")
    if at and tier not in ("device", "edge"):
        raise SpecError(f"--private {text}: a tier is device or edge, as in {name}@edge")
    return name, Tier[tier.upper()] if at else None


def _pin(text: str, topology: Topology) -> tuple[str, NodeId]:
    ((operator, node),) = _pairs("--pin", [text])
    if node not in topology.by_name:
        raise SpecError(f"--pin {text}: no node {node!r}; nodes are {', '.join(topology.by_name)}")
    return operator, node


def _group(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if len(set(names)) < max(2, len(names)):
        raise SpecError(f"--together {text}: should name two different operators or more, as A,B")
    return names


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.rpartition("=") if option == "--pin" else text.partition("=")
        if not equals:
            raise SpecError(f"{option} {text}: should be NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _shape(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(",") if part)
    except ValueError:
        raise SpecError(f"--shape {name}={text}: should be numbers such as 1,3,224,224") from None
