from kit.cuts import cut_at

from tests.partitioner.builders import chain_graph, graph_of

EVEN = {f"op{i}": 1.0 for i in range(4)}


def test_a_cut_comes_where_its_share_of_the_compute_is_done() -> None:
    assert cut_at(chain_graph(4), EVEN, 0.5, near=0.01) == 2
    assert cut_at(chain_graph(4), EVEN | {"op0": 9.0}, 0.75, near=0.01) == 1


def test_near_the_share_a_cut_comes_where_fewest_bytes_cross() -> None:
    graph = graph_of([["x"], ["t0"], ["t1"], ["t2"]], {"t0": 10, "t1": 900, "t2": 900}, ["t3"], {})
    assert cut_at(graph, EVEN, 0.5, near=0.3) == 1


def test_an_activation_read_far_on_crosses_every_cut_before() -> None:
    graph = graph_of([["x"], ["t0"], ["t1"], ["t2", "t0"]], {"t0": 900, "t1": 10, "t2": 20}, ["t3"], {})
    assert cut_at(graph, EVEN, 0.5, near=0.3) == 1
