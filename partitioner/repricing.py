"""A known plan's price under a problem other than the one that it was found for: other links, times or load."""

from dataclasses import replace

from partitioner.cost import price_stages
from partitioner.errors import InvalidProblem
from partitioner.plan import Plan
from partitioner.stages import codecs_of, stages_of
from partitioner.tables import Prices


def repriced(prices: Prices, plan: Plan) -> Plan:
    """The same stages under the same codecs; certificate and reason stay what they were.

    `prices` are the other problem's (`price_list`), made once for many plans. InvalidProblem if it lacks a site of the
    plan, or where stages have replicas, which no evaluation knows.
    """
    for stage in plan.stages:
        if stage.replicas:
            raise InvalidProblem(f"{plan.model}: stage {stage.name} has replicas; it cannot be priced anew")
    anew = price_stages(prices, stages_of(prices.problem, plan), codecs_of(plan))
    return replace(anew, certificate=plan.certificate, unsplit_s=plan.unsplit_s, reason=plan.reason)


def placement(plan: Plan) -> object:
    """What tells two plans apart: where every operator runs and how every tensor is coded. It can be a key."""
    stages = tuple((one.node, one.replicas, one.backend, one.precision, one.operators) for one in plan.stages)
    coded = sorted({pair for one in plan.crossings for pair in zip(one.tensors, one.codecs, strict=True)})
    return stages, tuple(coded)
