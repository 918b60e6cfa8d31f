"""What a pipeline's joint plan is compared with: each branch whole on one node, and everything at the cloud."""

from collections.abc import Sequence

from partitioner.constraints import violation
from partitioner.cost import evaluate
from partitioner.errors import InvalidProblem
from partitioner.plan import ROUTER, Plan
from partitioner.problem import Problem, Site
from partitioner.search.branches import placed_so, whole_branches

MOST = 10_000  # placements tried


def best_whole(problem: Problem) -> Plan:
    """The fastest of all placements of whole branches (partitioner/search/branches.py), by trying them all."""
    tried = (_evaluated(problem, sites) for sites in whole_branches(problem, MOST))
    return min((plan for plan in tried if plan is not None), key=lambda plan: plan.predicted.latency_s)


def all_at(problem: Problem, node: str) -> Plan:
    """Everything at a node, but for what sensors hold."""
    site = next(site for site in problem.sites if site.node == node)
    plan = _evaluated(problem, placed_so(problem, [site] * len(problem.graph.operators)))
    if plan is None:
        raise SystemExit(f"{problem.graph.name}: not everything may be at {node}")
    return plan


def _evaluated(problem: Problem, sites: Sequence[Site]) -> Plan | None:
    """The plan; None where no link leads, no engine has an operator, or it is more than the problem allows."""
    try:
        plan = evaluate(problem, sites)
    except InvalidProblem:
        return None
    tier = {node.name: node.tier for node in problem.topology.nodes}
    inner = [one for one in plan.crossings if ROUTER not in (one.sender, one.receiver)]
    comes_down = problem.forward_only and any(tier[one.source] > tier[one.target] for one in inner)
    return None if comes_down or violation(problem, plan) is not None else plan
