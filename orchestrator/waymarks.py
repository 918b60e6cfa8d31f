"""From a plan and the workers that run it to what routers must know of the epoch."""

from orchestrator.artifacts import model_inputs
from orchestrator.blueprint import Blueprint
from orchestrator.detour import Pace
from orchestrator.fleet import Fleet
from orchestrator.routes import EpochRoutes
from partitioner.plan import Plan


def routes_of(
    fleet: Fleet, blueprint: Blueprint, plan: Plan, name: str, epoch: int, pace: Pace | None = None
) -> EpochRoutes:
    """The epoch's stages with their workers' addresses, what goes in and out, and which other nodes to watch.

    ClusterError if a stage's node has no worker.
    """
    inputs, codecs = model_inputs(plan, blueprint.model)
    shaped, paths = fleet.emulation()
    members = fleet.members()
    source = blueprint.spec.source
    used = {stage.node for stage in plan.stages}
    return EpochRoutes(
        deployment=name,
        epoch=epoch,
        source=source,
        stages=tuple((stage.name, fleet.member(stage.node).found.reach) for stage in plan.stages),
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
    )
