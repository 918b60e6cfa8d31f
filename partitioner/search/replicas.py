"""On which further nodes a stage may run: nodes that nothing in the plan's figures can tell from its first.

Two nodes are equal if exchanging them changes nothing in the topology: tier, slowdown, threads, memory, backends and
prices, and the links to and from every other node, in goodput, propagation and prices. The source, and nodes that
outputs return to, have no equal. Both must run the very engine that was profiled. It prices nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from math import prod

from partitioner.problem import Problem, Site
from partitioner.topology import Link, Node, NodeId

Crew = tuple[NodeId, ...]  # the nodes that run one stage, the first its own
MOST_CREWS = 512  # ways to man a chain that are tried one by one; beyond, the first equal nodes stand for the others


def equal_sites(problem: Problem) -> Mapping[Site, tuple[Site, ...]]:
    """Each site with those that may take a share of its stage, itself included, in the topology's order."""
    order = {node.name: number for number, node in enumerate(problem.topology.nodes)}
    links = {(link.source, link.target): link for link in problem.topology.links}
    found: dict[Site, tuple[Site, ...]] = {}
    for site in problem.sites:
        alike = [
            other
            for other in problem.sites
            if other.engine == site.engine and (other == site or _equal(problem, links, site.node, other.node))
        ]
        found[site] = tuple(sorted(alike, key=lambda one: order[one.node]))
    return found


def crews_of(problem: Problem, equals: Mapping[Site, tuple[Site, ...]], sites: Sequence[Site]) -> Iterator[list[Crew]]:
    """Every way to man the stages of these sites, each once: a stage's own node is the first of its crew."""
    choices = []
    for site in sites:
        alike = [one.node for one in equals[site]]
        later = alike[alike.index(site.node) + 1 :]
        most = min(problem.most_replicas - 1, len(later))
        choices.append([(site.node, *some) for count in range(most + 1) for some in combinations(later, count)])
    if prod(map(len, choices)) > MOST_CREWS:
        choices = [
            [crew for crew in some if _is_first(equals[site], crew)] for site, some in zip(sites, choices, strict=True)
        ]
    for row in product(*choices):
        yield list(row)


def _is_first(alike: Sequence[Site], crew: Crew) -> bool:
    """Whether no equal node before the crew's last is left out; the own node alone is always allowed."""
    return len(crew) == 1 or crew == tuple(one.node for one in alike[: len(crew)])


def _equal(problem: Problem, links: Mapping[tuple[NodeId, NodeId], Link], a: NodeId, b: NodeId) -> bool:
    special = {problem.source, *problem.outputs_to.values()}
    topology = problem.topology
    if a == b or a in special or b in special or _machine(topology.node(a)) != _machine(topology.node(b)):
        return False
    others = [node.name for node in topology.nodes if node.name not in {a, b}]
    return _way(links.get((a, b))) == _way(links.get((b, a))) and all(
        _way(links.get((a, other))) == _way(links.get((b, other)))
        and _way(links.get((other, a))) == _way(links.get((other, b)))
        for other in others
    )


def _machine(node: Node) -> tuple[object, ...]:
    prices = (node.active_w, node.usd_per_hour)
    return (node.tier, node.slowdown, node.threads, node.memory_bytes, node.backends, *prices)


def _way(link: Link | None) -> tuple[object, ...] | None:
    if link is None:
        return None
    return (link.bytes_per_s, link.propagation_s, link.j_per_byte, link.usd_per_byte)
