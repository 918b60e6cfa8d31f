"""How long the planner takes to prove a plan by each objective and within limits, and what gap it leaves.

Each zoo model over camera, MEC and cloud with watts and prices, codecs as in atlas.py; operator seconds are drawn from
a seed. The latency is a minimum cut's; the throughput a search over ideals; the rest mixed integer programs, which have
20 seconds each: what they take includes building them. The limits stand some way above the least latency.
"""

import argparse
from collections.abc import Iterator
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


def figures_of(name: str, problem: Problem) -> Iterator[Figure]:
    least = answer(problem)
    if not isinstance(least, Plan):
        raise SystemExit(f"{name}: {least.detail}")
    for told, asked in questions(problem, least):
        began_s = perf_counter()
        found = answer(asked, seconds=TARGET_S)
        spent_s = perf_counter() - began_s
        if not isinstance(found, Plan):
            yield figure(f"{name}: {told}: proven that there is none", spent_s, "s", TARGET_S)
            continue
        if wrong := faults(asked, found):
            raise SystemExit(f"{name}: {told}: {wrong[0]}")
        gap = 1.0 if found.certificate is None else found.certificate.gap
        yield figure(f"{name}: {told}: answered", spent_s, "s", TARGET_S)
        yield figure(f"{name}: {told}: gap left", gap * 100, "%", 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="the smallest model only")
    options = parser.parse_args()
    graphs = zoo_graphs()[:1] if options.quick else zoo_graphs()
    answer(replace(three_tiers(graphs[0][1]), objective="throughput"))  # numba compiles once a machine
    found = [one for name, graph in graphs for one in figures_of(name, with_codecs(three_tiers(graph)))]
    report("objectives", found, options.json)


if __name__ == "__main__":
    main()
