"""How long the planner takes to prove a plan by each objective and within limits, and what gap it leaves.

Each zoo model over camera, MEC and cloud with watts and prices, codecs as in atlas.py; operator seconds are drawn from
a seed. The latency is a minimum cut's; the throughput a search over ideals; the rest mixed integer programs, which have
20 seconds each: what they take includes building them. The limits stand some way above the least latency.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from time import perf_counter

from kit.figures import Figure, figure, report
from kit.problems import three_tiers, with_codecs, zoo_graphs

from partitioner.check import faults
from partitioner.plan import Plan
from partitioner.problem import Limits, Problem
from partitioner.search.answer import answer

TARGET_S = 20.0


def questions(problem: Problem, least: Plan) -> Iterator[tuple[str, Problem]]:
    """The same problem asked in every way, each with what people would call it."""
    late_s, joules = least.predicted.latency_s, least.predicted.energy_j or 0.0
    yield "throughput", replace(problem, objective="throughput")
    yield "throughput, 3 replicas", replace(problem, objective="throughput", most_replicas=3)
    yield "throughput, serialised", replace(problem, objective="throughput", serialised=True)
    yield "energy within 1.3 × least latency", _within(problem, "energy", Limits(latency_s=1.3 * late_s))
    yield "cost within 1.3 × least latency", _within(problem, "cost", Limits(latency_s=1.3 * late_s))
    yield "latency within 0.8 × its energy", _within(problem, "latency", Limits(energy_j=0.8 * joules))
    yield "latency, error budget 0.012", _within(problem, "latency", Limits(error=0.012))
    yield "latency, data may come back", replace(problem, forward_only=False)


def _within(problem: Problem, objective: str, limits: Limits) -> Problem:
    return replace(problem, objective=objective, limits=limits)


def asked(problem: Problem) -> Iterator[tuple[str, float, float]]:
    """Each question with the seconds that its answer took, and the relative gap that was left."""
    least = answer(problem)
    if not isinstance(least, Plan):
        raise SystemExit(f"{problem.graph.name}: {least.detail}")
    for told, question in questions(problem, least):
        began_s = perf_counter()
        found = answer(question, seconds=TARGET_S)
        spent_s = perf_counter() - began_s
        if isinstance(found, Plan) and (wrong := faults(question, found)):
            raise SystemExit(f"{problem.graph.name}: {told}: {wrong[0]}")
        gap = found.certificate.gap if isinstance(found, Plan) and found.certificate is not None else 0.0
        proven = isinstance(found, Plan) or found.proven
        yield told, spent_s, gap if proven else 1.0


def figures_of(problems: Iterable[Problem]) -> Iterator[Figure]:
    """For each question the slowest answer and the largest gap of all models."""
    every: dict[str, list[tuple[float, float]]] = {}
    for problem in problems:
        for told, spent_s, gap in asked(problem):
            every.setdefault(told, []).append((spent_s, gap))
    for told, found in every.items():
        spent, gaps = zip(*found, strict=True)
        of = f"{len(found)} models"
        yield figure(f"{told}: slowest answer of {of}", max(spent), "s", TARGET_S, spread=(min(spent), max(spent)))
        yield figure(f"{told}: largest gap of {of}", max(gaps) * 100, "%", 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="the smallest model only")
    options = parser.parse_args()
    graphs = zoo_graphs()[:1] if options.quick else zoo_graphs()
    answer(replace(three_tiers(graphs[0][1]), objective="throughput"))  # numba compiles once a machine
    report("objectives", figures_of(with_codecs(three_tiers(graph)) for _, graph in graphs), options.json)


if __name__ == "__main__":
    main()
