"""Every optimal plan over a range of goodputs, against a fresh search at each and against brute force."""

from dataclasses import replace
from timeit import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.cost import without_segments
from partitioner.errors import InvalidProblem
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Problem
from partitioner.search.atlas import Atlas, atlas
from partitioner.search.mincut import solve
from tests.partitioner.builders import brute_force, chain_graph, line_of, random_problem, simple_problem

UPLINK = ("camera", "mec")
LOW, HIGH = 1e4, 1e8


def at_rate(problem: Problem, bytes_per_s: float) -> Problem:
    links = [link for link in problem.topology.links if (link.source, link.target) == UPLINK]
    topology = problem.topology.with_links([replace(link, bytes_per_s=bytes_per_s) for link in links])
    return replace(without_segments(problem), topology=topology)


def made(problem: Problem) -> Atlas:
    answer = atlas(problem, UPLINK, LOW, HIGH)
    assert isinstance(answer, Atlas), answer
    return answer


def probes(found: Atlas) -> list[float]:
    """Goodputs just beside every breakpoint, and between them."""
    starts = [entry.from_bytes_per_s for entry in found.entries]
    beside = [start * factor for start in starts for factor in (1 - 1e-5, 1 + 1e-5)]
    between = [(a * b) ** 0.5 for a, b in zip(starts, [*starts[1:], HIGH], strict=True)]
    return [rate for rate in (*beside, *between, LOW, HIGH) if LOW <= rate <= HIGH]


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([2, 2, 3]))
@settings(max_examples=300, deadline=None)
def test_the_plan_looked_up_is_the_best_there_is(seed: int, tiers: int) -> None:
    problem = random_problem(seed, tiers, 3 if tiers == 3 else 5)
    found = atlas(problem, UPLINK, LOW, HIGH)
    if isinstance(found, Infeasible):
        assert not brute_force(at_rate(problem, LOW))
        return
    for rate in probes(found)[::3][:3]:
        best_s = brute_force(at_rate(problem, rate))[0].predicted.latency_s
        assert found.at(rate).latency_s(rate) == pytest.approx(best_s, rel=1e-6)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_each_breakpoint_agrees_with_a_fresh_search(seed: int, memory: bool) -> None:
    problem = random_problem(seed, 3, 8, memory=memory)
    found = atlas(problem, UPLINK, LOW, HIGH)
    if isinstance(found, Infeasible):
        return
    for rate in probes(found):
        fresh = solve(at_rate(problem, rate))
        assert not isinstance(fresh, Infeasible)
        assert found.at(rate).latency_s(rate) == pytest.approx(fresh.predicted.latency_s, rel=1e-6)


def shrinking() -> Problem:
    """Activations shrink along the chain and the camera is slow: each goodput has its own cut."""
    graph = chain_graph(6, 4000)
    activations = {
        name: replace(one, shape=(4000 // (1 + (one.producer if one.producer is not None else -1) + 1),))
        for name, one in graph.activations.items()
    }
    topology = line_of([1e6], slowdowns=[4.0])
    return simple_problem(replace(graph, activations=activations), topology, op_s=0.002)


def test_lower_goodput_keeps_more_at_the_camera() -> None:
    found = made(shrinking())
    kept = [sum(len(s.operators) for s in entry.plan.stages if s.node == "camera") for entry in found.entries]
    assert len(found.entries) > 2
    assert kept == sorted(kept, reverse=True)
    assert found.gap == 0.0
    assert found.cuts <= 2 * len(found.entries) + 1


def test_an_answer_that_was_not_proven_is_told_even_if_its_plan_is_not_on_the_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def unproven_third(problem: Problem) -> Plan | Infeasible:
        plan = solve(problem)
        asked.append(plan)
        assert isinstance(plan, Plan)
        assert plan.certificate is not None
        doubted = replace(plan, certificate=replace(plan.certificate, status="gap", gap=0.25))
        return doubted if len(asked) == 3 else plan

    monkeypatch.setattr("partitioner.search.atlas.solve", unproven_third)
    assert made(shrinking()).gap == 0.25


def test_entries_meet_at_their_breakpoints() -> None:
    found = made(shrinking())
    for before, after in zip(found.entries, found.entries[1:], strict=False):
        rate = after.from_bytes_per_s
        assert before.latency_s(rate) == pytest.approx(after.latency_s(rate), rel=1e-6)
    first = found.entries[0]
    assert first.plan.predicted.latency_s == pytest.approx(first.latency_s(LOW), rel=1e-5)


def test_a_stage_that_a_neighbour_runs_too_may_stay() -> None:
    problem = replace(shrinking(), topology=line_of([1e6, 1e6], slowdowns=[4.0, 2.0, 1.0]))
    problem = simple_problem(problem.graph, problem.topology, op_s=0.002)
    found = made(problem)
    shared = [found.shared_stages(entry) for entry in found.entries]
    assert all(set(near) <= {entry.from_bytes_per_s for entry in found.entries} for near in shared)
    for entry, near in zip(found.entries, shared, strict=True):
        for start, stages in near.items():
            other = found.at(start * (1 + 1e-6))
            mine, its = ({(s.node, s.operators) for s in one.plan.stages} for one in (entry, other))
            assert {(s.node, s.operators) for s in stages} <= mine & its


def test_looking_up_is_far_sooner_than_planning_anew() -> None:
    found = made(shrinking())
    once_s = min(timeit(lambda: found.at(3e6), number=1000) for _ in range(5)) / 1000
    fresh_s = min(timeit(lambda: solve(shrinking()), number=1) for _ in range(3))
    assert once_s * 50 < fresh_s  # a ratio: how fast the machine is says nothing


def test_what_is_not_on_the_map_is_refused() -> None:
    problem = shrinking()
    with pytest.raises(InvalidProblem, match=r"holds goodputs of 0\.08 to 800 Mbps, not 8e-06"):
        made(problem).at(1.0)
    with pytest.raises(InvalidProblem, match="no link mec → cloud in the topology; there is camera → mec"):
        atlas(problem, ("mec", "cloud"), LOW, HIGH)
    with pytest.raises(InvalidProblem, match="range of goodputs above 0"):
        atlas(problem, UPLINK, 0.0, HIGH)
