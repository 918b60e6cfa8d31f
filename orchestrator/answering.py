"""The answer to the control core's question for a plan, as an event. It runs solvers, so it belongs to shells."""

from orchestrator.blueprint import Blueprint
from orchestrator.errors import OrchestratorError
from orchestrator.events import PlanFound, PlanNotFound
from orchestrator.instructions import FindPlan
from orchestrator.replicas import without
from partitioner.errors import InvalidProblem, PartitionerError
from partitioner.plan import Infeasible, Plan


def found(blueprint: Blueprint, wanted: FindPlan, running: Plan | None) -> PlanFound | PlanNotFound:
    """The best plan as asked, beside the price of the `running` one under the same links, if there is one."""
    name = wanted.deployment
    try:
        plan = blueprint.find(wanted.links, wanted.excluded)
    except (OrchestratorError, PartitionerError) as error:
        return PlanNotFound(deployment=name, ticket=wanted.ticket, reason=str(error))
    if isinstance(plan, Infeasible):
        reason = f"no plan fits: {plan.constraint}: {plan.detail}"
        return PlanNotFound(deployment=name, ticket=wanted.ticket, reason=reason)
    current = None if wanted.version else _price(blueprint, wanted, running)
    return PlanFound(deployment=name, ticket=wanted.ticket, plan=plan, current=current)


def _price(blueprint: Blueprint, wanted: FindPlan, running: Plan | None) -> float | None:
    plan = None if running is None else without(running, wanted.excluded)
    if plan is None or any(stage.node in wanted.excluded for stage in plan.stages):
        return None
    try:
        return blueprint.price(plan, wanted.links)
    except InvalidProblem:
        return None  # the spec or the model has changed since
