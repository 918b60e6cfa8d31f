"""What the control core tells people: its knowledge as plain values. It changes nothing."""

from typing import Any

from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge


def status(known: Knowledge) -> dict[str, Any]:
    """Deployments by name, the links as observed, the nodes lost."""
    return {
        "deployments": {name: _deployment(deployment) for name, deployment in known.deployments.items()},
        "links": [
            {
                "from": link.source,
                "to": link.target,
                "bytes_per_s": link.bytes_per_s,
                "propagation_s": link.propagation_s,
                "std": link.std,
            }
            for link in known.links.values()
        ],
        "lost_nodes": list(known.lost_nodes),
    }


def _deployment(deployment: DeploymentRecord) -> dict[str, Any]:
    active = deployment.epoch(deployment.active)
    gone = active.lost_stage if active is not None else None
    return {
        "state": deployment.story.state,
        "epoch": deployment.active,
        "reason": deployment.reason,
        "renewal": deployment.renewal,
        "searching": deployment.asked.reason if deployment.asked is not None else None,
        "latency_s": active.plan.predicted.latency_s if active is not None else None,
        "lost_stage": None if gone is None else f"{gone.name} on {gone.node}: {gone.error or 'node lost'}",
        "epochs": [_epoch(epoch) for epoch in deployment.epochs],
        "routers": list(deployment.routers),
        "known_plans": 0 if deployment.plan_map is None else len(deployment.plan_map.plans),
        "story": list(deployment.story.told()),
    }


def _epoch(epoch: EpochRecord) -> dict[str, Any]:
    backends = {stage.name: stage.backend for stage in epoch.plan.stages}
    return {
        "epoch": epoch.number,
        "state": epoch.story.state,
        "standby": epoch.standby,
        "reason": epoch.reason,
        "stages": [
            {
                "stage": stage.name,
                "node": stage.node,
                "backend": backends[stage.name],
                "state": stage.story.state,
                "load_s": stage.load_s,
                "error": stage.error or None,
            }
            for stage in epoch.stages
        ],
        "routers": list(epoch.routers),
    }
