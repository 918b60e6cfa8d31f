"""The zoo's models as planning problems, for benchmarks of solvers: their graphs are real, operator seconds drawn."""

import sys
from pathlib import Path
from random import Random

from partitioner.graph import Graph
from partitioner.load import load
from partitioner.problem import Problem, Site
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Link, Node, Tier, Topology

ZOO = ("efficientnet_lite0", "efficientnet_lite0_frame", "efficientnet_lite0_jpeg", "ocr_detect", "ocr_read")


def zoo_graphs() -> list[tuple[str, Graph]]:
    """Each zoo model's graph; one that cannot be built here is told on stderr and left out."""
    from isthmus import zoo

    found = []
    for name in ZOO:
        try:
            path: Path = zoo.build(name)
        except (Exception, SystemExit) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        found.append((name, load(path).graph))
    return found


def two_tiers(graph: Graph) -> Problem:
    """A camera eight times slower than the MEC behind 100 Mbps; inputs stay with their first readers."""
    draw = Random(1)
    nodes = (
        Node(name="camera", tier=Tier.DEVICE, backends=("drawn",), slowdown=8.0),
        Node(name="mec", tier=Tier.EDGE, backends=("drawn",)),
    )
    ends = (("camera", "mec"), ("mec", "camera"))
    links = tuple(Link(source=a, target=b, bytes_per_s=12.5e6, propagation_s=0.004) for a, b in ends)
    key = EngineKey(node_class="drawn", backend="drawn")
    mean_s = 0.01 / len(graph.operators)
    engine = EngineProfile(operator_s={one.name: draw.uniform(0, 2 * mean_s) for one in graph.operators}, call_s=5e-5)
    return Problem(
        graph=graph,
        topology=Topology(nodes, links),
        profile=Profile(model=graph.name, engines={key: engine}, message_s=2e-4, message_s_per_byte=2e-10),
        sites=tuple(Site(node=node.name, engine=key) for node in nodes),
        source="camera",
        outputs_to=dict.fromkeys(graph.outputs, "camera"),
        private=frozenset(graph.inputs),
    )
