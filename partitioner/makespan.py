"""When the answer is there if branches run on several nodes at once: direct messages, stage times, the last output.

Stages send straight to those that read: one message for each pair of stages with tensors made in one and read in
the other, one from the router to each stage that reads model inputs, and one from each stage to each node that its
outputs go to. The router begins at 0 and sends when it has encoded the inputs. A stage starts when its last message
is there and everything in its messages was decoded, one tensor after the other, and when the stages before it on its
node have ended (decoding does not wait for those). It ends after its seconds and those of encoding whatever leaves
it, each tensor once, under one codec for all who read it; then all its messages leave. The latency is that of the
output message that is there and decoded last.

What it leaves out: messages of one request do not wait for each other on a link, nor for the sender to push out the
one before. It chooses codecs where none are given, and nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from partitioner.errors import InvalidProblem
from partitioner.messages import ROUTER_SLOWDOWN, Carried, Way, carriage_s, nbytes_under, ways_of
from partitioner.plan import ROUTER, Crossing, Stage
from partitioner.problem import Problem, Site
from partitioner.tables import Ints, Prices, codec_figure
from partitioner.topology import NodeId, Path


def send(
    prices: Prices, sites: Sequence[Site], position_of: Ints, codecs: Mapping[str, str] | None = None
) -> tuple[Carried, ...]:
    """Every tensor that leaves the stage it was made in, sent straight to each stage that reads it.

    `position_of[i]` is operator i's position in `sites`, from 1; the router is 0. A tensor that `codecs` does not name
    goes under the admissible codec of least encoding + Σ over receivers (bytes over the links, decoding).
    InvalidProblem for a read before its making, a missing way, or a codec never measured.
    """
    return tuple(_best(prices, sites, way, codecs) for way in ways_of(prices, position_of))


def crossings_of(
    problem: Problem, names: Sequence[str], stages: Sequence[Stage], sent: Sequence[Carried]
) -> tuple[Crossing, ...]:
    """The messages that carry `sent`, by receiver and sender, then the answers. `names` are those of the tensors.

    A tensor's encoding is in the seconds of the first message that holds it, its decoding in those of each.
    """
    pairs = sorted({(position, one.position) for one in sent for position in one.read_at})
    ends: list[tuple[int, int, NodeId]] = [(i, j, stages[j - 1].node) for j, i in pairs]
    ends += [(i, 0, to) for i, to in sorted({(one.position, one.to) for one in sent if one.to is not None})]
    found, coded = [], set()
    for sender, receiver, target in ends:
        riders = [one for one in sent if one.position == sender and _goes(one, receiver, target)]
        fresh = [one.encode_s for one in riders if one.tensor not in coded]
        coded |= {one.tensor for one in riders}
        source = stages[sender - 1].node if sender else problem.source
        path, nbytes = way(problem, source, target), sum(one.nbytes for one in riders)
        found.append(
            Crossing(
                sender=stages[sender - 1].name if sender else ROUTER,
                receiver=stages[receiver - 1].name if receiver else ROUTER,
                source=source,
                target=target,
                tensors=tuple(names[one.tensor] for one in riders),
                codecs=tuple(one.codec for one in riders),
                nbytes=nbytes,
                propagation_s=path.propagation_s,
                transfer_s=nbytes * path.s_per_byte,
                codec_s=sum(fresh) + sum(_decode_s(one, receiver) for one in riders),
                software_s=problem.profile.message_s + nbytes * problem.profile.message_s_per_byte,
            )
        )
    return tuple(found)


def makespan_s(stages: Sequence[Stage], crossings: Sequence[Crossing], sent: Sequence[Carried]) -> float:
    """Seconds from the request to its last output, decoded. `stages` in the order in which nodes run them."""
    leaves_s = {ROUTER: sum(one.encode_s for one in sent if not one.position)}
    free_s: dict[NodeId, float] = {}
    for position, stage in enumerate(stages, start=1):
        there_s = [leaves_s[one.sender] + _travel_s(one) for one in crossings if one.receiver == stage.name]
        decode_s = sum(_decode_s(one, position) for one in sent if position in one.read_at)
        start_s = max(max(there_s, default=0.0) + decode_s, free_s.get(stage.node, 0.0))
        encode_s = sum(one.encode_s for one in sent if one.position == position)
        leaves_s[stage.name] = free_s[stage.node] = start_s + stage.seconds + encode_s
    number = {stage.name: position for position, stage in enumerate(stages, start=1)}
    answered_s = [
        leaves_s[one.sender]
        + _travel_s(one)
        + sum(_decode_s(each, 0) for each in sent if each.position == number[one.sender] and each.to == one.target)
        for one in crossings
        if one.receiver == ROUTER
    ]
    return max(answered_s, default=0.0)


def way(problem: Problem, source: NodeId, target: NodeId) -> Path:
    """The links from node to node; InvalidProblem if there are none."""
    path = problem.topology.path(source, target)
    if path is None:
        raise InvalidProblem(f"no links lead from {source} to {target}; add the missing link or place elsewhere")
    return path


def _travel_s(crossing: Crossing) -> float:
    return crossing.propagation_s + crossing.transfer_s + crossing.software_s


def _goes(one: Carried, receiver: int, target: NodeId) -> bool:
    return receiver in one.read_at if receiver else one.to == target


def _decode_s(one: Carried, receiver: int) -> float:
    return one.decode_s[one.read_at.index(receiver)] if receiver else one.decode_s[-1]


def _best(
    prices: Prices,
    sites: Sequence[Site],
    journey: Way,
    codecs: Mapping[str, str] | None,
) -> Carried:
    """The tensor under the codec named for it, else under its cheapest; the first listed of equal ones."""
    name, names = prices.table.names[journey[0]], prices.codecs.names
    if codecs is not None and name in codecs:
        return _under(prices, sites, journey, codecs[name])
    rows = np.flatnonzero(prices.codecs.admissible[:, journey[0]]).tolist()
    return min((_under(prices, sites, journey, names[row]) for row in rows), key=lambda one: one.seconds)


def _under(prices: Prices, sites: Sequence[Site], journey: Way, codec: str) -> Carried:
    problem, (tensor, position, read_at, to) = prices.problem, journey
    figure = codec_figure(problem, codec, prices.table.names[tensor])
    if figure is None:
        raise InvalidProblem(f"codec {codec!r} has no measured speed; profile it or leave it out")
    raw, nbytes = float(prices.table.raw_bytes[tensor]), nbytes_under(prices, tensor, codec)
    nodes = [problem.topology.node(sites[at - 1].node) for at in read_at]
    source = problem.topology.node(sites[position - 1].node if position else problem.source)
    targets = [node.name for node in nodes] + ([] if to is None else [to])
    slowed = [node.slowdown for node in nodes] + ([] if to is None else [ROUTER_SLOWDOWN])
    per_byte = [way(problem, source.name, one).s_per_byte + problem.profile.message_s_per_byte for one in targets]
    encode = figure.encode_s_per_byte * (source.slowdown if position else ROUTER_SLOWDOWN)
    return Carried(
        tensor=tensor,
        position=position,
        read_at=read_at,
        to=to,
        codec=codec,
        nbytes=nbytes,
        encode_s=raw * encode,
        decode_s=tuple(raw * figure.decode_s_per_byte * one for one in slowed),
        seconds=carriage_s(
            raw,
            float(nbytes),
            encode_s_per_byte=encode,
            s_per_byte=sum(per_byte),
            decode_s_per_byte=figure.decode_s_per_byte * sum(slowed),
        ),
    )
