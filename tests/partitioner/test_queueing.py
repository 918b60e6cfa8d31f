"""Waiting under load: against the exact recursion for one queue, and against a simulation of whole plans."""

from collections.abc import Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.cost import evaluate
from partitioner.errors import InvalidProblem
from partitioner.plan import Plan
from partitioner.problem import Problem
from partitioner.queueing import loaded_latency_s, stations, utilisations, wait_s
from partitioner.topology import Link, Node, Tier, Topology
from tests.partitioner.builders import brute_force, chain_graph, line_of, random_problem, simple_problem, site

Turn = tuple[tuple[str, ...], float]  # nodes or links of which a request takes one, and for how long


def arrivals_at(per_s: float, count: int, seed: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / per_s, count))


def lindley_wait_s(arrivals: np.ndarray, service_s: float) -> float:
    """Mean wait at one queue: each request's is max(0, the last one's + its service - the time between)."""
    walk = np.concatenate([[0.0], np.cumsum(service_s - np.diff(arrivals))])
    return float((walk - np.minimum.accumulate(walk)).mean())


def simulated_wait_s(turns: Sequence[Turn], delay_s: float, arrivals: np.ndarray, seed: int = 0) -> float:
    """Mean wait of a request over all its turns, first come first served at each; a delay between turns."""
    draw, free, waited = Random(seed), dict[str, float](), 0.0
    events = [(at, number, 0) for number, at in enumerate(arrivals.tolist())]
    heapify(events)
    while events:
        now, number, turn = heappop(events)
        resources, service_s = turns[turn]
        resource = draw.choice(resources)
        begins = max(now, free.get(resource, 0.0))
        waited += begins - now
        free[resource] = begins + service_s
        if turn + 1 < len(turns):
            heappush(events, (free[resource] + delay_s, number, turn + 1))
    return waited / len(arrivals)


def turns_of(problem: Problem, plan: Plan) -> list[Turn]:
    """What a request meets: the message to each stage over each link, the stage, the answer's links."""
    found: list[Turn] = []
    for stage, crossing in zip([*plan.stages, None], plan.crossings, strict=True):
        path = problem.topology.path(crossing.source, crossing.target)
        found += [((f"{link.source}-{link.target}",), crossing.nbytes / link.bytes_per_s) for link in path.links]
        found += [] if stage is None else [((stage.node, *stage.replicas), stage.seconds)]
    return found


def placed(nodes: Sequence[str], seconds: Sequence[float], rate_bytes_per_s: float = 1e5) -> tuple[Problem, Plan]:
    """A chain whose operator i runs on nodes[i] for seconds[i]; camera, mec and cloud in a row."""
    problem = simple_problem(chain_graph(len(nodes), 1000), line_of([rate_bytes_per_s] * 2))
    times = {f"op{i}": one for i, one in enumerate(seconds)}
    engines = {key: replace(engine, operator_s=times) for key, engine in problem.profile.engines.items()}
    problem = replace(problem, profile=replace(problem.profile, engines=engines))
    return problem, evaluate(problem, [site(node) for node in nodes])


def replicated(seconds: float) -> tuple[Problem, Plan]:
    """A stage on the camera, then one that two nodes share."""
    nodes = tuple(
        Node(name=name, tier=Tier(min(i, 1)), backends=()) for i, name in enumerate(("camera", "mec", "twin"))
    )
    ends = [(a, b) for one in ("mec", "twin") for a, b in (("camera", one), (one, "camera"))]
    links = tuple(Link(source=a, target=b, bytes_per_s=1e6, propagation_s=0.004) for a, b in ends)
    problem = simple_problem(chain_graph(2), Topology(nodes, links), op_s=seconds)
    plan = evaluate(problem, [site("camera"), site("mec")])
    first, second = plan.stages
    stages = (replace(first, seconds=seconds / 4), replace(second, replicas=("twin",)))
    return problem, replace(plan, stages=stages)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_one_queue_is_what_the_recursion_says(load: float) -> None:
    problem, plan = placed(["camera"], [0.02])
    waited_s = loaded_latency_s(problem, plan, load / 0.02) - plan.predicted.latency_s
    assert waited_s == pytest.approx(lindley_wait_s(arrivals_at(load / 0.02, 1_000_000, seed=1), 0.02), rel=0.03)


def test_a_row_of_queues_delays_as_its_slowest_alone() -> None:
    problem, plan = placed(["camera", "mec", "cloud"], [0.02, 0.045, 0.01])
    arrivals = arrivals_at(15.0, 5000, seed=2)
    slowest_s = max(seconds for _, seconds in turns_of(problem, plan))
    alone_s = lindley_wait_s(arrivals, slowest_s)
    assert simulated_wait_s(turns_of(problem, plan), 0.004, arrivals) == pytest.approx(alone_s, rel=1e-6)
    waited_s = loaded_latency_s(problem, plan, 15.0) - plan.predicted.latency_s
    assert waited_s == pytest.approx(15 * slowest_s**2 / 2 / (1 - 15 * slowest_s))


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
@pytest.mark.parametrize(
    ("nodes", "seconds"),
    [
        (["camera", "mec", "camera"], [0.6, 0.5, 0.2]),
        (["camera", "mec", "camera"], [0.2, 0.5, 0.6]),
        (["camera", "mec", "camera", "mec"], [0.4, 0.5, 0.4, 0.3]),
        (["camera", "mec", "camera", "cloud", "camera"], [0.3, 0.5, 0.2, 0.3, 0.3]),
    ],
)
def test_requests_that_come_back_take_about_as_long_as_simulated(
    nodes: list[str], seconds: list[float], load: float
) -> None:
    problem, plan = placed(nodes, seconds)
    per_s, alone_s = load * plan.predicted.throughput_per_s, plan.predicted.latency_s
    seen_s = alone_s + simulated_wait_s(turns_of(problem, plan), 0.1, arrivals_at(per_s, 100_000, seed=3))
    assert loaded_latency_s(problem, plan, per_s) == pytest.approx(seen_s, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_replicas_wait_about_as_simulated(load: float) -> None:
    problem, plan = replicated(0.04)
    per_s = load / 0.02
    seen_s = simulated_wait_s(turns_of(problem, plan), 0.004, arrivals_at(per_s, 100_000, seed=4))
    assert wait_s(stations(problem, plan), per_s) == pytest.approx(seen_s, rel=0.15)


def test_replicas_share_the_load() -> None:
    problem, plan = replicated(0.04)
    busy = utilisations(problem, plan, 10.0)
    assert (busy["camera"], busy["mec"], busy["twin"]) == pytest.approx((0.1, 0.2, 0.2))
    assert busy["camera", "mec"] == pytest.approx(busy["camera", "twin"]) == pytest.approx(10 * 4000 / 1e6 / 2)


@pytest.mark.slow
@given(st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_latency_is_infinite_exactly_from_the_throughput_on(seed: int) -> None:
    problem = random_problem(seed, 3, 3)
    for plan in brute_force(problem)[:3]:
        most_per_s = plan.predicted.throughput_per_s
        if most_per_s == float("inf"):
            continue
        waits = [loaded_latency_s(problem, plan, most_per_s * part) for part in (0, 0.5, 1 - 1e-9, 1 + 1e-9)]
        assert waits[0] == plan.predicted.latency_s
        assert waits == sorted(waits)
        assert waits[2] < waits[3] == float("inf")


def test_what_has_no_model_is_refused() -> None:
    problem, plan = placed(["camera"], [0.02])
    with pytest.raises(InvalidProblem, match="from 0, not -1"):
        loaded_latency_s(problem, plan, -1.0)
    with pytest.raises(InvalidProblem, match="one stage after another"):
        loaded_latency_s(problem, replace(plan, parallel=True), 1.0)
    with pytest.raises(InvalidProblem, match="compute while links carry"):
        loaded_latency_s(replace(problem, serialised=True), plan, 1.0)
