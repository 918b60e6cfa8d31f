"""When a running epoch that has lost a replica, but no stage, is to be made whole again, or planned anew.

An epoch's replicas only become fewer: what is lost is brought back by the next epoch, loaded beside the one that goes
on answering. Pure rules; the control core gives the instructions.
"""

from collections.abc import Collection

from orchestrator.knowledge import DeploymentRecord, EpochRecord, StageRecord
from orchestrator.replicas import crew_of, lost_replicas
from partitioner.plan import Plan
from partitioner.topology import NodeId

PATIENCE_S = 10.0  # a worker that died is back by then, or its node is planned without


def why_ask(deployment: DeploymentRecord, active: EpochRecord, lost: Collection[NodeId], now_s: float) -> str | None:
    """Why a plan is wanted although every stage can answer; None where none is, or it was asked for since."""
    for stage in lost_replicas(active):
        gone_s = stage.story.steps[-1].at_s
        if deployment.asked_at_s >= gone_s:
            continue
        why = f"a replica of stage {stage.name} on {stage.node} is gone: {stage.error or 'lost'}"
        if stage.node not in lost and may_run_again(stage):
            return why
        if now_s - gone_s >= PATIENCE_S:
            return f"{why}, {PATIENCE_S:g} s ago"
    return None


def mended_by(active: EpochRecord, plan: Plan, lost: Collection[NodeId]) -> str | None:
    """Why to bring up a plan that does what the active one does: it has a replica that could run and does not."""
    for running, wanted in zip(active.plan.stages, plan.stages, strict=True):
        records = {stage.node: stage for stage in active.stages if stage.name == running.name}
        for node in crew_of(wanted):
            held = records.get(node)
            is_missing = held is None or (held.story.state == "gone" and may_run_again(held))
            if is_missing and node not in lost:
                return f"{node} can run stage {wanted.name} {'again' if held is not None else 'too'}"
    return None


def may_run_again(stage: StageRecord) -> bool:
    """Whether there is hope for it: it ran, or was lost with its node; one that could not be loaded is left alone."""
    return not stage.error or any(step.state == "ready" for step in stage.story.steps)
