"""Claims about the ways that messages take."""

from partitioner.topology import Link, Node, Tier, Topology


def nodes(*names: str) -> tuple[Node, ...]:
    return tuple(Node(name=name, tier=Tier.EDGE, backends=("onnxruntime",)) for name in names)


def link(source: str, target: str, mbps: float) -> Link:
    return Link(source=source, target=target, bytes_per_s=mbps * 125e3, propagation_s=1e-3)


def hops(topology: Topology, source: str, target: str) -> list[tuple[str, str]]:
    path = topology.path(source, target)
    assert path is not None
    return [(one.source, one.target) for one in path.links]


def test_a_link_between_two_nodes_is_their_way_however_slow() -> None:
    around = Topology(nodes("a", "b", "c"), (link("a", "b", 100), link("b", "c", 1000), link("a", "c", 5)))
    assert hops(around, "a", "c") == [("a", "c")]


def test_without_one_the_fastest_links_are() -> None:
    two_ways = (link("a", "b", 100), link("b", "d", 100), link("a", "c", 10), link("c", "d", 1000))
    assert hops(Topology(nodes("a", "b", "c", "d"), two_ways), "a", "d") == [("a", "b"), ("b", "d")]
