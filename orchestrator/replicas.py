"""A plan's replicas: which nodes share each stage, and the same plan with more or fewer of them.

Pure values. It chooses no nodes (autoscaling.py, the solvers) and routes nothing (replicas_routing.py).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from orchestrator.knowledge import EpochRecord, StageRecord
from partitioner.plan import Plan, Stage
from partitioner.topology import NodeId

Crews = tuple[tuple[NodeId, ...], ...]  # of each stage in a request's order


def crew_of(stage: Stage) -> tuple[NodeId, ...]:
    """The nodes that run a stage, its own first."""
    return (stage.node, *stage.replicas)


def crews_of(plan: Plan) -> Crews:
    """The nodes of each stage, in a request's order."""
    return tuple(crew_of(stage) for stage in plan.stages)


def has_replicas(plan: Plan) -> bool:
    """Whether any stage is to run on several nodes."""
    return any(stage.replicas for stage in plan.stages)


def same_crews(one: Plan, other: Plan) -> bool:
    """Whether each stage runs on the same nodes in both plans, whichever comes first."""
    return [set(crew) for crew in crews_of(one)] == [set(crew) for crew in crews_of(other)]


def alike(one: Plan, other: Plan) -> bool:
    """Whether both cut the model alike for the same engines, with a node in common for every stage.

    Without replicas that is plan_map.same_work.
    """
    return _cut(one) == _cut(other) and all(
        not set(mine).isdisjoint(theirs) for mine, theirs in zip(crews_of(one), crews_of(other), strict=True)
    )


def _cut(plan: Plan) -> tuple[object, ...]:
    stages = tuple((stage.backend, stage.precision, stage.operators) for stage in plan.stages)
    return stages, tuple((crossing.tensors, crossing.codecs) for crossing in plan.crossings)


def bare(plan: Plan) -> Plan:
    """The plan with each stage on its own node alone."""
    return plan if not has_replicas(plan) else replace(plan, stages=tuple(replace(s, replicas=()) for s in plan.stages))


def manned(plan: Plan, crews: Mapping[str, tuple[NodeId, ...]]) -> Plan:
    """The plan with these nodes for the stages named; the first of each is the stage's own, messages go there."""
    first = {name: nodes[0] for name, nodes in crews.items()}
    stages = tuple(
        replace(stage, node=crews[stage.name][0], replicas=crews[stage.name][1:]) if stage.name in crews else stage
        for stage in plan.stages
    )
    crossings = tuple(
        replace(one, source=first.get(one.sender, one.source), target=first.get(one.receiver, one.target))
        for one in plan.crossings
    )
    return replace(plan, stages=stages, crossings=crossings)


def without(plan: Plan, gone: Collection[NodeId]) -> Plan:
    """The plan without the replicas on these nodes; a stage of which none would be left stays as it is."""
    left = {s.name: tuple(node for node in crew_of(s) if node not in gone) for s in plan.stages if s.replicas}
    fewer = {s.name: left[s.name] for s in plan.stages if left.get(s.name) and left[s.name] != crew_of(s)}
    return manned(plan, fewer) if fewer else plan


def lost_replicas(epoch: EpochRecord) -> Iterator[StageRecord]:
    """What is gone of stages that other nodes still run."""
    left = {stage.name for stage in epoch.stages if stage.story.state != "gone"}
    return (stage for stage in epoch.stages if stage.story.state == "gone" and stage.name in left)
