"""How many nodes share each stage of a deployment that may scale: what workers told, and the plan that follows.

Only for specs with `replicas`. Pure: policies/autoscale.py says how many, this file what it is told and on which nodes;
the control core brings the plan up as the next epoch, beside the one that runs.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from orchestrator.events import NodeRoom, StageLoad
from orchestrator.knowledge import DeploymentRecord, EpochRecord, LoadRecord, WantRecord
from orchestrator.plan_map import weights_by_node
from orchestrator.replicas import crew_of, manned
from partitioner.plan import Plan, Stage
from partitioner.topology import NodeId
from policies.autoscale import Scale, autoscale

WINDOW_S = 30.0  # fewer replicas only after so long without a want for them, and after the last change
STALE_S = 15.0  # what was told longer ago than this says nothing: idle workers tell every ten seconds


@dataclass(frozen=True, slots=True)
class Load:
    """What a stage's replicas do together; `queued` waits beyond those that are being served."""

    utilisation: float
    arrivals_per_s: float
    service_s: float
    queued: int


def may_scale(deployment: DeploymentRecord) -> bool:
    """Whether its spec asks for replicas by load."""
    return any(room.most_replicas > 1 for room in deployment.room)


def load_of(deployments: Mapping[str, DeploymentRecord], node: NodeId, told: Mapping[str, Any]) -> StageLoad | None:
    """A worker's word on a stage as an event (nodes/stage_load.py); None where nobody goes by it."""
    deployment = deployments.get(told["deployment"])
    if deployment is None or not may_scale(deployment) or told["epoch"] != deployment.active:
        return None
    return StageLoad(node=node, **{item.name: told[item.name] for item in fields(StageLoad) if item.name != "node"})


def note_load(deployment: DeploymentRecord, told: StageLoad, now_s: float) -> None:
    """Take in what a worker told of a stage of the epoch in use; anything else is late."""
    active = deployment.epoch(deployment.active)
    stage = None if active is None else next((one for one in active.plan.stages if one.name == told.stage), None)
    if active is None or stage is None or told.epoch != active.number or not may_scale(deployment):
        return
    others = [one for one in deployment.loads if (one.stage, one.node) != (told.stage, told.node)]
    new = LoadRecord(
        stage=told.stage,
        node=told.node,
        epoch=told.epoch,
        at_s=now_s,
        utilisation=min(told.busy_s / told.interval_s, 1.0),
        arrivals_per_s=told.arrived / told.interval_s,
        service_s=told.busy_s / told.served if told.served else _service_s(deployment, told),
        queued=told.queued,
    )
    deployment.loads = [*(one for one in others if one.epoch == told.epoch), new]
    scale = _scale(deployment, active, stage, now_s)
    recent = [want for want in deployment.wants if want.at_s > now_s - WINDOW_S]
    more = [] if scale is None else [WantRecord(stage=told.stage, at_s=now_s, replicas=scale.wanted)]
    deployment.wants = [*recent, *more]


def rescaled(
    deployment: DeploymentRecord, active: EpochRecord, lost: Collection[NodeId], now_s: float
) -> tuple[Plan, str] | None:
    """The running plan with as many replicas as its load wants, and why; None while it has them, or can't have them."""
    for stage in active.plan.stages if may_scale(deployment) else ():
        scale = _scale(deployment, active, stage, now_s)
        live = _live(active, stage)
        if scale is None or scale.to == len(live):
            continue
        free = _free(deployment, stage, live, lost)
        crew = (*live, *free)[: scale.to]
        if len(crew) != len(live):
            on = ", ".join(crew)
            return manned(active.plan, {stage.name: crew}), f"autoscale: stage {stage.name} to {on}: {scale.reason}"
    return None


def crewed(deployment: DeploymentRecord, active: EpochRecord | None, plan: Plan, lost: Collection[NodeId]) -> Plan:
    """A plan as it was found, with as many replicas for the stages of a node as that node's stages have now."""
    if active is None or not may_scale(deployment):
        return plan
    now: dict[NodeId, tuple[NodeId, ...]] = {}
    for stage in active.plan.stages:
        live = _live(active, stage)
        for node in live:
            now[node] = max(now.get(node, ()), live, key=len)
    crews = {}
    for stage in plan.stages:
        held = now.get(stage.node, ())
        others = [node for node in (*held, *_free(deployment, stage, (stage.node, *held), lost)) if node != stage.node]
        crews[stage.name] = (stage.node, *others)[: min(max(len(held), 1), _most(deployment, stage))]
    return manned(plan, {name: crew for name, crew in crews.items() if len(crew) > 1})


def _scale(deployment: DeploymentRecord, active: EpochRecord, stage: Stage, now_s: float) -> Scale | None:
    """What the policy says of a stage; None where it may not scale, or nothing is known of its load."""
    live, most = _live(active, stage), _most(deployment, stage)
    load = _load(deployment, stage, live, now_s)
    if most == 1 or load is None or not live:
        return None
    return autoscale(
        replicas=len(live),
        utilisation=load.utilisation,
        arrivals_per_s=load.arrivals_per_s,
        service_s=load.service_s,
        queued=load.queued,
        recent_wanted=[
            want.replicas for want in deployment.wants if want.stage == stage.name and want.at_s > now_s - WINDOW_S
        ],
        scaled_s_ago=now_s - deployment.switched_at_s,
        most=most,
        down_after_s=WINDOW_S,
    )


def _load(deployment: DeploymentRecord, stage: Stage, live: Collection[NodeId], now_s: float) -> Load | None:
    told = [one for one in deployment.loads if one.stage == stage.name and one.node in live]
    if not told or max(one.at_s for one in told) <= now_s - STALE_S:
        return None
    return Load(
        utilisation=sum(one.utilisation for one in told) / len(live),
        arrivals_per_s=sum(one.arrivals_per_s for one in told),
        service_s=max(one.service_s for one in told),
        queued=sum(one.queued for one in told),
    )


def _service_s(deployment: DeploymentRecord, told: StageLoad) -> float:
    """What a request took there when one was served last."""
    known = (one.service_s for one in deployment.loads if (one.stage, one.node) == (told.stage, told.node))
    return next(known, 0.0)


def _live(active: EpochRecord, stage: Stage) -> tuple[NodeId, ...]:
    """The nodes that run a stage now, in the plan's order."""
    here = [one.node for one in active.stages if one.name == stage.name and one.story.state == "ready"]
    return tuple(node for node in crew_of(stage) if node in here)


def _room(deployment: DeploymentRecord, stage: Stage) -> Iterator[NodeRoom]:
    return (room for room in deployment.room if room.node in crew_of(stage))


def _most(deployment: DeploymentRecord, stage: Stage) -> int:
    return max((room.most_replicas for room in _room(deployment, stage) if room.sharers), default=1)


def _free(
    deployment: DeploymentRecord, stage: Stage, taken: Collection[NodeId], lost: Collection[NodeId]
) -> tuple[NodeId, ...]:
    """Further nodes that have the stage's engine and room for its weights, in the topology's order."""
    sharers = {node for room in _room(deployment, stage) for backend, node in room.sharers if backend == stage.backend}
    held: dict[NodeId, int] = {}
    for epoch in deployment.epochs:
        for node, nbytes in weights_by_node(epoch.plan).items():
            held[node] = held.get(node, 0) + nbytes
    fit = []
    for room in deployment.room:
        is_free = room.node in sharers and room.node not in (*taken, *lost)
        need = held.get(room.node, 0) + stage.weights_bytes
        has_room = room.memory_bytes is None or need <= room.memory_bytes
        if is_free and has_room and unfit_name(stage.backend, room.node) not in deployment.unfit_replicas:
            fit.append(room.node)
    return tuple(fit)


def unfit_name(backend: str, node: NodeId) -> str:
    """How a node is remembered that could not load a replica for this engine."""
    return f"{backend} on {node}"


def is_of(unfit: str, node: NodeId) -> bool:
    """Whether what `unfit_name` made speaks of this node."""
    return unfit.endswith(f" on {node}")
