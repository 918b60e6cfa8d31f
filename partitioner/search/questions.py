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


def beyond(name: str, limit: float, least: float) -> str:
    """What is asked for by a limit of this name, and the least that any plan takes, for people to read."""
    match name:
        case "latency_s":
            return f"an answer within {limit * 1e3:.4g} ms is asked for; no plan takes less than {least * 1e3:.4g} ms"
        case "throughput_per_s":
            return f"{limit:.4g} answers per second are asked for; no plan gives more than {1 / least:.4g}"
        case "energy_j":
            return f"{limit:.4g} J per request are allowed; no plan takes less than {least:.4g} J"
        case "cost_usd":
            return f"{limit:.4g} USD per request are allowed; no plan takes less than {least:.4g} USD"
        case _:
            return f"an output error of {limit:.4g} is allowed; no plan keeps below {least:.4g}"
