"""Why a plan is split or not, and which constraint leaves none: in one sentence, from figures already priced."""

from collections.abc import Sequence
from itertools import groupby, pairwise

import networkx as nx
import numpy as np

from partitioner.constraints import violation
from partitioner.cost import evaluate
from partitioner.errors import InvalidProblem
from partitioner.figures import score
from partitioner.plan import Infeasible, Plan, told
from partitioner.problem import Problem, Site
from partitioner.tables import Prices
from partitioner.topology import NodeId


def unsplit_plans(problem: Problem, candidates: Sequence[Plan]) -> dict[NodeId, Plan | None]:
    """The fastest unsplit plan of each node of the topology that breaks no limit, among the candidates."""
    found: dict[NodeId, Plan | None] = {node.name: None for node in problem.topology.nodes}
    for plan in sorted(candidates, key=lambda plan: plan.predicted.latency_s):
        node = plan.stages[0].node
        if not plan.is_split and found[node] is None:
            found[node] = plan
    return found


def reason(problem: Problem, chosen: Plan, candidates: Sequence[Plan], *, all_seen: bool = True) -> str:
    """One sentence: the plan chosen against the best one of the other kind, by the problem's objective.

    Not `all_seen`: of some kinds of plans it is only known that they are no better.
    """
    objective = problem.objective

    def price(plan: Plan) -> float:
        value = score(plan.predicted, objective)
        return float("inf") if value is None else value

    verb = "gives" if objective == "throughput" else "takes"
    best = min((plan for plan in candidates if plan.is_split != chosen.is_split), key=price, default=None)
    taken = f"{_where(chosen)} {verb} {told(price(chosen), objective)}"
    other = "" if best is None else f"would {verb[:-1]} {told(price(best), objective)}"
    if chosen.is_split:
        if best is None and not all_seen:
            return f"split: {taken}; no single node that may run everything does better"
        if best is None:
            return f"split: {taken}; no single node may run everything ({_barrier(problem)})"
        return f"split: {taken}; all on {_where(best)} {other}"
    if best is None:
        sites = len({site.node for site in problem.sites})
        why = "only one node may compute" if sites == 1 else "no split is allowed, or none that keeps every stage busy"
        why = why if all_seen else "no split does better"
        return f"not split: all on {taken}; {why}"
    crossing_s = sum(crossing.seconds for crossing in best.crossings)
    of_it = f", of which {told(crossing_s, objective)} is the crossing" if objective == "latency" else ""
    return f"not split: all on {taken}; the best split found ({_where(best)}) {other}{of_it}"


def why_none(prices: Prices) -> Infeasible:
    """The constraint that leaves no plan: an operator without a place, a way, privacy, pins, or memory."""
    problem = prices.problem
    return _no_engine(prices) or _no_way(problem) or _no_private_place(prices) or _no_memory(problem)


def why_apart(prices: Prices) -> Infeasible | None:
    """A colocation group that has no node in common, with all that lies on the ways between its operators."""
    problem = prices.problem
    index = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(index)))
    for one in problem.graph.activations.values():
        graph.add_edges_from((one.producer, reader) for reader in one.consumers if one.producer is not None)
    for group in problem.together:  # a circle, so that what one reads from another through a third comes along
        ring = [index[name] for name in group]
        graph.add_edges_from((*pairwise(ring), (ring[-1], ring[0])) if len(ring) > 1 else ())
    for ring in nx.strongly_connected_components(graph):
        members = sorted(ring)
        names = [problem.graph.operators[i].name for i in members]
        if len(members) < 2 or any(_can_hold(prices, site, members) for site in problem.sites):
            continue
        pins = ", ".join(f"{name} to {problem.pinned[name]}" for name in names if name in problem.pinned)
        why = f"of them {pins} is pinned" if pins else "no node's engine runs them all"
        named = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        return Infeasible(constraint="together", detail=f"{named} must share a stage, but {why}")
    return None


def _can_hold(prices: Prices, site: Site, members: Sequence[int]) -> bool:
    problem = prices.problem
    names = [problem.graph.operators[i].name for i in members]
    runs = bool(np.isfinite(prices.operator_s[site][list(members)]).all())
    return runs and all(problem.pinned.get(name, site.node) == site.node for name in names)


def _no_engine(prices: Prices) -> Infeasible | None:
    problem = prices.problem
    for index, operator in enumerate(problem.graph.operators):
        if all(seconds[index] == float("inf") for seconds in prices.operator_s.values()):
            tried = ", ".join(f"{site.engine.backend} on {site.node}" for site in problem.sites)
            detail = f"operator {operator.name!r} ({operator.op_type}) runs on none of: {tried}"
            return Infeasible(constraint="operators", detail=detail)
        node = problem.pinned.get(operator.name)
        places = [site for site in problem.sites if site.node == node]
        if node is not None and all(prices.operator_s[site][index] == float("inf") for site in places):
            detail = f"operator {operator.name!r} is pinned to {node}, where no engine runs it"
            return Infeasible(constraint="operators", detail=detail)
    return None


def _no_way(problem: Problem) -> Infeasible | None:
    topology, targets = problem.topology, sorted(set(problem.outputs_to.values()))
    nodes = sorted({site.node for site in problem.sites})
    if not any(topology.path(problem.source, node) for node in nodes):
        detail = f"no link leads from {problem.source} to any of {', '.join(nodes)}"
        return Infeasible(constraint="reachability", detail=detail)
    for target in targets:
        if not any(topology.path(node, target) for node in nodes):
            detail = f"no link leads back to {target} from any of {', '.join(nodes)}"
            return Infeasible(constraint="reachability", detail=detail)
    return None


def _no_private_place(prices: Prices) -> Infeasible | None:
    problem = prices.problem
    for name in problem.kept:
        where = problem.home_of(name) if name in problem.private else f"tiers up to {problem.within[name].name.lower()}"
        here = [prices.operator_s[site] for site in problem.sites if problem.may_be_on(name, site.node)]
        one = problem.graph.activations[name]
        touching = [*one.consumers, *([] if one.producer is None else [one.producer])]
        for index in touching:
            operator = problem.graph.operators[index].name
            if operator in problem.pinned and not problem.may_be_on(name, problem.pinned[operator]):
                detail = f"operator {operator!r} is pinned elsewhere, but {name!r} is private to {where}"
                return Infeasible(constraint="privacy", detail=detail)
            if all(seconds[index] == float("inf") for seconds in here):
                detail = f"{name!r} is private to {where}, where no engine runs operator {operator!r}"
                return Infeasible(constraint="privacy", detail=detail)
        target = problem.outputs_to.get(name)
        if one.producer is not None and target is not None and not problem.may_be_on(name, target):
            detail = f"output {name!r} is private to {where}, but is asked for at {target}"
            return Infeasible(constraint="privacy", detail=detail)
    return None


def _no_memory(problem: Problem) -> Infeasible:
    graph = problem.graph
    rooms = [problem.topology.node(site.node).memory_bytes for site in problem.sites]
    room = max((one for one in rooms if one is not None), default=0)
    for index, operator in enumerate(graph.operators if None not in rooms else ()):
        if graph.weights_of([index]) > room:
            detail = f"operator {operator.name!r} alone has {graph.weights_of([index])} bytes of weights; no node holds"
            return Infeasible(constraint="memory", detail=f"{detail} more than {room}")
    limits = {site.node: problem.topology.node(site.node).memory_bytes for site in problem.sites}
    total = sum(problem.graph.weights_bytes.values())
    known = {node: limit for node, limit in limits.items() if limit is not None and limit < total}
    if not known:
        order = "the tiers' order" if problem.forward_only else "the number of stages"
        kept = f"pins, privacy and {order}" if problem.pinned or problem.kept else order
        return Infeasible(constraint="operators", detail=f"{kept} contradict each other: no row of sites keeps all")
    holding = ", ".join(f"{node} holds {limit}" for node, limit in sorted(known.items()))
    return Infeasible(
        constraint="memory", detail=f"the weights take {total} bytes and no allowed plan that fits was found: {holding}"
    )


def _barrier(problem: Problem) -> str:
    """What keeps the likeliest single node from running everything, as the constraints tell it."""
    broken = set()
    for site in problem.sites:
        try:
            found = violation(problem, evaluate(problem, [site] * len(problem.graph.operators)))
        except InvalidProblem:
            broken.add("operators")
        else:
            broken |= {found.constraint} if found is not None else set()
    return ", ".join(sorted(broken)) or "links"


def _where(plan: Plan) -> str:
    return " | ".join(node for node, _ in groupby(stage.node for stage in plan.stages))
