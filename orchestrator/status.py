"""What the control core tells people: its knowledge as plain values. It changes nothing."""

from typing import Any

from orchestrator.knowledge import DeploymentRecord, EpochRecord, Knowledge, TrialRecord
from orchestrator.rollouts import verdict
from orchestrator.versions import VersionRecord
from policies.rollout import Tally, merged, quantile_s


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
        "loads": [
            {
                "stage": load.stage,
                "node": load.node,
                "utilisation": load.utilisation,
                "arrivals_per_s": load.arrivals_per_s,
                "service_s": load.service_s,
                "queued": load.queued,
                "at_s": load.at_s,
            }
            for load in deployment.loads
            if load.epoch == deployment.active
        ],
        "story": list(deployment.story.told()),
        "version": deployment.version,
        "is_in_force": active is not None and active.version == deployment.version,
        "rollout": None if deployment.trial is None else _trial(deployment.trial),
        "versions": [_version(deployment, version) for version in deployment.versions],
    }


def _version(deployment: DeploymentRecord, version: VersionRecord) -> dict[str, Any]:
    kept = deployment.epoch(deployment.kept)
    is_kept = kept is not None and kept.version == version.number and kept.story.state == "standby"
    return {
        "version": version.number,
        "spec": version.spec,
        "state": version.state,
        "is_loaded": is_kept or version.number == deployment.version,
        "steps": [{"at_s": step.at_s, "state": step.state, "why": step.why} for step in version.steps],
    }


def _trial(trial: TrialRecord) -> dict[str, Any]:
    found = verdict(trial, trial.heard_s)
    return {
        "version": trial.version,
        "epoch": trial.epoch,
        "mode": trial.terms.mode,
        "weight": trial.terms.weights[trial.rung] if trial.step else 0.0,
        "verdict": type(found).__name__.lower(),
        "reason": found.reason if trial.step else "it is being brought up",
        "old": _tally(merged(tally.old for tally in trial.tallies)),
        "new": _tally(merged(tally.new for tally in trial.tallies)),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "answered": tally.answered,
        "failed": dict(tally.failed),
        "median_s": quantile_s(tally, 0.5),
        "p95_s": quantile_s(tally, 0.95),
        "compared": tally.compared,
        "drift": tally.drift,
        "disagreement": tally.disagreement,
    }


def _epoch(epoch: EpochRecord) -> dict[str, Any]:
    backends = {stage.name: stage.backend for stage in epoch.plan.stages}
    return {
        "epoch": epoch.number,
        "state": epoch.story.state,
        "version": epoch.version,
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
