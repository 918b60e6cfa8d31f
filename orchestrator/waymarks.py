"""From a plan and the workers that run it to what routers must know of the epoch."""

from nodes.ragged import Ragged, attached
from orchestrator.artifacts import model_inputs, stateful_of, tensor_specs
from orchestrator.batching import Batching
from orchestrator.blueprint import Blueprint
from orchestrator.detour import Pace
from orchestrator.fleet import Fleet
from orchestrator.padding import Lengths
from orchestrator.plan_json import plan_id
from orchestrator.replicas import crew_of, without
from orchestrator.routes import EpochRoutes, entries_of
from orchestrator.spec import DeploymentSpec
from partitioner.load import Model
from partitioner.plan import Plan


def routes_of(
    fleet: Fleet, blueprint: Blueprint, plan: Plan, name: str, epoch: int, version: int = 0, pace: Pace | None = None
) -> EpochRoutes:
    """The epoch's stages with their workers' addresses, what goes in and out, and which other nodes to watch.

    ClusterError if a stage has no worker on any of its nodes.
    """
    rows, batching = rows_taken(fleet, plan, name, epoch), blueprint.spec.batching or Batching()
    ragged = ragged_taken(fleet, blueprint.model, plan, name, epoch)
    inputs, codecs = model_inputs(plan, blueprint.model, free_rows=rows > 1)
    shaped, paths = fleet.emulation()
    members = fleet.members()
    source = blueprint.spec.source
    used = {node for stage in plan.stages for node in crew_of(stage)}
    there = without(plan, used - set(members))
    replicas = {stage.name: stage.replicas for stage in there.stages if stage.replicas}
    return EpochRoutes(
        deployment=name,
        epoch=epoch,
        source=source,
        stages=tuple((stage.name, fleet.reach(stage.node, name, epoch)) for stage in there.stages),
        inputs=inputs,
        codecs=codecs,
        outputs=blueprint.model.graph.outputs,
        watched=tuple(
            members[link.target].found.reach
            for link in blueprint.spec.topology.links
            if link.source == source and link.target not in used and link.target in members
        ),
        shaped=shaped,
        paths=paths,
        pace=pace,
        replicas={stage: tuple(fleet.reach(node, name, epoch) for node in nodes) for stage, nodes in replicas.items()},
        seconds={stage.name: stage.seconds for stage in plan.stages} if replicas else {},
        version=version,
        plan=plan_id(plan),
        made=tensor_specs(blueprint.model, blueprint.model.graph.outputs, free_rows=rows > 1, ragged=ragged),
        rows=rows,
        preferred=batching.preferred,
        max_delay_s=batching.max_delay_s,
        queue_limit=batching.queue_limit,
        pads={entry.name: entry.pad for entry in blueprint.spec.inputs if entry.pad is not None},
        sequence=stateful_of(blueprint.model, blueprint.spec.sequence, free_rows=rows > 1),
        lengths={} if ragged is None else lengths_of(blueprint.spec),
        entries=entries_of(plan),
    )


def rows_taken(fleet: Fleet, plan: Plan, name: str, epoch: int) -> int:
    """How many rows a request may have wherever it goes; 1 if a stage takes no other number than the model's own."""
    return min(fleet.rows(node, name, epoch, stage.name) for stage in plan.stages for node in crew_of(stage))


def ragged_taken(fleet: Fleet, model: Model, plan: Plan, name: str, epoch: int) -> Ragged | None:
    """What of the model depends on its length; None where it has one, or a stage takes no other than the largest."""
    every = all(fleet.takes_lengths(node, name, epoch, stage.name) for stage in plan.stages for node in crew_of(stage))
    return attached(model.proto) if every else None


def lengths_of(spec: DeploymentSpec) -> Lengths:
    """Of the inputs that have several."""
    return {entry.name: entry.lengths for entry in spec.inputs if entry.lengths}
