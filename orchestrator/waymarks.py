"""From a plan and the workers that run it to what routers must know of the epoch."""

from orchestrator.artifacts import model_inputs, stateful_of, tensor_specs
from orchestrator.batching import Batching
from orchestrator.blueprint import Blueprint
from orchestrator.detour import Pace
from orchestrator.fleet import Fleet
from orchestrator.plan_json import plan_id
from orchestrator.replicas import crew_of, without
from orchestrator.routes import EpochRoutes
from partitioner.plan import Plan


def routes_of(
    fleet: Fleet, blueprint: Blueprint, plan: Plan, name: str, epoch: int, version: int = 0, pace: Pace | None = None
) -> EpochRoutes:
    """The epoch's stages with their workers' addresses, what goes in and out, and which other nodes to watch.

    ClusterError if a stage has no worker on any of its nodes.
    """
    rows, batching = rows_taken(fleet, plan, name, epoch), blueprint.spec.batching or Batching()
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
        made=tensor_specs(blueprint.model, blueprint.model.graph.outputs, free_rows=rows > 1),
        rows=rows,
        preferred=batching.preferred,
        max_delay_s=batching.max_delay_s,
        queue_limit=batching.queue_limit,
        pads={entry.name: entry.pad for entry in blueprint.spec.inputs if entry.pad is not None},
        sequence=stateful_of(blueprint.model, blueprint.spec.sequence, free_rows=rows > 1),
    )


def rows_taken(fleet: Fleet, plan: Plan, name: str, epoch: int) -> int:
    """How many rows a request may have wherever it goes; 1 if a stage takes no other number than the model's own."""
    return min(fleet.rows(node, name, epoch, stage.name) for stage in plan.stages for node in crew_of(stage))
