"""Throughput, energy and money of a plan's stages and messages: what Predicted holds besides latency and error.

Throughput is 1 / the busiest resource's seconds per request: a node, or a directed link carrying bytes. A stage on r
nodes leaves each of them 1/r of its seconds; its messages are spread evenly over the pairs of nodes that send and
receive, each pair's share taking that pair's path. The router is always one. Where `Problem.serialised`, a node is
also busy while it sends or receives a message to or from another node: bytes over the goodput of the path's link at
that node, the message's software seconds (whole at both ends, as which of them spends them isn't measured), and its
coding (the receiver what decoding takes it, the sender the rest). Of nodes that only forward, links alone are busy.
Latency, energy and money of a stage on several nodes are those of its first.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from partitioner.errors import InvalidProblem
from partitioner.messages import ROUTER_SLOWDOWN
from partitioner.plan import ROUTER, Crossing, Predicted, Stage
from partitioner.problem import OBJECTIVES, Problem
from partitioner.tables import codec_figure
from partitioner.topology import NodeId, Path, Topology


def score(predicted: Predicted, objective: str) -> float | None:
    """What the objective asks to be small: seconds, seconds between two answers, joules or dollars of a request.

    None where the watts or prices for it are absent. InvalidProblem for an objective that there is not.
    """
    match objective:
        case "latency":
            return predicted.latency_s
        case "throughput":
            return 1 / predicted.throughput_per_s
        case "energy":
            return predicted.energy_j
        case "error":
            return predicted.error
        case "cost":
            return predicted.cost_usd
        case _:
            raise InvalidProblem(f"no objective {objective!r}; there are {', '.join(OBJECTIVES)} and error")


def throughput_per_s(problem: Problem, stages: Sequence[Stage], crossings: Sequence[Crossing]) -> float:
    """1 / the busiest resource's seconds per request, as told above; infinite where nothing takes time."""
    busy: dict[object, float] = defaultdict(float)
    by_name = {stage.name: stage for stage in stages}
    for stage in stages:
        nodes = (stage.node, *stage.replicas)
        for node in nodes:
            busy[node] += stage.seconds / len(nodes)
    for crossing in crossings:
        _carry(problem, by_name, crossing, busy)
    busiest_s = max(busy.values(), default=0.0)
    return 1 / busiest_s if busiest_s else float("inf")


def _carry(problem: Problem, stages: Mapping[str, Stage], crossing: Crossing, busy: dict[object, float]) -> None:
    """Add what the message takes of every link, and of the nodes at its ends if they are `serialised`."""
    senders = _runs_on(stages, crossing.sender, crossing.source)
    receivers = _runs_on(stages, crossing.receiver, crossing.target)
    share = 1 / (len(senders) * len(receivers))
    decode_s = _decode_s(problem, stages, crossing) if problem.serialised else 0.0
    for sender, receiver in product(senders, receivers):
        links = _path(problem.topology, sender, receiver).links
        for link in links:
            busy[link.source, link.target] += share * crossing.nbytes / link.bytes_per_s
        if problem.serialised and links:
            encode_s = max(0.0, crossing.codec_s - decode_s)
            out_s = crossing.nbytes / links[0].bytes_per_s + crossing.software_s + encode_s
            in_s = crossing.nbytes / links[-1].bytes_per_s + crossing.software_s + decode_s
            busy[sender] += share * out_s
            busy[receiver] += share * in_s


def _runs_on(stages: Mapping[str, Stage], end: str, node: NodeId) -> tuple[NodeId, ...]:
    return (node,) if end == ROUTER else (stages[end].node, *stages[end].replicas)


def _decode_s(problem: Problem, stages: Mapping[str, Stage], crossing: Crossing) -> float:
    """Seconds in which the receiver decodes what it reads of the message; the rest only passes through it."""
    if crossing.receiver == ROUTER:
        read, slowdown = set(crossing.tensors), ROUTER_SLOWDOWN
    else:
        read = set(stages[crossing.receiver].inputs)
        slowdown = problem.topology.node(crossing.target).slowdown
    total_s = 0.0
    for tensor, codec in zip(crossing.tensors, crossing.codecs, strict=True):
        figure = codec_figure(problem, codec, tensor) if tensor in read else None
        if figure is not None:
            total_s += problem.graph.activations[tensor].nbytes * figure.decode_s_per_byte * slowdown
    return total_s


def energy_j(problem: Problem, stages: Sequence[Stage], crossings: Sequence[Crossing]) -> float | None:
    """Σ active_w · stage seconds + Σ j_per_byte · bytes over every link crossed; None if one figure is absent."""
    compute = [(problem.topology.node(stage.node).active_w, stage.seconds) for stage in stages]
    return _weighted([*compute, *((link_j, n) for link_j, _, n in _carried_by(crossings, problem.topology))])


def cost_usd(problem: Problem, stages: Sequence[Stage], crossings: Sequence[Crossing]) -> float | None:
    """Σ usd_per_hour / 3600 · stage seconds + Σ usd_per_byte · bytes; None if one price is absent."""
    compute = [(problem.topology.node(stage.node).usd_per_hour, stage.seconds / 3600) for stage in stages]
    return _weighted([*compute, *((usd, n) for _, usd, n in _carried_by(crossings, problem.topology))])


def _carried_by(
    crossings: Sequence[Crossing], topology: Topology
) -> Iterable[tuple[float | None, float | None, float]]:
    for crossing in crossings:
        for link in _path(topology, crossing.source, crossing.target).links:
            yield link.j_per_byte, link.usd_per_byte, float(crossing.nbytes)


def _weighted(pairs: Iterable[tuple[float | None, float]]) -> float | None:
    total = 0.0
    for rate, amount in pairs:
        if rate is None:
            return None
        total += rate * amount
    return total


def _path(topology: Topology, source: NodeId, target: NodeId) -> Path:
    return topology.path(source, target) or Path(links=())
