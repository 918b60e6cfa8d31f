"""The checker finds nothing wrong with what solvers answer, and finds each fault that is put in."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from partitioner.check import faults
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.profile import CodecFigure, TensorFigure
from partitioner.search.mincut import solve
from tests.partitioner.builders import chain_graph, line_of, random_problem, simple_problem

CHAIN = chain_graph(4, 4000)


def split() -> tuple[Problem, Plan]:
    """A chain of four whose pins force it in two: op0 and op1 at the camera, op2 and op3 at the mec."""
    pinned = {"op0": "camera", "op1": "camera", "op2": "mec", "op3": "mec"}
    problem = simple_problem(CHAIN, line_of([1e6]), pinned=pinned)
    plan = solve(problem)
    assert isinstance(plan, Plan)
    return problem, plan


@pytest.mark.parametrize("memory", [False, True])
def test_solvers_answers_hold(memory: bool) -> None:
    answers = [(problem := random_problem(seed, 3, 6, memory=memory), solve(problem)) for seed in range(30)]
    plans = [(problem, plan) for problem, plan in answers if not isinstance(plan, Infeasible)]
    assert len(plans) > 10
    assert [faults(problem, plan) for problem, plan in plans] == [()] * len(plans)


def moved(plan: Plan, operator: str, to: int) -> Plan:
    stages = [replace(s, operators=tuple(name for name in s.operators if name != operator)) for s in plan.stages]
    stages[to] = replace(stages[to], operators=(*stages[to].operators, operator))
    return replace(plan, stages=tuple(stages))


def cheaper(plan: Plan) -> Plan:
    return replace(plan, predicted=replace(plan.predicted, latency_s=0.9 * plan.predicted.latency_s))


def certified(plan: Plan, **changes: object) -> Plan:
    assert plan.certificate is not None
    return replace(plan, certificate=replace(plan.certificate, **changes))  # type: ignore[arg-type]


SPOILED: dict[str, Callable[[Plan], Plan]] = {
    "operator op3 is in 0 stages": lambda plan: replace(
        plan, stages=(plan.stages[0], replace(plan.stages[1], operators=("op2",)))
    ),
    "operator op0 is in 2 stages": lambda plan: replace(
        plan, stages=(plan.stages[0], replace(plan.stages[1], operators=("op0", "op2", "op3")))
    ),
    "stage s2: tvm float32 on mec is no site": lambda plan: replace(
        plan, stages=(plan.stages[0], replace(plan.stages[1], backend="tvm"))
    ),
    "op1 reads t0 a stage before op0 makes it": lambda plan: moved(plan, "op0", 1),
    "operator op2 is pinned to mec and runs on camera": lambda plan: moved(plan, "op2", 0),
    "latency_s is": cheaper,
    "its certificate says optimal with a gap of 0.5": lambda plan: certified(plan, gap=0.5),
    "its certificate's gap is 0; price and bound are 0.5 apart": lambda plan: certified(
        plan, lower_bound=plan.predicted.latency_s / 2
    ),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_plan_is_found_out(fault: str) -> None:
    problem, plan = split()
    assert faults(problem, plan) == ()
    assert any(found.startswith(fault) for found in faults(problem, SPOILED[fault](plan)))


def test_privacy_and_memory_are_judged_by_the_problem() -> None:
    problem, plan = split()
    private = replace(problem, private=frozenset({"t1"}))
    assert faults(private, plan) == (
        "private tensor t1 is on mec, with operator op2",
        "private tensor t1 goes from camera to mec",
    )
    nodes = tuple(replace(node, memory_bytes=50) for node in problem.topology.nodes)
    heavy = replace(CHAIN, operators=tuple(replace(one, weights=("w",)) for one in CHAIN.operators))
    heavy = replace(heavy, weights_bytes={"w": 60})
    tight = replace(problem, graph=heavy, topology=replace(problem.topology, nodes=nodes))
    assert "mec holds 50 bytes of weights and would need 60" in faults(tight, plan)


def test_what_is_beyond_a_limit_apart_or_shared_by_unlike_nodes_is_found() -> None:
    problem, plan = split()
    late = replace(problem, limits=Limits(latency_s=plan.predicted.latency_s / 2, throughput_per_s=1e9))
    told = " ".join(faults(late, plan))
    assert "latency_s is" in told and "is allowed" in told and "throughput_per_s is" in told
    assert "operators op1, op2 belong together and are in several stages" in faults(
        replace(problem, together=(("op1", "op2"),)), plan
    )
    shared = replace(plan, stages=(replace(plan.stages[0], replicas=("mec",)), plan.stages[1]))
    assert "stage s1 is on camera, mec; 1 different nodes are allowed" in faults(problem, shared)


def test_an_error_is_judged_for_each_tensor_s_codec() -> None:
    problem, _ = split()
    figures = {name: {"int8": TensorFigure(ratio=0.25, error=0.1)} for name in problem.graph.activations}
    free = {"int8": CodecFigure(encode_s_per_byte=0, decode_s_per_byte=0)}
    profile = replace(problem.profile, tensors=figures, codecs=free)
    loose = replace(problem, profile=profile, codecs=("raw", "int8"), max_error=0.1)
    plan = solve(loose)
    assert isinstance(plan, Plan) and faults(loose, plan) == ()
    strict = faults(replace(loose, max_error=0.05), plan)
    assert "the error of t1 as int8 is 0.1, 0.05 is allowed" in strict
