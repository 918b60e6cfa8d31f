from dataclasses import replace

import pytest

from partitioner.check import faults
from partitioner.cost import additive_latency_s, evaluate
from partitioner.errors import InvalidProblem
from partitioner.graph import Graph
from partitioner.plan import ROUTER, Plan
from partitioner.problem import Problem
from partitioner.profile import CodecFigure, EngineProfile, Profile, TensorFigure
from partitioner.stages import codecs_of, stages_of
from partitioner.tables import price_list
from partitioner.topology import Link, Node, Tier, Topology
from tests.partitioner.builders import chain_graph, graph_of, line_of, random_problem, simple_problem, site

A, B, C = (site(name) for name in ("a", "b", "c"))


def triangle() -> Topology:
    """Three nodes, each joined to each: 1 MB/s and 1 ms; c runs at half speed."""
    nodes = tuple(Node(name=name, tier=Tier.EDGE, backends=("ort",), slowdown=1.0 + (name == "c")) for name in "abc")
    links = [Link(source=x, target=y, bytes_per_s=1e6, propagation_s=0.001) for x in "abc" for y in "abc" if x != y]
    return Topology(nodes, tuple(links))


def fork() -> Graph:
    """op0 reads x0 and op1 reads x1; op2 reads what both make. 4,000 bytes each, 8,000 of t1."""
    sizes = {"x0": 1000, "x1": 1000, "t0": 1000, "t1": 2000, "t2": 1000}
    return graph_of([["x0"], ["x1"], ["t0", "t1"]], sizes, ["t2"], {})


def forked(**changed: object) -> Problem:
    """Each operator 10 ms (20 on c), calls 1 ms (2 on c), messages half a millisecond; all comes from and goes to a."""
    engine = EngineProfile(operator_s={f"op{i}": 0.01 for i in range(3)}, call_s=0.001)
    coding = CodecFigure(encode_s_per_byte=5e-8, decode_s_per_byte=3e-7)
    half = {"fp16": TensorFigure(ratio=0.5, error=0.01)}
    profile = Profile(
        model="m",
        engines={one.engine: engine for one in (A, B, C)},
        codecs={"fp16": coding},
        tensors={name: half for name in ("x0", "x1", "t0", "t1", "t2")},
        message_s=0.0005,
    )
    problem = simple_problem(
        fork(), triangle(), profile=profile, parallel=True, source="a", outputs_to={"t2": "a"}, codecs=("raw", "fp16")
    )
    return replace(problem, **changed)  # type: ignore[arg-type]


def ends(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.sender, one.receiver, one.tensors) for one in plan.crossings]


def test_two_branches_by_hand() -> None:
    """op0 on a, op1 on b, op2 on c: the branch on b is the later one.

    x1 is at b after 1 + 4 + 0.5 ms, and b ends 1 + 10 ms later, at 16.5. t1 is at c after 1 + 8 + 0.5 ms more, at 26;
    t0, from a, was there at 0.5 + 11 + 5.5 = 17. c takes 2 + 20 ms, and its answer 5.5.
    """
    plan = evaluate(forked(), [A, B, C])
    assert plan.predicted.latency_s == pytest.approx(0.0165 + 0.0095 + 0.022 + 0.0055)
    assert ends(plan) == [
        (ROUTER, "s1", ("x0",)),
        (ROUTER, "s2", ("x1",)),
        ("s1", "s3", ("t0",)),
        ("s2", "s3", ("t1",)),
        ("s3", ROUTER, ("t2",)),
    ]
    assert plan.parallel


def test_a_coded_tensor_is_coded_before_any_message_leaves_and_decoded_after_the_last_arrives() -> None:
    """t0 under fp16: a, not the later branch, ends 0.2 ms later; c decodes for 2 · 1.2 ms once t1 is there."""
    raw = evaluate(forked(), [A, B, C])
    coded = evaluate(forked(), [A, B, C], {"t0": "fp16"})
    assert coded.predicted.latency_s == pytest.approx(raw.predicted.latency_s + 0.0024)
    later = evaluate(forked(), [A, B, C], {"t1": "fp16"})
    assert later.predicted.latency_s == pytest.approx(raw.predicted.latency_s + 0.0004 - 0.004 + 0.0048)


def test_the_router_codes_its_inputs_before_it_sends_any() -> None:
    raw, coded = (evaluate(forked(), [A, B, C], codecs) for codecs in (None, {"x0": "fp16"}))
    assert coded.predicted.latency_s == pytest.approx(raw.predicted.latency_s + 0.0002)


def test_a_tensor_goes_under_the_codec_of_least_coding_and_bytes() -> None:
    """Of 4,000 bytes at 1 MB/s fp16 saves 2 ms, for 0.2 ms on this side and 1.2 on that; twice that on c."""
    plan = evaluate(forked(max_error=0.1), [A, B, C])
    assert codecs_of(plan) == {"x0": "raw", "x1": "fp16", "t0": "raw", "t1": "raw", "t2": "fp16"}


def test_all_who_read_a_tensor_get_it_straight_and_it_is_coded_once() -> None:
    graph = graph_of([["x0"], ["t0"], ["t0"]], {"t0": 1000}, ["t1", "t2"], {})
    problem = forked(graph=graph, outputs_to={"t1": "a", "t2": "a"})
    plans = [evaluate(problem, [A, B, C], {"t0": codec}) for codec in ("raw", "fp16")]
    assert ends(plans[0])[1:3] == [("s1", "s2", ("t0",)), ("s1", "s3", ("t0",))]
    assert [one.codec_s for one in plans[1].crossings] == pytest.approx([0, 0.0002 + 0.0012, 0.0024, 0, 0])
    saved_s = plans[0].predicted.latency_s - plans[1].predicted.latency_s
    assert saved_s == pytest.approx(0.002 - 0.0002 - 0.0024)


def test_every_receiver_counts_for_the_codec() -> None:
    """t0 to b and c takes 4 + 4 ms raw; under fp16 0.2 to code, 2 + 1.2 to b, 2 + 2.4 to c (to c alone it is raw)."""
    graph = graph_of([["x0"], ["t0"], ["t0"]], {"t0": 1000}, ["t1", "t2"], {})
    problem = forked(graph=graph, outputs_to={"t1": "a", "t2": "a"}, max_error=0.1)
    assert codecs_of(evaluate(problem, [A, B, C]))["t0"] == "fp16"


def test_stages_of_one_node_wait_for_each_other() -> None:
    other = site("a", "ov")
    problem = forked()
    engines = {**problem.profile.engines, other.engine: problem.profile.engines[A.engine]}
    problem = replace(problem, sites=(A, B, C, other), profile=replace(problem.profile, engines=engines))
    apart, same = (evaluate(problem, [A, one, C]) for one in (B, other))
    assert [one.node for one in same.stages] == ["a", "a", "c"]
    assert same.predicted.latency_s == pytest.approx(0.0005 + 2 * 0.011 + 0.0095 + 0.022 + 0.0055)
    assert apart.predicted.latency_s < same.predicted.latency_s


def test_the_latency_is_that_of_the_later_answer() -> None:
    graph = graph_of([["x0"], ["x1"]], {"x1": 1000, "t0": 50_000, "t1": 10}, ["t0", "t1"], {})
    plan = evaluate(forked(graph=graph, outputs_to={"t0": "b", "t1": "a"}), [A, B])
    assert plan.predicted.latency_s == pytest.approx(0.0005 + 0.011 + 0.001 + 0.2 + 0.0005)


def test_throughput_counts_each_nodes_seconds_and_each_links_bytes() -> None:
    assert evaluate(forked(), [A, B, C]).predicted.throughput_per_s == pytest.approx(1 / 0.022)


@pytest.mark.parametrize("seed", range(10))
def test_the_makespan_is_between_the_busiest_node_and_everything_in_turn(seed: int) -> None:
    problem = replace(random_problem(seed, tiers=2, operators=6), parallel=True)
    try:
        plan = evaluate(problem, [problem.sites[i % 2] for i in range(6)])
    except InvalidProblem:
        return
    busiest_s = max(sum(one.seconds for one in plan.stages if one.node == node) for node in ("camera", "mec"))
    everything_s = sum(one.seconds for one in plan.stages) + sum(one.seconds for one in plan.crossings)
    assert busiest_s <= plan.predicted.latency_s <= everything_s
    assert additive_latency_s(price_list(problem), stages_of(problem, plan)) == pytest.approx(plan.predicted.latency_s)
    assert [fault for fault in faults(problem, plan) if "price" in fault or "latency" in fault] == []


def test_a_chain_run_in_parallel_takes_what_it_takes_serially() -> None:
    serial = simple_problem(chain_graph(4), line_of([1e6]))
    row = [site("camera")] * 2 + [site("mec")] * 2
    plans = [evaluate(replace(serial, parallel=parallel), row) for parallel in (False, True)]
    assert plans[1].predicted.latency_s == pytest.approx(plans[0].predicted.latency_s)
    assert [plan.parallel for plan in plans] == [False, True]


def test_a_missing_way_is_named() -> None:
    there_only = Topology(line_of([1e6]).nodes, line_of([1e6]).links[:1])
    problem = simple_problem(chain_graph(2), there_only, parallel=True)
    with pytest.raises(InvalidProblem, match="no links lead from mec to camera"):
        evaluate(problem, [site("camera"), site("mec")])


def test_a_codec_without_a_speed_is_named() -> None:
    with pytest.raises(InvalidProblem, match="codec 'zip' has no measured speed"):
        evaluate(forked(), [A, B, C], {"t0": "zip"})
