from dataclasses import replace

import pytest

from partitioner.cost import evaluate, without_segments
from partitioner.errors import InvalidProblem
from partitioner.plan import ROUTER
from partitioner.problem import Problem, Site
from partitioner.profile import CodecFigure, EngineProfile, TensorFigure, segment_key
from partitioner.topology import Link, Topology
from tests.partitioner.builders import chain_graph, graph_of, line_of, simple_problem, site

CAMERA, MEC, CLOUD = site("camera"), site("mec"), site("cloud")


def two_tiers(call_s: float = 0.0) -> Problem:
    """Four operators of 1 ms, 4,000-byte activations, 1 MB/s: 4 ms a tensor, 4 ms propagation."""
    return simple_problem(chain_graph(4), line_of([1e6]), call_s=call_s)


def with_codec(problem: Problem, tensor: str, *, error: float = 0.01, encode: float = 0.0) -> Problem:
    profile = replace(
        problem.profile,
        codecs={"int8": CodecFigure(encode_s_per_byte=encode, decode_s_per_byte=encode)},
        tensors={tensor: {"int8": TensorFigure(ratio=0.25, error=error)}},
    )
    return replace(problem, profile=profile, codecs=("raw", "int8"), max_error=0.05)


def test_latency_is_every_stage_and_every_crossing() -> None:
    plan = evaluate(two_tiers(), [CAMERA, CAMERA, MEC, MEC])
    assert [(one.node, one.operators, one.inputs, one.outputs) for one in plan.stages] == [
        ("camera", ("op0", "op1"), ("x",), ("t1",)),
        ("mec", ("op2", "op3"), ("t1",), ("t3",)),
    ]
    ends = [(one.sender, one.receiver, one.source, one.target, one.tensors) for one in plan.crossings]
    assert ends == [
        (ROUTER, "s1", "camera", "camera", ("x",)),
        ("s1", "s2", "camera", "mec", ("t1",)),
        ("s2", ROUTER, "mec", "camera", ("t3",)),
    ]
    assert plan.predicted.latency_s == pytest.approx(0.004 + 2 * (0.004 + 0.004))
    assert plan.is_split


def test_an_unsplit_plan_elsewhere_pays_its_input_and_its_answer() -> None:
    plan = evaluate(two_tiers(), [MEC] * 4)
    assert [one.nbytes for one in plan.crossings] == [4000, 4000]
    assert plan.predicted.latency_s == pytest.approx(0.004 + 2 * 0.008)
    assert not plan.is_split


def test_slowdown_multiplies_operators_calls_and_coding() -> None:
    topology = line_of([1e6], slowdowns=(8.0,))
    problem = with_codec(simple_problem(chain_graph(4), topology, call_s=0.002), "t1", encode=1e-8)
    plan = evaluate(problem, [CAMERA, CAMERA, MEC, MEC])
    assert plan.stages[0].seconds == pytest.approx(8 * (0.002 + 0.002))
    assert plan.crossings[1].codec_s == pytest.approx((8 + 1) * 4000 * 1e-8)


def test_message_software_is_paid_on_the_same_node_too() -> None:
    problem = two_tiers()
    problem = replace(problem, profile=replace(problem.profile, message_s=0.001, message_s_per_byte=1e-6))
    first = evaluate(problem, [CAMERA] * 4).crossings[0]
    assert (first.propagation_s, first.transfer_s) == (0.0, 0.0)
    assert first.software_s == pytest.approx(0.001 + 4000 * 1e-6)


def test_a_measured_segment_replaces_the_operators_sum() -> None:
    problem = two_tiers(call_s=0.5)
    engine = problem.profile.engines[MEC.engine]
    timed = replace(engine, segment_s={segment_key(("op2", "op3")): 0.0015})
    problem = replace(problem, profile=replace(problem.profile, engines={**problem.profile.engines, MEC.engine: timed}))
    plan = evaluate(problem, [CAMERA, CAMERA, MEC, MEC])
    assert [(one.seconds, one.measured) for one in plan.stages] == [(0.502, False), (0.0015, True)]
    assert not any(one.measured for one in evaluate(without_segments(problem), [CAMERA, CAMERA, MEC, MEC]).stages)


def test_a_tensor_that_skips_a_stage_is_carried_on_undecoded() -> None:
    graph = graph_of([["x"], ["x"], ["t0", "t1"]], {"t0": 1000}, ["t2"], {})
    problem = with_codec(simple_problem(graph, line_of([1e6, 1e6])), "t0", encode=1e-8)
    plan = evaluate(problem, [CAMERA, MEC, CLOUD])
    assert [(one.tensors, one.codecs) for one in plan.crossings[1:3]] == [
        (("x", "t0"), ("raw", "int8")),
        (("t0", "t1"), ("int8", "raw")),
    ]
    assert plan.stages[1].inputs == ("x",)
    assert [one.codec_s for one in plan.crossings[1:3]] == pytest.approx([4e-5, 4e-5])  # encoded once, decoded once


def test_each_stage_that_makes_outputs_answers_by_itself() -> None:
    graph = graph_of([["x"], ["t0"]], {}, ["t0", "t1"], {})
    plan = evaluate(simple_problem(graph, line_of([1e6])), [CAMERA, MEC])
    assert [(one.sender, one.tensors) for one in plan.crossings if one.receiver == ROUTER] == [
        ("s1", ("t0",)),
        ("s2", ("t1",)),
    ]


def test_the_cheapest_admissible_codec_is_chosen_and_its_error_promised() -> None:
    plan = evaluate(with_codec(two_tiers(), "t1"), [CAMERA, CAMERA, MEC, MEC])
    assert (plan.crossings[1].codecs, plan.crossings[1].nbytes) == (("int8",), 1000)
    assert plan.predicted.error == 0.01


@pytest.mark.parametrize(("error", "encode"), [(0.06, 0.0), (0.01, 1e-5)])
def test_a_codec_too_lossy_or_too_slow_is_not_chosen(error: float, encode: float) -> None:
    problem = with_codec(two_tiers(), "t1", error=error, encode=encode)
    assert evaluate(problem, [CAMERA, CAMERA, MEC, MEC]).crossings[1].codecs == ("raw",)


def test_a_codec_may_be_imposed() -> None:
    problem = with_codec(two_tiers(), "t1")
    plan = evaluate(problem, [CAMERA, CAMERA, MEC, MEC], codecs={"t1": "raw"})
    assert plan.crossings[1].codecs == ("raw",)
    with pytest.raises(InvalidProblem, match="'t3' was not profiled under codec 'int8'"):
        evaluate(problem, [MEC] * 4, codecs={"t3": "int8"})


def test_a_node_left_and_re_entered_makes_convex_stages() -> None:
    plan = evaluate(two_tiers(), [CAMERA, MEC, CAMERA, MEC])
    assert [(one.node, one.operators) for one in plan.stages] == [
        ("camera", ("op0",)),
        ("mec", ("op1",)),
        ("camera", ("op2",)),
        ("mec", ("op3",)),
    ]


def test_a_stage_is_never_left_and_re_entered_by_a_path() -> None:
    graph = graph_of([["x"], ["t0"], ["t0"], ["t1", "t2"]], {}, ["t3"], {})
    plan = evaluate(simple_problem(graph, line_of([1e6])), [CAMERA, MEC, CAMERA, CAMERA])
    assert [(one.node, one.operators) for one in plan.stages] == [
        ("camera", ("op0", "op2")),
        ("mec", ("op1",)),
        ("camera", ("op3",)),
    ]


def test_throughput_is_one_over_the_busiest_node_or_link() -> None:
    by_link = evaluate(two_tiers(), [CAMERA, CAMERA, MEC, MEC])
    assert by_link.predicted.throughput_per_s == pytest.approx(1 / 0.004)
    by_node = evaluate(two_tiers(), [CAMERA] * 4)
    assert by_node.predicted.throughput_per_s == pytest.approx(1 / 0.004)


def test_energy_and_cost_need_every_figure() -> None:
    problem = two_tiers()
    assert evaluate(problem, [MEC] * 4).predicted.energy_j is None
    topology = problem.topology
    nodes = tuple(replace(one, active_w=5.0, usd_per_hour=3.6) for one in topology.nodes)
    links = tuple(replace(one, j_per_byte=1e-6, usd_per_byte=1e-9) for one in topology.links)
    predicted = evaluate(replace(problem, topology=Topology(nodes, links)), [MEC] * 4).predicted
    assert predicted.energy_j == pytest.approx(5 * 0.004 + 8000e-6)
    assert predicted.cost_usd == pytest.approx(0.001 * 0.004 + 8000e-9)


def test_each_link_of_a_path_is_paid_in_turn() -> None:
    plan = evaluate(simple_problem(chain_graph(1), line_of([1e6, 2e6])), [CLOUD])
    assert plan.crossings[0].propagation_s == pytest.approx(0.008)
    assert plan.crossings[0].transfer_s == pytest.approx(4000 / 1e6 + 4000 / 2e6)


def test_what_cannot_be_priced_is_refused_by_name() -> None:
    problem = two_tiers()
    one_way = replace(problem, topology=Topology(problem.topology.nodes, problem.topology.links[:1]))
    with pytest.raises(InvalidProblem, match="no way from mec to camera"):
        evaluate(one_way, [MEC] * 4)
    engines = {**problem.profile.engines, MEC.engine: EngineProfile(operator_s={"op0": 1.0})}
    partial = replace(problem, profile=replace(problem.profile, engines=engines))
    with pytest.raises(InvalidProblem, match="'op1' has no time on mec"):
        evaluate(partial, [MEC] * 4)
    with pytest.raises(InvalidProblem, match="3 sites were given for 4 operators"):
        evaluate(problem, [MEC] * 3)


def test_an_assignment_may_be_a_mapping() -> None:
    row = [CAMERA, CAMERA, MEC, MEC]
    problem = two_tiers()
    assert evaluate(problem, dict(enumerate(row))) == evaluate(problem, row)


def test_a_link_much_faster_never_raises_the_price() -> None:
    problem = two_tiers()
    faster = problem.topology.with_links([Link(source="camera", target="mec", bytes_per_s=1e9, propagation_s=0.0)])
    row: list[Site] = [CAMERA, CAMERA, MEC, MEC]
    assert (
        evaluate(replace(problem, topology=faster), row).predicted.latency_s
        < evaluate(problem, row).predicted.latency_s
    )
