"""The zoo's models as planning problems, for benchmarks of solvers: their graphs are real, operator seconds drawn."""

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

from partitioner.graph import Graph
from partitioner.load import load
from partitioner.problem import Problem, Site
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, TensorFigure
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


def three_tiers(graph: Graph) -> Problem:
    """The same camera and MEC with a cloud behind 400 Mbps, with watts and prices, and inputs that may leave."""
    posed = two_tiers(graph)
    (key,) = posed.profile.engines
    facts = (("camera", 8.0, 4.0, 0.0), ("mec", 2.0, 30.0, 0.4), ("cloud", 1.0, 250.0, 2.0))
    nodes = tuple(
        Node(name=name, tier=Tier(i), backends=("drawn",), slowdown=slow, active_w=watts, usd_per_hour=usd)
        for i, (name, slow, watts, usd) in enumerate(facts)
    )
    ways = (("camera", "mec", 12.5e6, 0.004, 1e-6, 0.0), ("mec", "cloud", 50e6, 0.01, 1e-7, 1e-10))
    links = tuple(
        Link(source=a, target=b, bytes_per_s=rate, propagation_s=late, j_per_byte=joules, usd_per_byte=usd)
        for one, other, rate, late, joules, usd in ways
        for a, b in ((one, other), (other, one))
    )
    sites = tuple(Site(node=node.name, engine=key) for node in nodes)
    return replace(posed, topology=Topology(nodes, links), sites=sites, private=frozenset())


SPEEDS = {"raw": 0.0, "fp16": 3e-10, "int8": 1e-9}  # seconds per byte, each way
FIGURES = {"fp16": TensorFigure(ratio=0.5, error=0.001), "int8": TensorFigure(ratio=0.26, error=0.01)}


def with_codecs(problem: Problem) -> Problem:
    """The problem where floats may also cross as fp16 and int8, of typical speed, ratio and error."""
    codecs = {name: CodecFigure(encode_s_per_byte=speed, decode_s_per_byte=speed) for name, speed in SPEEDS.items()}
    floats = [name for name, one in problem.graph.activations.items() if one.dtype == "float32"]
    profile = replace(problem.profile, codecs=codecs, tensors={name: dict(FIGURES) for name in floats})
    return replace(problem, profile=profile, codecs=tuple(SPEEDS), max_error=0.02)
