"""Which way messages take while one link's goodput and propagation move, and in which regions that stays the same.

From one node to another a message takes the fastest path for ROUTING_BYTES: over the link, over the link the other way,
or past it. What each takes is linear in x, the inverse of the goodput, and d, the propagation there and back; so each
region of one choice for every pair of nodes is a convex polygon. It must choose as `Topology.path` does.
"""

from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np

from partitioner.search.envelope import Corner, Plane, below, centre
from partitioner.topology import ROUTING_BYTES, Link, NodeId, Topology

ROUNDING = 1e-12
Choice = bytes  # for each pair of nodes, which of the three ways is taken


class Ways:
    """What each of the three ways takes between each pair of nodes, as planes over x and d."""

    def __init__(self, topology: Topology, link: Link) -> None:
        names = [node.name for node in topology.nodes]
        back = [one for one in topology.links if (one.source, one.target) == (link.target, link.source)]
        far = _past(topology, [link, *back])
        to = np.array([[far[a].get(b, np.inf) for b in names] for a in names])
        source, target = names.index(link.source), names.index(link.target)
        over = to[:, [source]] + to[[target], :]
        again = to[:, [target]] + to[[source], :] + (ROUTING_BYTES / back[0].bytes_per_s if back else np.inf)
        self._base = np.stack([to, over, again]).reshape(3, -1)
        self._base = self._base[:, np.isfinite(self._base[1:]).any(axis=0) & np.isfinite(self._base).any(axis=0)]
        self._base = self._base[:, np.isfinite(self._base).sum(axis=0) > 1]  # elsewhere there is nothing to choose

    def choice(self, x: float, one_way_s: float) -> Choice:
        """Which way each pair takes there."""
        if not self._base.size:
            return b""
        moved = np.array([[0.0], [x * ROUTING_BYTES + one_way_s], [one_way_s]])
        return bytes((self._base + moved).argmin(axis=0).tolist())

    def regions(self, xs: tuple[float, float], one_ways_s: tuple[float, float]) -> dict[Choice, list[Corner]]:
        """The polygon of each choice within these ranges, in coordinates from 0 to 1 along each of them."""
        scale = Scale(xs, one_ways_s)
        whole: list[Corner] = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
        pieces = [whole]
        for pair in self._base.T:
            for one, other in ((0, 1), (0, 2), (1, 2)):
                if np.isfinite(pair[one]) and np.isfinite(pair[other]):
                    border = scale.way(one, pair[one]).less(scale.way(other, pair[other]))
                    pieces = [half for piece in pieces for half in _halves(piece, border)]
        found: dict[Choice, list[Corner]] = {}
        for piece in pieces:
            choice = self.choice(*scale.point(centre(piece)))
            if choice not in found:
                found[choice] = self._region(whole, choice, scale)
        return found

    def _region(self, whole: list[Corner], choice: Choice, scale: "Scale") -> list[Corner]:
        """All of where the choice is this one: its pieces were cut by borders that need not matter."""
        region = whole
        for pair, taken in zip(self._base.T, choice, strict=True):
            for other in range(3):
                if other != taken and np.isfinite(pair[other]):
                    plane = scale.way(taken, pair[taken]).less(scale.way(other, pair[other]))
                    region = below(region, plane, plane.size * ROUNDING)
        return region


class Scale:
    """Between x and d and their coordinates from 0 to 1."""

    def __init__(self, xs: tuple[float, float], one_ways_s: tuple[float, float]) -> None:
        self._x, self._d = xs, one_ways_s

    def point(self, corner: Corner) -> tuple[float, float]:
        """The x and d of a corner; exactly the ends of their ranges at 0 and 1."""
        (x, last_x), (d, last_d) = self._x, self._d
        return (1 - corner[0]) * x + corner[0] * last_x, (1 - corner[1]) * d + corner[1] * last_d

    def way(self, number: int, base_s: float) -> Plane:
        """Seconds of ROUTING_BYTES past the link (0), over it (1) or over it the other way (2)."""
        bytes_over, times = (0, ROUTING_BYTES, 0)[number], (0, 1, 1)[number]
        return self.plane(base_s, bytes_over, times)

    def plane(self, base_s: float, nbytes: float, times: float) -> Plane:
        """base_s + nbytes·x + times·d."""
        (x, last_x), (d, last_d) = self._x, self._d
        return Plane(base=base_s + nbytes * x + times * d, slope_u=nbytes * (last_x - x), slope_v=times * (last_d - d))


def _halves(piece: list[Corner], border: Plane) -> list[list[Corner]]:
    """The piece cut in two, or as it is where the border misses it."""
    rounding = border.size * ROUNDING
    flipped = Plane(base=-border.base, slope_u=-border.slope_u, slope_v=-border.slope_v)
    halves = [half for half in (below(piece, border, rounding), below(piece, flipped, rounding)) if len(half) > 2]
    return halves if len(halves) > 1 else [piece]


def _past(topology: Topology, without: Sequence[Link]) -> Mapping[NodeId, Mapping[NodeId, float]]:
    graph: nx.DiGraph[NodeId] = nx.DiGraph()
    graph.add_nodes_from(node.name for node in topology.nodes)
    for link in topology.links:
        if link not in without:
            graph.add_edge(link.source, link.target, weight=link.transfer_s(ROUTING_BYTES))
    return dict(nx.all_pairs_dijkstra_path_length(graph))
