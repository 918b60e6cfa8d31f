"""Whether a question about energy or money can be asked, and how limits and what is possible are told apart."""

from partitioner.errors import InvalidProblem
from partitioner.problem import Problem

OBJECTIVE_OF = {
    "latency_s": "latency",
    "throughput_per_s": "throughput",
    "energy_j": "energy",
    "cost_usd": "cost",
    "error": "error",
}


def check_question(problem: Problem) -> None:
    """InvalidProblem if energy or money is asked about and a node or link has no figure for it."""
    limits = problem.limits
    _check_combination(problem)
    energy = problem.objective == "energy" or limits.energy_j is not None
    money = problem.objective == "cost" or limits.cost_usd is not None
    for node in problem.topology.nodes if energy or money else ():
        if energy and node.active_w is None:
            raise InvalidProblem(f"energy is asked about, and node {node.name} has no active_w; give its watts")
        if money and node.usd_per_hour is None:
            raise InvalidProblem(f"cost is asked about, and node {node.name} has no usd_per_hour; give its price")
    for link in problem.topology.links if energy or money else ():
        if energy and link.j_per_byte is None:
            raise InvalidProblem(f"energy is asked about, and link {link.source} → {link.target} has no j_per_mb")
        if money and link.usd_per_byte is None:
            raise InvalidProblem(f"cost is asked about, and link {link.source} → {link.target} has no usd_per_gb")


def _check_combination(problem: Problem) -> None:
    """What concerns throughput alone, or latency alone, is asked with nothing else: no solver knows both."""
    alone = problem.objective == "throughput" and problem.limits.none and problem.forward_only and not problem.parallel
    if problem.most_replicas < 1:
        raise InvalidProblem(f"a stage runs on at least one node, not on {problem.most_replicas} replicas")
    if problem.most_replicas > 1 and not alone:
        raise InvalidProblem("replicas are planned for the objective throughput without limits; leave the others out")
    if problem.serialised and not alone:
        raise InvalidProblem("serialised nodes are planned for the objective throughput without limits")
    if problem.parallel and problem.objective != "latency":
        raise InvalidProblem(f"branches side by side are planned for latency, not for {problem.objective}")


def beyond(name: str, limit: float, least: float, *, proven: bool = True) -> str:
    """What is asked for by a limit of this name, and the least that any plan takes (or any found), for people."""
    takes = "no plan takes less than" if proven else "the best found, by the segments measured, takes"
    match name:
        case "latency_s":
            return f"an answer within {limit * 1e3:.4g} ms is asked for; {takes} {least * 1e3:.4g} ms"
        case "throughput_per_s":
            gives = "no plan gives more than" if proven else "the best found, by the segments measured, gives"
            return f"{limit:.4g} answers per second are asked for; {gives} {1 / least:.4g}"
        case "energy_j":
            return f"{limit:.4g} J per request are allowed; {takes} {least:.4g} J"
        case "cost_usd":
            return f"{limit:.4g} USD per request are allowed; {takes} {least:.4g} USD"
        case _:
            return f"an output error of {limit:.4g} is allowed; {takes.replace('takes', 'causes')} {least:.4g}"
