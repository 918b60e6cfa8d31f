"""Which plans of the map should stand by beside the one that runs: what would be wanted after a loss or a change.

First, for each node that computes, the best plan without it, and the best that needs no link at all; then what would be
best if a link became much slower or faster. Those that fit into the room are wished for. It decides nothing about
epochs: the control core compares.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from orchestrator.knowledge import DeploymentRecord
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import KnownPlan, PlanMap, fingerprint, rates_of, weights_by_node
from partitioner.plan import Plan
from partitioner.topology import NodeId
from policies.standby import affordable

MOST = 4  # epochs that stand by
FACTORS = (0.25, 4.0)  # of a link's goodput: the changes that are prepared for


def standbys(
    deployment: DeploymentRecord,
    active: Plan,
    links: Sequence[LinkEstimate],
    lost: Sequence[NodeId],
    *,
    kept: Plan | None = None,
) -> tuple[Plan, ...]:
    """The plans to hold ready beside the active one, most wanted first; none without a map or room.

    `kept` is what of an earlier version stays loaded: it has its part of the room.
    """
    plan_map = deployment.plan_map
    if plan_map is None or not deployment.room:
        return ()
    running, wishes = fingerprint(active), []
    for known in _wishes(plan_map, active, links, lost):
        named = fingerprint(known.plan)
        if named != running and named not in deployment.unfit and known not in wishes:
            wishes.append(known)
    spent = {} if kept is None else weights_by_node(kept)
    room = {node: nbytes - spent.get(node, 0) for node, nbytes in _room_bytes(deployment, active).items()}
    granted = affordable([weights_by_node(known.plan) for known in wishes], room_bytes=room, most=MOST)
    return tuple(wishes[index].plan for index in granted)


def is_affordable(deployment: DeploymentRecord, *plans: Plan) -> bool:
    """Whether there is room for all these plans' weights beside those of the epoch in use."""
    active = deployment.epoch(deployment.active)
    room = {} if active is None else _room_bytes(deployment, active.plan)
    wishes = [weights_by_node(plan) for plan in plans]
    return len(affordable(wishes, room_bytes=room, most=len(wishes))) == len(wishes)


def _room_bytes(deployment: DeploymentRecord, active: Plan) -> dict[NodeId, int]:
    """What may stand by on each node beside the active plan."""
    held = weights_by_node(active)
    return {
        one.node: one.standby_bytes
        if one.memory_bytes is None
        else min(one.standby_bytes, one.memory_bytes - held.get(one.node, 0))
        for one in deployment.room
    }


def _wishes(
    plan_map: PlanMap, active: Plan, links: Sequence[LinkEstimate], lost: Sequence[NodeId]
) -> Iterator[KnownPlan]:
    rates = rates_of(links)
    used = list(dict.fromkeys(stage.node for stage in active.stages))
    for node in reversed(used):
        yield from _found(plan_map.best(rates, without=(*lost, node)))
    local = [
        known for known in plan_map.plans if not known.form.carried and not any(node in lost for node in known.nodes)
    ]
    yield from _found(min(local, key=lambda known: known.form.fixed_s, default=None))
    for one in plan_map.ranges:
        link = rates.get((one.source, one.target))
        for factor in FACTORS if link is not None else ():
            assert link is not None
            changed = replace(link, bytes_per_s=link.bytes_per_s * factor)
            yield from _found(plan_map.best({**rates, link.ends: changed}, without=lost))


def _found(known: KnownPlan | None) -> Iterable[KnownPlan]:
    return () if known is None else (known,)
