"""A deployment's blueprint: its model, what was asked of it and what was measured; it finds plans.

Runs the solver, so it belongs to the shell: the control core asks with FindPlan and hears PlanFound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from math import inf

from orchestrator.errors import SpecError
from orchestrator.links_seen import LinkEstimate
from orchestrator.padding import misfit
from orchestrator.replicas import bare, has_replicas
from orchestrator.spec import DeploymentSpec
from orchestrator.step_operators import operators_named
from partitioner.constraints import violation
from partitioner.figures import score, throughput_per_s
from partitioner.load import Model
from partitioner.plan import Infeasible, Plan
from partitioner.privacy import pixel_forms
from partitioner.problem import Problem, Site
from partitioner.profile import EngineKey, Profile
from partitioner.repricing import repriced
from partitioner.search.answer import answer
from partitioner.sources import operator_of, told_inputs, with_sources_held
from partitioner.stateful import together
from partitioner.tables import price_list
from partitioner.topology import Link, Node, NodeId, Tier, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything needed to plan one deployment again under other links or without some nodes."""

    spec: DeploymentSpec
    model: Model
    profile: Profile
    engines: Mapping[NodeId, tuple[EngineKey, ...]]
    fixed: Plan | None = None  # run this whatever the links do, as comparisons want

    @property
    def digest(self) -> str:
        """Tells one wish from another: the spec's, and the plan's if one is fixed."""
        if self.fixed is None:
            return self.spec.digest
        further = [stage.replicas for stage in self.fixed.stages] if has_replicas(self.fixed) else ""
        placed = repr([(stage.node, stage.backend, stage.operators) for stage in self.fixed.stages]) + str(further)
        return sha256(f"{self.spec.digest} {placed} {self.fixed.crossings}".encode()).hexdigest()

    @property
    def tuned_topology(self) -> Topology:
        """The spec's topology; its engines have the settings that they were profiled under, the node's own first."""
        nodes = []
        for node in self.spec.topology.nodes:
            tuned = {
                key.backend: self.profile.engines[key].options
                for key in self.engines.get(node.name, ())
                if key in self.profile.engines
            }
            options = ((name, dict(tuned.get(name, ())) | node.options_of(name)) for name in node.backends)
            engines = tuple((name, tuple(one.items())) for name, one in options if one)
            nodes.append(replace(node, engines=engines))
        return replace(self.spec.topology, nodes=tuple(nodes))

    def problem(self, links: Iterable[LinkEstimate] = (), excluded: Iterable[NodeId] = ()) -> Problem:
        """The planning problem under these link estimates, without the excluded nodes."""
        return pose(
            self.spec,
            self.model,
            self.profile,
            self.engines,
            topology=observed(self.spec.topology, links),
            excluded=tuple(excluded),
        )

    def find(self, links: Iterable[LinkEstimate] = (), excluded: Iterable[NodeId] = ()) -> Plan | Infeasible:
        """The best plan under these links, or the fixed one."""
        return self.fixed or answer(self.problem(links, excluded))

    def price(self, plan: Plan, links: Iterable[LinkEstimate]) -> float:
        """What the objective asks to be small (seconds, joules, dollars), for a plan made for other links.

        Infinite if the plan breaks a limit under these. InvalidProblem if it is no plan of the spec any more.
        """
        problem = self.problem(links)
        anew = repriced(price_list(problem), bare(plan))
        if has_replicas(plan):  # which share the stages' work, and change nothing else
            rate = throughput_per_s(problem, plan.stages, anew.crossings)
            anew = replace(anew, predicted=replace(anew.predicted, throughput_per_s=rate))
        price = score(anew.predicted, problem.objective)
        return inf if price is None or violation(problem, anew) is not None else price


def pose(
    spec: DeploymentSpec,
    model: Model,
    profile: Profile,
    engines: Mapping[NodeId, tuple[EngineKey, ...]],
    *,
    topology: Topology | None = None,
    excluded: tuple[NodeId, ...] = (),
) -> Problem:
    """The planning problem that a spec asks about a model. SpecError for an input or output the model lacks."""
    check_names(spec, model)
    return Problem(
        graph=model.graph,
        topology=topology or spec.topology,
        profile=with_sources_held(profile, model.graph),
        sites=tuple(
            Site(node=node.name, engine=key)
            for node in spec.topology.nodes
            if node.name not in excluded
            for key in engines.get(node.name, ())
        ),
        source=spec.source,
        outputs_to=dict.fromkeys(model.graph.outputs, spec.source) | dict(spec.outputs),
        private=private_tensors(spec, model),
        within=tensors_within(spec, model),
        max_error=spec.max_error,
        codecs=spec.codecs,
        objective=spec.objective,
        limits=spec.limits,
        pinned={name: node for step, node in spec.pinned for name in operators_named(model.graph, step, spec.steps)}
        | {operator_of(entry.name): entry.at for entry in spec.inputs if entry.at != spec.source},
        homes={
            tensor: entry.at
            for entry in spec.inputs
            if entry.private and entry.at != spec.source
            for tensor in pixel_forms(model.graph, (entry.name,), until=entry.private_until)
        },
        together=(*_together(spec, model), *together(model)),
        forward_only=spec.forward_only,
        parallel=spec.parallel,
        cost_model="additive, corrected by measured segments",
        most_replicas=spec.most_replicas if spec.objective == "throughput" else 1,
    )


def check_names(spec: DeploymentSpec, model: Model) -> None:
    """SpecError if the spec names an input, output or operator that the model lacks, or leaves out an input."""
    graph = model.graph
    _check_inputs(spec, model)
    operators = {operator.name for operator in graph.operators} if spec.pinned or spec.together else set()
    for where, name in (
        *((f"pinned.{name}", name) for name, _ in spec.pinned),
        *(("together", name) for group in spec.together for name in group),
    ):
        if name not in operators and name not in spec.steps:
            steps = f" nor a step; those are {', '.join(spec.steps)}" if spec.steps else ""
            raise SpecError(
                f"{where}: {spec.model.name} has no such operator as {name}{steps}; isthmus plan --json names them"
            )
    missing = [name for name in (*told_inputs(graph), *model.kept) if name not in {entry.name for entry in spec.inputs}]
    if missing:
        raise SpecError(
            f"inputs.{missing[0]}: is missing; say at which node {spec.model.name}'s input appears (at: NODE)"
        )
    for name, _ in spec.outputs:
        if name in model.state:
            raise SpecError(f"outputs.{name}: is the state that {model.state[name]} is next; a state is not given out")
        if name not in graph.outputs:
            raise SpecError(f"outputs.{name}: {spec.model.name} has no such output; it has {', '.join(graph.outputs)}")


def _together(spec: DeploymentSpec, model: Model) -> tuple[tuple[str, ...], ...]:
    """Groups of operators, all those of a step where one is named."""
    graph, steps = model.graph, spec.steps
    return tuple(
        tuple(dict.fromkeys(name for one in group for name in operators_named(graph, one, steps)))
        for group in spec.together
    )


def _check_inputs(spec: DeploymentSpec, model: Model) -> None:
    whole, inputs = model.whole, told_inputs(model.whole)
    for entry in spec.inputs:
        if entry.name not in inputs:
            raise SpecError(f"inputs.{entry.name}: {spec.model.name} has no such input; it has {', '.join(inputs)}")
        if entry.name not in told_inputs(model.graph) and (entry.private or entry.pad is not None):
            key = "private" if entry.private else "pad"
            raise SpecError(f"inputs.{entry.name}.{key}: what a sequence carries on lies at its stages; leave this out")
        activation = whole.activations[entry.name]
        why = None if entry.pad is None else misfit(activation.dtype, activation.shape, *entry.pad)
        if why is not None:
            raise SpecError(f"inputs.{entry.name}.{why}")


def private_tensors(spec: DeploymentSpec, model: Model) -> frozenset[str]:
    """Tensors that may not leave the source, by the spec's private inputs."""
    held: frozenset[str] = frozenset()
    for entry in spec.inputs:
        if entry.private and entry.private_within is None:
            held |= pixel_forms(model.graph, (entry.name,), until=entry.private_until)
    return held


def tensors_within(spec: DeploymentSpec, model: Model) -> dict[str, Tier]:
    """Tensors that may be no higher than a tier, by the spec's private inputs."""
    held: dict[str, Tier] = {}
    for entry in spec.inputs:
        if entry.private and entry.private_within is not None:
            for name in sorted(pixel_forms(model.graph, (entry.name,), until=entry.private_until)):
                held[name] = min(held.get(name, Tier.CLOUD), entry.private_within)
    return held


def observed(topology: Topology, links: Iterable[LinkEstimate]) -> Topology:
    """The topology with what was last seen of its links."""
    seen = {(estimate.source, estimate.target): estimate for estimate in links}
    changed: list[Link] = []
    for link in topology.links:
        estimate = seen.get((link.source, link.target))
        if estimate is not None:
            rate, delay_s = estimate.bytes_per_s, estimate.propagation_s
            changed.append(replace(link, bytes_per_s=rate, propagation_s=delay_s))
    return topology.with_links(changed)


def engine_keys(node: Node, node_class: str, installed: Iterable[str]) -> tuple[EngineKey, ...]:
    """The engines that a node both offers and has installed, at the precision each runs by default.

    One that the node gives options of its own is a class of its own: its times say nothing of the others'.
    """
    here = set(installed)
    return tuple(
        EngineKey(
            node_class=node.name if node.options_of(backend) else node_class, backend=backend, threads=node.threads
        )
        for backend in node.backends
        if backend in here
    )
