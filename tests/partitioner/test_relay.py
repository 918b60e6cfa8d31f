"""The fastest relay against every assignment, crew and choice of codecs, all priced by the one evaluator."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.constraints import violation
from partitioner.cost import evaluate
from partitioner.errors import InvalidProblem
from partitioner.figures import throughput_per_s
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits, Problem, Site
from partitioner.profile import CodecFigure, EngineProfile, TensorFigure, segment_key
from partitioner.search import relay
from partitioner.search.codec_choice import choose
from partitioner.search.relay import fastest
from partitioner.tables import price_list
from partitioner.topology import Topology
from tests.partitioner.builders import chain_graph, evaluator, graph_of, line_of, random_problem, simple_problem, site


def with_twins(problem: Problem, twins: dict[str, int]) -> Problem:
    """The problem with so many further nodes like each of those named, linked to the others as it is."""
    nodes, links, sites = list(problem.topology.nodes), list(problem.topology.links), list(problem.sites)
    for name, count in twins.items():
        for number in range(count):
            twin = f"{name}-{number}"
            nodes.append(replace(problem.topology.node(name), name=twin))
            links += [replace(one, source=twin) for one in links if one.source == name]
            links += [replace(one, target=twin) for one in links if one.target == name]
            sites += [replace(one, node=twin) for one in problem.sites if one.node == name]
    return replace(problem, topology=Topology(tuple(nodes), tuple(links)), sites=tuple(sites))


def drawn(seed: int, tiers: int, operators: int, **asked: object) -> Problem:
    """A random problem, perhaps with a twin of one node, memory limits, and a group that must stay together."""
    draw = Random(seed)
    problem = random_problem(seed, tiers, operators, memory=draw.random() < 0.3)
    names = [operator.name for operator in problem.graph.operators]
    together = (tuple(draw.sample(names, 2)),) if operators > 1 and draw.random() < 0.3 else ()
    problem = replace(problem, together=together, **asked)  # type: ignore[arg-type]
    return with_twins(
        problem,
        {name: 1 for name in draw.choice((("mec",), ("camera",), ("mec", "camera")))}
        if problem.most_replicas > 1 and tiers > 1
        else {},
    )


def crews(problem: Problem, plan: Plan) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Every choice of the nodes that run each stage: twins have a name in common."""
    special, choices = {problem.source, *problem.outputs_to.values()}, []
    engines = {site.node: {s.engine for s in problem.sites if s.node == site.node} for site in problem.sites}
    for stage in plan.stages:
        pinned = any(name in problem.pinned for name in stage.operators)
        kind = stage.node.split("-")[0]
        like = [n for n in engines if n.split("-")[0] == kind and n != stage.node and n not in special]
        most = 0 if pinned or stage.node in special else problem.most_replicas - 1
        choices.append([some for count in range(most + 1) for some in combinations(like, count)])
    yield from product(*choices)


def assignments(problem: Problem) -> Iterator[tuple[Site, ...]]:
    """Every forward-only one: a site per tier at most, groups together."""
    graph = problem.graph
    tier = {one: problem.topology.node(one.node).tier for one in problem.sites}
    made = [one for one in graph.activations.values() if one.producer is not None]
    edges = [(one.producer, reader) for one in made if one.producer is not None for reader in one.consumers]
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    for row in product(problem.sites, repeat=len(graph.operators)):
        if len({tier[one] for one in row}) < len(set(row)) or any(tier[row[a]] > tier[row[b]] for a, b in edges):
            continue
        if all(len({row[index[name]] for name in group}) == 1 for group in problem.together):
            yield row


def every_rate(problem: Problem) -> Iterator[float]:
    """The throughput of every plan that is allowed."""
    table = price_list(problem).codecs
    tensors, evaluated = list(problem.graph.activations), evaluator(problem)
    for row in assignments(problem):
        try:
            plain = evaluated(row)
        except InvalidProblem:
            continue
        if violation(problem, plain) is not None:
            continue
        carried = sorted({name for crossing in plain.crossings for name in crossing.tensors})
        allowed = [
            [codec for codec, may in zip(table.names, table.admissible[:, tensors.index(name)], strict=True) if may]
            for name in carried
        ]
        for chosen in product(*allowed):
            plan = evaluated(row, dict(zip(carried, chosen, strict=True)))
            for further in crews(problem, plan):
                stages = [replace(one, replicas=some) for one, some in zip(plan.stages, further, strict=True)]
                yield throughput_per_s(problem, stages, plan.crossings)


def assert_fastest(problem: Problem) -> None:
    best, plan = max(every_rate(problem), default=None), fastest(problem)
    if isinstance(plan, Infeasible):
        assert best is None
        return
    assert best is not None
    assert violation(problem, plan) is None
    assert plan.predicted.throughput_per_s == pytest.approx(best, rel=1e-8)
    assert throughput_per_s(problem, plan.stages, plan.crossings) == plan.predicted.throughput_per_s
    assert plan.certificate is not None
    assert (plan.certificate.status, plan.certificate.objective) == ("optimal", "throughput")
    assert plan.certificate.lower_bound <= (1 + 1e-9) / best


ANY = {"seed": st.integers(0, 10**9), "tiers": st.integers(1, 3), "operators": st.integers(1, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("serialised", [False, True])
@settings(max_examples=300, deadline=None)
@given(**ANY)
def test_any_small_problem_equals_brute_force(serialised: bool, seed: int, tiers: int, operators: int) -> None:
    assert_fastest(drawn(seed, tiers, operators, serialised=serialised))


@pytest.mark.slow
@pytest.mark.parametrize("serialised", [False, True])
@settings(max_examples=150, deadline=None)
@given(**ANY)
def test_replicas_equal_brute_force(serialised: bool, seed: int, tiers: int, operators: int) -> None:
    assert_fastest(drawn(seed, tiers, min(operators, 3), serialised=serialised, most_replicas=2))


@pytest.mark.slow
@pytest.mark.parametrize("serialised", [False, True])
def test_growing_thresholds_and_few_pairs_kept_find_the_same(serialised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "FEW_PAIRS", 0)
    monkeypatch.setattr(relay, "KEPT", (1, 2, 1024))
    for seed in range(30):
        assert_fastest(drawn(seed, 3, 3, serialised=serialised))


def row_of(count: int = 4, op_s: float = 0.01, size: int = 10, **asked: object) -> Problem:
    """Operators in a row on camera, mec and cloud, with links that hardly matter unless sizes do."""
    return simple_problem(chain_graph(count, size), line_of([1e6, 1e6], propagation_s=0.0), op_s, **asked)


def answered(problem: Problem) -> Plan:
    plan = fastest(problem)
    assert isinstance(plan, Plan), plan
    return plan


def test_work_is_shared_out_until_the_busiest_node_is_least_busy() -> None:
    plan = answered(row_of(count=6))
    assert [len(stage.operators) for stage in plan.stages] == [2, 2, 2]
    assert plan.predicted.throughput_per_s == pytest.approx(1 / 0.02)
    assert plan.reason.startswith("split: camera | mec | cloud gives 50 answers/s; all on ")


def slowed(problem: Problem, **slowdowns: float) -> Problem:
    """The problem with these nodes, and their twins, as slow as told."""
    nodes = problem.topology.nodes
    slow = tuple(replace(one, slowdown=slowdowns.get(one.name.split("-")[0], 1.0)) for one in nodes)
    return replace(problem, topology=Topology(slow, problem.topology.links))


def test_replicating_the_slowest_stage_raises_throughput() -> None:
    slow = slowed(with_twins(row_of(count=4, pinned={"op0": "camera"}), {"cloud": 1}), mec=4.0)
    one, two = answered(slow), answered(replace(slow, most_replicas=2))
    assert two.stages[-1].replicas == ("cloud-0",)
    assert two.predicted.throughput_per_s > 1.3 * one.predicted.throughput_per_s
    assert two.predicted.latency_s == pytest.approx(evaluate(slow, sites_of(slow, two)).predicted.latency_s)


def sites_of(problem: Problem, plan: Plan) -> list[Site]:
    """Where each operator's stage has its first node."""
    at = {name: stage.node for stage in plan.stages for name in stage.operators}
    return [next(s for s in problem.sites if s.node == at[one.name]) for one in problem.graph.operators]


def test_replicas_do_not_help_where_the_link_binds() -> None:
    problem = slowed(with_twins(row_of(size=100_000, pinned={"op0": "camera", "op3": "cloud"}), {"mec": 1}), mec=9.0)
    one, two = (answered(replace(problem, most_replicas=most)) for most in (1, 2))
    assert two.predicted.throughput_per_s == one.predicted.throughput_per_s == pytest.approx(1 / 0.4)
    assert [stage.replicas for stage in two.stages] == [() for _ in two.stages]


@pytest.mark.parametrize(("large", "busiest_s"), [("x", 0.04 / 2), ("t0", 0.04 / 6), ("t1", 0.04), ("", 0.01 / 2)])
def test_messages_between_replicas_are_spread_over_all_pairs(large: str, busiest_s: float) -> None:
    sizes = {"x": 1, "t0": 1, "t1": 1} | {large: 10_000}  # 40 ms on a link
    graph = graph_of([["x"], ["t0"]], sizes, ["t1"], {})
    problem = with_twins(simple_problem(graph, line_of([1e6, 1e6]), 0.01), {"mec": 1, "cloud": 2})
    plan = evaluate(problem, [site("mec"), site("cloud")])
    stages = (replace(plan.stages[0], replicas=("mec-0",)), replace(plan.stages[1], replicas=("cloud-0", "cloud-1")))
    # of two equal ways back, the clouds' answers all take the one over mec
    assert throughput_per_s(problem, stages, plan.crossings) == pytest.approx(1 / busiest_s, rel=1e-3)


def test_a_serialised_node_is_busy_with_stages_messages_coding_and_software() -> None:
    graph = graph_of([["x"], ["t0"]], {"x": 1000, "t0": 1000, "t1": 10}, ["t1"], {})
    problem = simple_problem(
        graph, line_of([1e6], slowdowns=(2.0, 3.0)), 0.001, serialised=True, codecs=("raw", "fp16")
    )
    codecs = {"fp16": CodecFigure(encode_s_per_byte=1e-6, decode_s_per_byte=2e-6)}
    profile = replace(
        problem.profile, codecs=codecs, tensors={"t0": {"fp16": TensorFigure(ratio=0.5, error=0.0)}}, message_s=0.0005
    )
    problem = replace(problem, profile=profile)
    plan = evaluate(problem, [site("camera"), site("mec")], {"t0": "fp16"})
    camera_s = 0.002 + (0.002 + 0.0005 + 2 * 0.004) + (0.00004 + 0.0005)  # stage, what it sends, the answer
    mec_s = 0.003 + (0.002 + 0.0005 + 3 * 0.008) + (0.00004 + 0.0005)
    assert plan.predicted.throughput_per_s == pytest.approx(1 / max(camera_s, mec_s))
    free = replace(problem, topology=line_of([1e6], slowdowns=(2.0, 0.0)))
    assert evaluate(free, [site("camera"), site("mec")], {"t0": "fp16"}).predicted.throughput_per_s == pytest.approx(
        1 / camera_s
    )


def test_contradictory_pins_are_refused_by_name() -> None:
    found = fastest(row_of(pinned={"op0": "cloud", "op3": "camera"}))
    assert isinstance(found, Infeasible)
    assert found.constraint == "operators"
    assert "pins" in found.detail


def test_a_group_whose_pins_part_it_is_refused_as_together() -> None:
    pins = {"op0": "camera", "op3": "cloud"}
    found = fastest(row_of(pinned=pins, together=(("op0", "op3"),)))
    assert isinstance(found, Infeasible)
    assert found.constraint == "together"


def test_a_latency_limit_that_every_fast_plan_breaks_is_named() -> None:
    found = fastest(row_of(limits=Limits(latency_s=0.001)))
    assert isinstance(found, Infeasible)
    assert found.constraint == "latency"


def test_where_ideals_are_too_many_the_gap_to_a_true_bound_is_told() -> None:
    problem = row_of(count=7)
    best, rough = answered(problem), fastest(problem, most_ideals=3)
    assert isinstance(rough, Plan)
    assert rough.certificate is not None
    assert rough.certificate.status == "gap"
    assert rough.certificate.lower_bound <= 1 / best.predicted.throughput_per_s
    assert rough.predicted.throughput_per_s == pytest.approx(best.predicted.throughput_per_s)


def test_where_the_narrowest_cut_binds_a_few_orders_prove_it() -> None:
    problem = row_of(size=100_000, op_s=1e-4, pinned={"op0": "camera", "op3": "mec"})
    plan = fastest(problem, most_ideals=3)
    assert isinstance(plan, Plan)
    assert plan.certificate is not None
    assert plan.certificate.status == "optimal"
    assert plan.predicted.throughput_per_s == pytest.approx(1 / 0.4)


def test_lossy_codecs_are_taken_only_where_they_raise_throughput() -> None:
    figures = {f"t{i}": {"fp16": TensorFigure(ratio=0.5, error=0.001)} for i in range(4)}
    problem = row_of(size=1000, max_error=0.01, codecs=("raw", "fp16"), pinned={"op0": "camera", "op3": "mec"})
    slow = {"fp16": CodecFigure(encode_s_per_byte=1e-3, decode_s_per_byte=1e-3)}  # so latency alone would go raw
    problem = replace(problem, profile=replace(problem.profile, tensors=figures, codecs=slow))
    for rate, codec in ((1e7, "raw"), (1e5, "fp16")):
        plan = answered(replace(problem, topology=line_of([rate, rate])))
        assert plan.crossings[1].codecs == (codec,)


def test_what_is_pinned_to_a_node_is_not_replicated_beside_it() -> None:
    problem = with_twins(row_of(count=3, pinned={"op1": "mec"}, most_replicas=2), {"mec": 1})
    slow = slowed(problem, mec=9.0)
    assert [stage.replicas for stage in answered(slow).stages if stage.node == "mec"] == [()]
    free = answered(slowed(replace(problem, pinned={"op0": "camera", "op2": "cloud"}), camera=3.0, cloud=3.0, mec=4.0))
    assert [stage.replicas for stage in free.stages] == [(), ("mec-0",), ()]


def test_the_middle_never_runs_what_its_engine_cannot() -> None:
    problem = row_of(count=6)
    lame = EngineProfile(operator_s={f"op{i}": 0.01 for i in range(6) if i != 2})
    engines = problem.profile.engines | {site("mec").engine: lame}
    plan = answered(replace(problem, profile=replace(problem.profile, engines=engines)))
    assert "op2" not in {name for stage in plan.stages if stage.node == "mec" for name in stage.operators}
    assert plan.predicted.throughput_per_s == pytest.approx(1 / 0.03)


@pytest.mark.parametrize("seed", range(30))
def test_codecs_chosen_are_the_best_of_all_choices(seed: int) -> None:
    draw = np.random.default_rng(seed)
    settled_s, costs_s = draw.uniform(0, 1, 3), draw.uniform(0, 1, (4, 3, 3))
    costs_s[0, 1] = np.inf  # not admissible
    rows = product(range(3), repeat=4)
    loads = [float((settled_s + sum(costs_s[i, codec] for i, codec in enumerate(row))).max()) for row in rows]
    chosen = choose(settled_s, costs_s)
    assert chosen.is_best
    assert chosen.load_s == pytest.approx(min(loads))
    assert not choose(settled_s, costs_s, most_tries=2).is_best


def test_where_segments_were_measured_they_decide_between_chains() -> None:
    problem = row_of(count=2)
    fused = EngineProfile(operator_s={"op0": 0.01, "op1": 0.01}, segment_s={segment_key(("op0", "op1")): 0.001})
    engines = problem.profile.engines | {site("mec").engine: fused}
    measured = replace(problem, profile=replace(problem.profile, engines=engines), cost_model="measured")
    assert answered(problem).is_split
    plan = answered(measured)
    assert [stage.node for stage in plan.stages] == ["mec"]
    assert plan.predicted.throughput_per_s == pytest.approx(1 / 0.001)
    assert plan.certificate is not None
    assert plan.certificate.gap == pytest.approx(0.5)  # its operators' sum, against the best split's


@pytest.mark.parametrize("asked", [{"parallel": True}, {"forward_only": False}, {"most_replicas": 0}])
def test_what_it_cannot_search_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InvalidProblem, match="drawn"):
        fastest(row_of(**asked))
