from dataclasses import replace

from partitioner.constraints import violation
from partitioner.cost import evaluate
from partitioner.plan import Infeasible
from partitioner.problem import Problem, Site
from tests.partitioner.builders import chain_graph, graph_of, line_of, simple_problem, site

CAMERA, MEC = site("camera"), site("mec")


def broken_by(problem: Problem, row: list[Site]) -> Infeasible | None:
    return violation(problem, evaluate(problem, row))


def test_a_private_tensor_in_a_message_to_another_node_is_a_leak() -> None:
    problem = simple_problem(chain_graph(2), line_of([1e6]), private=frozenset({"t0"}))
    assert broken_by(problem, [CAMERA, CAMERA]) is None
    found = broken_by(problem, [CAMERA, MEC])
    assert found is not None
    assert (found.constraint, "'t0' would go from camera to mec" in found.detail) == ("privacy", True)


def test_a_private_tensor_made_and_read_elsewhere_is_a_leak_too() -> None:
    problem = simple_problem(chain_graph(3), line_of([1e6]), private=frozenset({"t1"}))
    found = broken_by(problem, [CAMERA, MEC, MEC])
    assert found is not None
    assert found.detail == "private tensor 't1' would be on mec"


def test_a_private_input_that_only_passes_through_a_node_is_a_leak() -> None:
    graph = graph_of([["x0"], ["x1", "t0"]], {}, ["t1"], {})
    problem = simple_problem(graph, line_of([1e6]), private=frozenset({"x1"}))
    assert broken_by(problem, [MEC, CAMERA]) is not None


def test_a_pinned_operator_stays() -> None:
    problem = simple_problem(chain_graph(2), line_of([1e6]), pinned={"op1": "mec"})
    assert broken_by(problem, [CAMERA, MEC]) is None
    found = broken_by(problem, [CAMERA, CAMERA])
    assert found is not None
    assert found.detail == "operator 'op1' is pinned to mec, not camera"


def test_each_stage_on_a_node_holds_its_own_copy_of_a_weight() -> None:
    graph = graph_of([["x"], ["t0"], ["t1"]], {}, ["t2"], {0: ["w"], 2: ["w"]})
    problem = simple_problem(graph, line_of([1e6]))
    nodes = tuple(replace(one, memory_bytes=150) for one in problem.topology.nodes)
    problem = replace(problem, topology=replace(problem.topology, nodes=nodes))
    assert broken_by(problem, [CAMERA, CAMERA, CAMERA]) is None
    found = broken_by(problem, [CAMERA, MEC, CAMERA])
    assert found is not None
    assert found.detail == "camera has 150 bytes of memory for weights and would need 200"
