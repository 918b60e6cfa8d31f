"""Machines, the links between them, and the paths that messages take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from itertools import pairwise

import networkx as nx

from partitioner.errors import InvalidTopology

NodeId = str
ROUTING_BYTES = 1 << 20  # paths are the fastest for a message of this size


class Tier(IntEnum):
    """Where a node stands between the data's source and the data centre."""

    DEVICE = 0
    EDGE = 1
    CLOUD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine that may run stages. `slowdown` multiplies its times (one-machine use only).

    `engines` are options of its backends: (backend, ((option, value), …)), …
    """

    name: NodeId
    tier: Tier
    backends: tuple[str, ...]
    threads: int = 1
    memory_bytes: int | None = None
    slowdown: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()
    address: str | None = None
    dials_only: bool = False
    idle_w: float | None = None
    active_w: float | None = None
    usd_per_hour: float | None = None
    purchase_usd: float | None = None
    engines: tuple[tuple[str, tuple[tuple[str, str | int | float | bool], ...]], ...] = ()

    def options_of(self, backend: str) -> dict[str, str | int | float | bool]:
        """What this machine's backend is compiled with."""
        return dict(dict(self.engines).get(backend, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction between two nodes."""

    source: NodeId
    target: NodeId
    bytes_per_s: float  # goodput, not line rate
    propagation_s: float  # half the round-trip time
    jitter_s: float = 0.0
    loss: float = 0.0
    j_per_byte: float | None = None
    usd_per_byte: float | None = None
    trusted: bool = True
    rnis: tuple[str, str] | None = None  # where a UE sends: the service's address, and the UE's in its network

    def transfer_s(self, nbytes: float) -> float:
        """Seconds for `nbytes` to leave one end and arrive at the other."""
        return self.propagation_s + nbytes / self.bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The links that a message from one node to another takes, in order; none within a node."""

    links: tuple[Link, ...]

    @property
    def propagation_s(self) -> float:
        """Seconds that the first bit needs, summed over the links."""
        return sum(link.propagation_s for link in self.links)

    @property
    def s_per_byte(self) -> float:
        """Seconds that each further byte needs.

        Each link of the path carries every byte and both are paid, as for a message stored and forwarded.
        """
        return sum(1 / link.bytes_per_s for link in self.links)


@dataclass(frozen=True)
class Topology:
    """Nodes and links, checked: unique names, known ends, positive rates."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...] = field(default=())

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        for name in names:
            if names.count(name) > 1:
                raise InvalidTopology(f"node {name!r} is listed twice; give each node its own name")
        seen: set[tuple[NodeId, NodeId]] = set()
        for link in self.links:
            _check_link(link, names)
            if (link.source, link.target) in seen:
                raise InvalidTopology(f"link {link.source} → {link.target} is listed twice; keep one")
            seen.add((link.source, link.target))

    @cached_property
    def by_name(self) -> Mapping[NodeId, Node]:
        """Node of each name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def _paths(self) -> Mapping[NodeId, Mapping[NodeId, list[NodeId]]]:
        graph = nx.DiGraph()
        graph.add_nodes_from(self.by_name)
        for link in self.links:  # ties broken by name through order
            graph.add_edge(link.source, link.target, weight=link.transfer_s(ROUTING_BYTES))
        return dict(nx.all_pairs_dijkstra_path(graph))

    @cached_property
    def _links(self) -> Mapping[tuple[NodeId, NodeId], Link]:
        return {(link.source, link.target): link for link in self.links}

    @cached_property
    def _found(self) -> dict[tuple[NodeId, NodeId], Path | None]:
        return {}

    def node(self, name: NodeId) -> Node:
        """The node of that name; InvalidTopology if there is none."""
        if name not in self.by_name:
            raise InvalidTopology(f"no node {name!r} in the topology; it has {', '.join(self.by_name)}")
        return self.by_name[name]

    def path(self, source: NodeId, target: NodeId) -> Path | None:
        """Links from source to target, or None where no route exists.

        A link between the two is the way, however slow: it is what a stream between them was measured to get, and no
        third node relays streams. Where there is none, networks are taken to route over the links that are fastest.
        """
        if (source, target) not in self._found:  # solvers ask for the same few paths over and over
            hops = self._paths[self.node(source).name].get(self.node(target).name)
            hops = [source, target] if (source, target) in self._links else hops
            links = None if hops is None else tuple(self._links[pair] for pair in pairwise(hops))
            self._found[source, target] = None if links is None else Path(links=links)
        return self._found[source, target]

    def with_links(self, changed: Iterable[Link]) -> "Topology":
        """The same nodes with these links in place of those between the same ends."""
        new = {(link.source, link.target): link for link in changed}
        return replace(self, links=tuple(new.get((link.source, link.target), link) for link in self.links))


def _check_link(link: Link, names: list[NodeId]) -> None:
    where = f"link {link.source} → {link.target}"
    for end in (link.source, link.target):
        if end not in names:
            raise InvalidTopology(f"{where}: no node {end!r}; nodes are {', '.join(names)}")
    if link.source == link.target:
        raise InvalidTopology(f"{where}: a link joins two different nodes")
    if not link.bytes_per_s > 0:
        raise InvalidTopology(f"{where}: goodput must be above 0, not {link.bytes_per_s * 8e-6:g} Mbps")
    if link.propagation_s < 0:
        raise InvalidTopology(f"{where}: rtt must not be negative, is {link.propagation_s * 2e3:g} ms")
