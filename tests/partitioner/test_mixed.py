"""Energy, money, deadlines, error budgets, memory and data that comes back down: against brute force, and by claim."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.check import faults
from partitioner.constraints import violation
from partitioner.cost import price_stages
from partitioner.errors import InvalidProblem
from partitioner.figures import score
from partitioner.plan import Infeasible, Plan
from partitioner.problem import OBJECTIVES, Limits, Problem
from partitioner.profile import CodecFigure, TensorFigure, segment_key
from partitioner.search.chains import chains_of, returning_chains
from partitioner.search.mixed import best
from partitioner.stages import Placed, codecs_of
from partitioner.tables import Ints, price_list
from partitioner.topology import Link, Tier, Topology
from tests.partitioner.builders import NAMES, chain_graph, graph_of, line_of, random_problem, simple_problem


def priced(problem: Problem, draw: Random) -> Problem:
    """Watts and prices for every node and link."""
    nodes = tuple(
        replace(node, active_w=draw.choice((1.0, 5.0, 40.0)), usd_per_hour=draw.choice((0.0, 0.5, 3.0)))
        for node in problem.topology.nodes
    )
    links = tuple(
        replace(link, j_per_byte=draw.choice((0.0, 1e-7, 2e-6)), usd_per_byte=draw.choice((0.0, 1e-11)))
        for link in problem.topology.links
    )
    return replace(problem, topology=Topology(nodes, links))


def every_plan(problem: Problem, stages: int) -> Iterator[Plan]:
    """Every plan over the rows of sites that are asked, each operator anywhere, every tensor in every codec."""
    prices = price_list(problem)
    chains = chains_of(prices) if problem.forward_only else returning_chains(prices, stages)
    count = len(problem.graph.operators)
    for sites in {chain.sites: None for chain in chains}:
        for row in product(range(1, len(sites) + 1), repeat=count):
            members: list[Ints] = [np.flatnonzero(np.array(row) == at) for at in range(1, len(sites) + 1)]
            if all(len(some) for some in members):
                yield from _coded(problem, tuple(zip(sites, members, strict=True)))


def _coded(problem: Problem, placed: tuple[Placed, ...]) -> Iterator[Plan]:
    prices = price_list(problem)
    try:
        plain = price_stages(prices, placed, None)
    except InvalidProblem:
        return
    sent = sorted({name for crossing in plain.crossings for name in crossing.tensors})
    columns = [np.flatnonzero(prices.codecs.admissible[:, prices.table.index[name]]).tolist() for name in sent]
    for chosen in product(*columns):
        codecs = {name: prices.codecs.names[row] for name, row in zip(sent, chosen, strict=True)}
        plan = price_stages(prices, placed, codecs)
        if violation(problem, plan) is None:
            yield plan


def asked(seed: int, operators: int, *, returning: bool) -> Problem:
    draw = Random(seed)
    problem = priced(random_problem(seed, draw.choice((2, 2, 3)), operators, memory=draw.random() < 0.3), draw)
    if returning:
        problem = replace(problem, forward_only=False, sites=problem.sites[:2])
    problem = replace(problem, objective=draw.choice(OBJECTIVES), codecs=("raw", "int8"))
    if draw.random() < 0.3 and operators > 2:
        problem = replace(problem, together=(("op0", f"op{draw.randrange(1, operators)}"),))
    known = list(every_plan(problem, 3))
    limits: dict[str, float] = {}
    for name in ("latency_s", "energy_j", "cost_usd", "error"):
        if known and draw.random() < 0.4:  # somewhere between what plans take
            figures = sorted(getattr(plan.predicted, name) for plan in known)
            limits[name] = figures[draw.randrange(len(figures))] * draw.choice((1.0, 1.0, 0.9))
    return replace(problem, limits=Limits(**limits))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6), operators=st.integers(1, 4), returning=st.booleans())
def test_any_objective_within_any_limits_equals_brute_force(seed: int, operators: int, returning: bool) -> None:
    problem = asked(seed, operators, returning=returning)
    scores = [score(plan.predicted, problem.objective) or 0.0 for plan in every_plan(problem, 3)]
    found = best(problem)
    if not scores:
        assert isinstance(found, Infeasible)
        return
    assert isinstance(found, Plan)
    assert score(found.predicted, problem.objective) == pytest.approx(min(scores), rel=1e-7, abs=1e-15)
    assert found.certificate is not None and found.certificate.status == "optimal"
    assert faults(problem, found) == ()


def on_a_line(**changed: object) -> Problem:
    """Six operators; a slow frugal camera before a quick hungry MEC."""
    problem = simple_problem(chain_graph(6), line_of([1e6], slowdowns=(8.0, 1.0)), **changed)
    watts, hourly = (1.0, 50.0), (0.0, 2.0)
    nodes = tuple(
        replace(node, active_w=watts[i], usd_per_hour=hourly[i]) for i, node in enumerate(problem.topology.nodes)
    )
    links = tuple(replace(link, j_per_byte=1e-6, usd_per_byte=0.0) for link in problem.topology.links)
    return replace(problem, topology=Topology(nodes, links))


def test_least_energy_stays_on_the_frugal_node_until_a_deadline_drives_it_away() -> None:
    problem = on_a_line(objective="energy")
    frugal, hurried = best(problem), best(replace(problem, limits=Limits(latency_s=0.03)))
    assert isinstance(frugal, Plan) and isinstance(hurried, Plan)
    assert [stage.node for stage in frugal.stages] == ["camera"]
    assert [stage.node for stage in hurried.stages] == ["camera", "mec"]
    assert hurried.predicted.latency_s <= 0.03 < frugal.predicted.latency_s


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(latency_s=0.001), "within 1 ms is asked for; no plan takes less than"),
        (Limits(energy_j=1e-6), "1e-06 J per request are allowed"),
        (Limits(throughput_per_s=1e6), "1e\\+06 answers per second are asked for; no plan gives more than 166.7"),
        (Limits(cost_usd=1e-9, latency_s=0.03), "each can be kept alone"),
    ],
)
def test_a_limit_that_no_plan_keeps_is_named_with_what_is_possible(limits: Limits, told: str) -> None:
    found = best(on_a_line(limits=limits))
    assert isinstance(found, Infeasible)
    assert re.search(told, found.detail)


def test_an_error_budget_is_spent_where_it_saves_most() -> None:
    """Two crossings of a row of three: int8 on both errs too much, so only the dearer one has it."""
    problem = random_two_crossings()
    free, held = best(problem), best(replace(problem, limits=Limits(error=0.05)))
    assert isinstance(free, Plan) and isinstance(held, Plan)
    assert codecs_of(free) | {"x": "raw"} == {"x": "raw", "t0": "int8", "t1": "int8", "t2": "raw"}
    assert codecs_of(held) | {"x": "raw"} == {"x": "raw", "t0": "int8", "t1": "raw", "t2": "raw"}


def random_two_crossings() -> Problem:
    graph = graph_of([["x"], ["t0"], ["t1"]], {"x": 10, "t0": 9000, "t1": 5000, "t2": 1}, ["t2"], {})
    figure = {"int8": TensorFigure(ratio=0.25, error=0.04)}
    problem = simple_problem(graph, line_of([1e6, 1e6]), max_error=0.05, codecs=("raw", "int8"))
    profile = replace(
        problem.profile,
        tensors={"t0": figure, "t1": figure},
        codecs={"int8": CodecFigure(encode_s_per_byte=0, decode_s_per_byte=0)},
    )
    return replace(problem, profile=profile, pinned={"op0": "camera", "op1": "mec", "op2": "cloud"})


def test_data_comes_back_down_only_where_that_is_allowed() -> None:
    """The end is pinned to the camera, the middle is quick at the MEC only."""
    graph = graph_of([["x"], ["t0"], ["t1"]], {"x": 10, "t0": 10, "t1": 10, "t2": 10}, ["t2"], {})
    problem = simple_problem(graph, line_of([1e6], slowdowns=(80.0, 1.0)))
    problem = replace(problem, pinned={"op0": "camera", "op2": "camera"})
    up, back = best(problem), best(replace(problem, forward_only=False))
    assert isinstance(up, Plan) and isinstance(back, Plan)
    assert [stage.node for stage in up.stages] == ["camera"]
    assert [stage.node for stage in back.stages] == ["camera", "mec", "camera"]
    assert back.predicted.latency_s < up.predicted.latency_s


def test_what_is_private_does_not_ride_past_another_node_on_its_way_home() -> None:
    """The last operator reads the private input again: forwarding it through the MEC would show it there."""
    graph = graph_of([["x"], ["t0"], ["t1", "x"]], {"x": 10, "t0": 10, "t1": 10, "t2": 10}, ["t2"], {})
    problem = simple_problem(graph, line_of([1e6], slowdowns=(80.0, 1.0)), forward_only=False)
    public = best(problem)
    private = best(replace(problem, private=frozenset({"x"})))
    assert isinstance(public, Plan) and isinstance(private, Plan)
    assert [stage.node for stage in public.stages] == ["mec"]
    assert [stage.node for stage in private.stages] == ["camera"]
    assert private.certificate is not None and private.certificate.status == "optimal"


def test_a_tensor_is_coded_where_it_is_made_and_nowhere_sooner() -> None:
    """Coding is dear on the slow MEC: a bound that let the camera code what the MEC makes would not be met."""
    graph = graph_of([["x"], ["t0"], ["t1"]], {"x": 10, "t0": 10, "t1": 9000, "t2": 10}, ["t2"], {})
    problem = simple_problem(graph, line_of([1e9, 1e6], slowdowns=(1.0, 80.0, 1.0)), max_error=1.0)
    profile = replace(
        problem.profile,
        tensors={"t1": {"int8": TensorFigure(ratio=0.25, error=0.01)}},
        codecs={"int8": CodecFigure(encode_s_per_byte=1e-9, decode_s_per_byte=0)},
    )
    pins = {"op0": "camera", "op1": "mec", "op2": "cloud"}
    found = best(replace(problem, profile=profile, pinned=pins, codecs=("raw", "int8")))
    assert isinstance(found, Plan) and found.certificate is not None
    assert codecs_of(found)["t1"] == "int8" and found.certificate.status == "optimal"


def test_no_tensor_is_coded_to_no_purpose() -> None:
    """All stays on the camera for the sake of energy: int8 for the answer would cost error and time, and save none."""
    problem = on_a_line(objective="energy", max_error=1.0, codecs=("raw", "int8"))
    profile = replace(
        problem.profile,
        tensors={name: {"int8": TensorFigure(ratio=0.25, error=0.01)} for name in ("x", "t5")},
        codecs={"int8": CodecFigure(encode_s_per_byte=1e-9, decode_s_per_byte=1e-9)},
    )
    found = best(replace(problem, profile=profile))
    assert isinstance(found, Plan)
    assert [stage.node for stage in found.stages] == ["camera"]
    assert set(codecs_of(found).values()) == {"raw"} and found.predicted.error == 0


def test_the_reason_speaks_of_what_was_asked_for() -> None:
    found = best(on_a_line(objective="throughput"))
    assert isinstance(found, Plan)
    assert found.reason == (
        "not split: all on mec gives 166.7 answers/s; the best split found (camera | mec) would give 125 answers/s"
    )


def test_no_stage_stands_empty_where_the_way_past_it_is_the_shorter() -> None:
    """The direct link is the path for large messages; a small one would be sooner by way of an idle MEC."""
    graph = graph_of([["x"], ["t0"]], {"x": 10, "t0": 10, "t1": 10}, ["t1"], {})
    near = line_of([1e6, 1e6], propagation_s=0.001)
    direct = [Link(source=a, target=b, bytes_per_s=1e8, propagation_s=0.5) for a, b in (NAMES[::2], NAMES[::-2])]
    problem = simple_problem(graph, Topology(near.nodes, (*near.links, *direct)), objective="energy")
    nodes = tuple(replace(node, active_w=1.0) for node in problem.topology.nodes)
    links = tuple(replace(link, j_per_byte=1.0 if link in direct else 0.0) for link in problem.topology.links)
    problem = replace(problem, topology=Topology(nodes, links), pinned={"op0": "camera", "op1": "cloud"})
    found = best(problem)
    assert isinstance(found, Plan) and found.certificate is not None
    assert [stage.node for stage in found.stages] == ["camera", "cloud"]
    assert found.certificate.status == "optimal"


def test_what_is_kept_within_a_tier_goes_no_higher_and_no_way_past_it() -> None:
    graph = graph_of([["x"], ["t0"], ["t1", "x"]], {"x": 10, "t0": 10, "t1": 10, "t2": 10}, ["t2"], {})
    problem = simple_problem(graph, line_of([1e6, 1e6], 0.0001, slowdowns=(900.0, 90.0, 1.0)), op_s=0.001)
    free, kept = best(problem), best(replace(problem, within={"x": Tier.EDGE, "t0": Tier.EDGE}))
    assert isinstance(free, Plan) and isinstance(kept, Plan) and kept.certificate is not None
    assert [stage.node for stage in free.stages] == ["cloud"]
    assert [stage.node for stage in kept.stages] == ["mec"]
    assert kept.certificate.status == "optimal"
    assert "tensor x may be no higher than edge and is on cloud" in faults(
        replace(problem, within={"x": Tier.EDGE}), free
    )


def timed(problem: Problem, share: float) -> Problem:
    """The whole model and its halves timed on each engine, at a share of what its operators sum to."""
    names = [operator.name for operator in problem.graph.operators]
    runs = [tuple(names[begin:end]) for begin in range(len(names)) for end in range(begin + 1, len(names) + 1)]
    engines = {
        key: replace(
            engine,
            segment_s={segment_key(run): share * sum(engine.operator_s[name] for name in run) for run in runs},
        )
        for key, engine in problem.profile.engines.items()
    }
    return replace(problem, profile=replace(problem.profile, engines=engines))


@pytest.mark.parametrize("objective", ["energy", "latency"])
def test_a_limit_that_measured_segments_keep_is_kept_though_sums_break_it(objective: str) -> None:
    problem = timed(on_a_line(objective=objective, pinned={"op0": "camera", "op5": "camera"}), 0.5)
    found = best(replace(problem, limits=Limits(latency_s=0.03)))
    assert isinstance(found, Plan)
    assert found.predicted.latency_s == pytest.approx(0.024)


def test_plans_that_are_frugal_by_segments_alone_are_looked_for_under_a_limit() -> None:
    """The soonest of the row computes at the MEC; the limit wants nearly all on the camera, which sums rule out."""
    posed = on_a_line(pinned={"op5": "mec"}, limits=Limits(energy_j=0.06))
    assert isinstance(best(posed), Infeasible)
    found = best(timed(posed, 0.5))
    assert isinstance(found, Plan)
    assert [len(stage.operators) for stage in found.stages] == [5, 1]
    assert found.predicted.energy_j is not None and found.predicted.energy_j <= 0.06


def test_a_limit_that_no_measured_plan_keeps_is_told_with_the_best_found() -> None:
    found = best(timed(on_a_line(objective="energy", limits=Limits(latency_s=0.001)), 1.5))
    assert isinstance(found, Infeasible) and not found.proven
    assert re.search("within 1 ms is asked for; the best found, by the segments measured, takes", found.detail)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_a_limit_on_throughput_is_kept_at_any_scale_of_seconds(scale: float) -> None:
    posed = on_a_line(objective="energy")
    engines = {
        key: replace(engine, operator_s={name: taken * scale for name, taken in engine.operator_s.items()})
        for key, engine in posed.profile.engines.items()
    }
    links = tuple(
        replace(link, bytes_per_s=link.bytes_per_s / scale, propagation_s=link.propagation_s * scale)
        for link in posed.topology.links
    )
    posed = replace(
        posed,
        profile=replace(posed.profile, engines=engines),
        topology=replace(posed.topology, links=links),
        limits=Limits(throughput_per_s=1 / (0.04 * scale * (1 - 5e-7))),
    )
    found = best(posed)
    known = min(plan.predicted.energy_j or 0.0 for plan in every_plan(posed, 2))
    assert isinstance(found, Plan) and found.predicted.energy_j == pytest.approx(known)
    assert found.certificate is not None and found.certificate.status == "optimal"


def test_the_least_error_is_none_at_all() -> None:
    found = best(replace(random_two_crossings(), objective="error"))
    assert isinstance(found, Plan) and found.predicted.error == 0
    kept = best(replace(random_two_crossings(), limits=Limits(error=0.0)))
    assert isinstance(kept, Plan) and set(codecs_of(kept).values()) == {"raw"}


def test_out_of_time_nothing_is_claimed_about_limits() -> None:
    found = best(on_a_line(objective="energy", limits=Limits(latency_s=0.001)), seconds=0.0)
    assert isinstance(found, Infeasible) and not found.proven
    assert "nor that there is none; give it more time" in found.detail


def test_what_rows_closed_by_bounds_might_do_is_not_said_to_be_forbidden() -> None:
    problem = replace(random_two_crossings(), pinned={}, limits=Limits(error=0.01))
    found = best(problem)
    assert isinstance(found, Plan)
    assert "no single node may" not in found.reason and "no split is allowed" not in found.reason


def test_a_gap_is_told_where_the_time_was_too_short() -> None:
    problem = on_a_line(objective="energy", limits=Limits(latency_s=0.045))
    hasty = best(problem, seconds=0.0)
    assert isinstance(hasty, Plan) and hasty.certificate is not None
    assert hasty.certificate.status == "gap" and hasty.certificate.gap > 0
    assert faults(problem, hasty) == ()


def test_operators_that_belong_together_share_a_stage() -> None:
    problem = on_a_line(pinned={"op0": "camera"})
    apart, joined = best(problem), best(replace(problem, together=(("op0", "op3"),)))
    assert isinstance(apart, Plan) and isinstance(joined, Plan)
    assert [len(stage.operators) for stage in apart.stages] == [1, 5]
    assert [len(stage.operators) for stage in joined.stages] == [6]  # two operators do not pay the way
