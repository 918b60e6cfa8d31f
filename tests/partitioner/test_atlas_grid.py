"""Plans over goodput, RTT and load, against brute force, fresh searches and the model of waits."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from timeit import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.cost import without_segments
from partitioner.errors import InvalidProblem
from partitioner.plan import Infeasible
from partitioner.problem import Limits, Problem
from partitioner.queueing import loaded_latency_s
from partitioner.repricing import repriced
from partitioner.search.atlas import Atlas, atlas
from partitioner.search.atlas_grid import AtlasGrid, grid
from partitioner.search.mincut import solve
from partitioner.tables import price_list
from tests.partitioner.builders import brute_force, chain_graph, line_of, random_problem, simple_problem

UPLINK = ("camera", "mec")
LOW, HIGH = 1e4, 1e8
RTTS_S = (0.0, 0.002, 0.02, 0.2)
LOADS = (5.0, 50.0, 200.0)

Point = tuple[float, float]  # goodput and RTT


def at_point(problem: Problem, point: Point) -> Problem:
    """The problem where the link has that goodput, and it and its way back that RTT."""
    links = []
    for link in problem.topology.links:
        if {link.source, link.target} == set(UPLINK):
            rate = point[0] if (link.source, link.target) == UPLINK else link.bytes_per_s
            links.append(replace(link, bytes_per_s=rate, propagation_s=point[1] / 2))
    return replace(without_segments(problem), topology=problem.topology.with_links(links))


def drawn(seed: int) -> Iterator[Point]:
    """Goodputs and RTTs anywhere within the ranges, and at each RTT named."""
    draw = Random(seed)
    for rtt_s in (*RTTS_S, *(0.2 * draw.random() ** 3 for _ in range(4))):
        yield LOW * (HIGH / LOW) ** draw.random(), rtt_s


def made(problem: Problem, loads: tuple[float, ...] = (0.0,)) -> AtlasGrid:
    answer = grid(problem, UPLINK, LOW, HIGH, rtts_s=RTTS_S, arrivals_per_s=loads)
    assert isinstance(answer, AtlasGrid), answer
    return answer


def shrinking() -> Problem:
    """Activations shrink along the chain and the camera is slow: each goodput has its own cut."""
    graph = chain_graph(6, 4000)
    sizes = {
        name: 4000 // (2 + (-1 if one.producer is None else one.producer)) for name, one in graph.activations.items()
    }
    activations = {name: replace(one, shape=(sizes[name],)) for name, one in graph.activations.items()}
    return simple_problem(replace(graph, activations=activations), line_of([1e6], slowdowns=[4.0]), op_s=0.002)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([2, 2, 3]))
@settings(max_examples=300, deadline=None)
def test_the_plan_looked_up_is_the_best_there_is(seed: int, tiers: int) -> None:
    problem = random_problem(seed, tiers, 3 if tiers == 3 else 5)
    found = grid(problem, UPLINK, LOW, HIGH, rtts_s=RTTS_S)
    if isinstance(found, Infeasible):
        assert not brute_force(at_point(problem, (LOW, 0.0)))
        return
    for point in list(drawn(seed))[::3]:
        best_s = brute_force(at_point(problem, point))[0].predicted.latency_s
        entry = found.at(*point)
        assert entry.latency_s == pytest.approx(best_s, rel=1e-6)
        assert entry.lower_bound_s == pytest.approx(best_s, rel=1e-6)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=15, deadline=None)
def test_everywhere_it_agrees_with_a_fresh_search(seed: int, memory: bool) -> None:
    problem = random_problem(seed, 3, 8, memory=memory)
    found = grid(problem, UPLINK, LOW, HIGH, rtts_s=RTTS_S)
    if isinstance(found, Infeasible):
        return
    for point in drawn(seed):
        fresh = solve(at_point(problem, point))
        assert not isinstance(fresh, Infeasible)
        assert found.at(*point).latency_s == pytest.approx(fresh.predicted.latency_s, rel=1e-6)


@pytest.mark.slow
@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_at_each_rtt_breakpoints_are_those_of_the_line_atlas(seed: int) -> None:
    problem = random_problem(seed, 2, 7)
    found = grid(problem, UPLINK, LOW, HIGH, rtts_s=RTTS_S)
    for rtt_s in RTTS_S if isinstance(found, AtlasGrid) else ():
        line = atlas(at_point(problem, (LOW, rtt_s)), UPLINK, LOW, HIGH)
        assert isinstance(line, Atlas)
        for rate in [entry.from_bytes_per_s for entry in line.entries[1:]]:
            fresh = solve(at_point(problem, (rate, rtt_s)))
            assert not isinstance(fresh, Infeasible)
            assert found.at(rate, rtt_s).latency_s == pytest.approx(fresh.predicted.latency_s, rel=1e-6)
            before, after = (found.at(rate * part, rtt_s) for part in (1 - 1e-4, 1 + 1e-4))
            lines = [line.at(rate * part) for part in (1 - 1e-4, 1 + 1e-4)]
            assert [before.latency_s, after.latency_s] == pytest.approx(
                [entry.latency_s(rate * part) for entry, part in zip(lines, (1 - 1e-4, 1 + 1e-4), strict=True)]
            )


@pytest.mark.slow
@given(st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_under_load_it_tells_what_the_model_of_waits_does(seed: int) -> None:
    problem = random_problem(seed, 2, 5)
    found = grid(problem, UPLINK, LOW, HIGH, rtts_s=RTTS_S[1:3], arrivals_per_s=LOADS)
    draw = Random(seed)
    for _ in range(3 if isinstance(found, AtlasGrid) else 0):
        point, load = (LOW * (HIGH / LOW) ** draw.random(), draw.uniform(0.002, 0.02)), draw.uniform(1, 200)
        entry, posed = found.at(*point, load), at_point(problem, point)
        waits = [loaded_latency_s(posed, repriced(price_list(posed), plan), load) for plan in found.plans]
        assert entry.latency_s == pytest.approx(min(waits), rel=1e-6)
        assert waits[entry.number] == pytest.approx(entry.latency_s, rel=1e-6)
        assert entry.lower_bound_s <= entry.latency_s
        assert entry.lower_bound_s == pytest.approx(brute_force(posed)[0].predicted.latency_s, rel=1e-6)


def test_one_goodput_and_one_rtt_are_a_range_too() -> None:
    found = grid(shrinking(), UPLINK, 1e6, 1e6, rtts_s=[0.008])
    assert isinstance(found, AtlasGrid)
    fresh = solve(shrinking())
    assert not isinstance(fresh, Infeasible)
    assert (found.at(1e6, 0.008).latency_s, found.cuts) == (pytest.approx(fresh.predicted.latency_s), 1)


def test_longer_rtts_keep_the_whole_at_the_camera() -> None:
    found = made(shrinking())
    nodes = [{stage.node for stage in found.at(1e6, rtt_s).plan.stages} for rtt_s in (0.0, 0.2)]
    assert nodes == [{"camera", "mec"}, {"camera"}]
    assert found.exact == len(found.plans) > 3
    assert found.cuts <= 3 * len(found.plans) + 4
    assert found.gap == 0.0


def test_under_load_work_leaves_the_node_that_would_be_saturated() -> None:
    found = made(shrinking(), (0.0, 40.0))
    alone, loaded = found.at(2e5, 0.02), found.at(2e5, 0.02, 22.0)
    assert alone.number != loaded.number
    posed = at_point(shrinking(), (2e5, 0.02))
    stays_s = loaded_latency_s(posed, repriced(price_list(posed), alone.plan), 22.0)
    assert alone.latency_s < loaded.latency_s < stays_s


@pytest.mark.parametrize(("seed", "load"), [(16, 20.0), (29, 20.0), (34, 150.0)])
def test_plans_are_sought_that_are_best_only_under_load(seed: int, load: float) -> None:
    problem = replace(random_problem(seed, 2, 6), codecs=("raw",), within={})
    found = grid(problem, UPLINK, LOW, HIGH, rtts_s=[0.002], arrivals_per_s=LOADS)
    assert isinstance(found, AtlasGrid)
    entry, posed = found.at(1e7, 0.002, load), at_point(problem, (1e7, 0.002))
    assert entry.number >= found.exact
    assert entry.latency_s == pytest.approx(min(loaded_latency_s(posed, plan, load) for plan in brute_force(posed)))


def test_where_nothing_keeps_up_the_plan_is_the_one_that_lacks_least() -> None:
    found = made(shrinking(), (0.0, 1e5))
    entry, posed = found.at(1e5, 0.02, 1e5), at_point(shrinking(), (1e5, 0.02))
    most_per_s = [repriced(price_list(posed), plan).predicted.throughput_per_s for plan in found.plans]
    assert entry.latency_s == float("inf")
    assert most_per_s[entry.number] == max(most_per_s)


def test_stages_tell_who_shares_them_and_what_they_weigh() -> None:
    graph = chain_graph(6, 4000)
    operators = tuple(replace(one, weights=(f"w{i}",)) for i, one in enumerate(graph.operators))
    graph = replace(graph, operators=operators, weights_bytes={f"w{i}": 100 for i in range(6)})
    problem = replace(
        simple_problem(graph, line_of([1e6, 1e6], slowdowns=[9.0, 3.0]), op_s=0.002), pinned={"op0": "camera"}
    )
    found = made(problem, (0.0, 20.0))
    told = found.stages()
    assert any(len(shared.plans) > 1 for shared in told)
    for number, plan in enumerate(found.plans):
        runs = {(one.stage.node, one.stage.operators) for one in told if number in one.plans}
        assert runs == {(stage.node, stage.operators) for stage in plan.stages}
    assert all(shared.weights_bytes == 100 * len(shared.stage.operators) for shared in told)


def test_looking_up_is_far_sooner_than_planning_anew() -> None:
    found = made(shrinking(), (0.0, 20.0))
    once_s = min(timeit(lambda: found.at(3e6, 0.01, 7.0), number=200) for _ in range(5)) / 200
    fresh_s = min(timeit(lambda: solve(shrinking()), number=1) for _ in range(3))
    assert once_s * 10 < fresh_s  # a ratio: how fast the machine is says nothing


def test_what_is_not_on_the_map_is_refused() -> None:
    problem = shrinking()
    with pytest.raises(InvalidProblem, match=r"RTTs of 0 to 200 ms and up to 0 requests/s, not 8 Mbps, 300 ms and 0"):
        made(problem).at(1e6, 0.3)
    with pytest.raises(InvalidProblem, match=r"one or more RTTs in seconds, from 0, not \[\]"):
        grid(problem, UPLINK, LOW, HIGH, rtts_s=[])
    with pytest.raises(InvalidProblem, match="one or more arrivals per second"):
        grid(problem, UPLINK, LOW, HIGH, rtts_s=[0.01], arrivals_per_s=[-1.0])
    with pytest.raises(InvalidProblem, match="no link mec → cloud"):
        grid(problem, ("mec", "cloud"), LOW, HIGH, rtts_s=[0.01])


@pytest.mark.parametrize(
    "asked", [{"objective": "energy"}, {"limits": Limits(latency_s=1.0)}, {"parallel": True}, {"forward_only": False}]
)
def test_what_a_line_can_not_express_is_refused(asked: dict[str, object]) -> None:
    problem = replace(shrinking(), **asked)  # type: ignore[arg-type]
    with pytest.raises(InvalidProblem, match="an atlas holds"):
        grid(problem, UPLINK, LOW, HIGH, rtts_s=[0.01])
    with pytest.raises(InvalidProblem, match="an atlas holds"):
        atlas(problem, UPLINK, LOW, HIGH)
