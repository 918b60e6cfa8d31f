"""What crosses between stages: which tensors go in which message, under which codec, at what price.

Positions count along a route: 0 is the router at the source node, 1…k are the stages. Message j goes from
position j-1 to j; a tensor made at p and last read at L rides in messages p+1…L, coded once at p, decoded
once at each stage that reads it. A model output rides back from p straight to its node.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from partitioner.errors import InvalidProblem
from partitioner.problem import Problem, Site
from partitioner.tables import Ints, Prices, codec_figure, coded_nbytes
from partitioner.topology import NodeId, Path

Number = TypeVar("Number", float, NDArray[np.float64])
Way = tuple[int, int, tuple[int, ...], NodeId | None]  # tensor, where it is made, where read, node it returns to
ROUTER_SLOWDOWN = 1.0  # a slowdown stretches a node's stages; the router, in the client's own process, goes on as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of a request over the sites of a chain. Sequences run over positions 0…k; entry 0 is the router."""

    nodes: tuple[NodeId, ...]
    slowdown: tuple[float, ...]
    legs: tuple[Path, ...]  # legs[j] leads from position j-1 to j; legs[0] has no links
    leg_s_per_byte: tuple[float, ...]
    leg_fixed_s: tuple[float, ...]
    back: Mapping[NodeId, tuple[Path | None, ...]]  # to each node that an output goes to, from each position
    message_s: float
    message_s_per_byte: float

    def back_s_per_byte(self, to: NodeId, position: int) -> float:
        """Seconds per byte of a return message; infinite where there is no way."""
        path = self.back[to][position]
        return np.inf if path is None else path.s_per_byte + self.message_s_per_byte

    def back_fixed_s(self, to: NodeId, position: int) -> float:
        """Seconds of an empty return message; infinite where there is no way."""
        path = self.back[to][position]
        return np.inf if path is None else path.propagation_s + self.message_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One tensor on its way: made at `position`, decoded at `read_at` and, if `to` is set, by the router."""

    tensor: int
    position: int
    read_at: tuple[int, ...]  # ascending, all above `position`
    to: NodeId | None
    codec: str
    nbytes: int
    encode_s: float
    decode_s: tuple[float, ...]  # runs parallel to `read_at`, then the router's if `to` is set
    seconds: float  # all of it: coding, bytes over goodput, software per byte


def carriage_s(
    raw_bytes: Number,
    coded_bytes: Number,
    *,
    encode_s_per_byte: Number,
    s_per_byte: Number,
    decode_s_per_byte: Number,
) -> Number:
    """The price of carrying one tensor: coded once, sent over every leg, decoded wherever it is read.

    Encoding and decoding are per raw byte and slowed by their nodes; `s_per_byte` is summed over the legs.
    """
    return raw_bytes * encode_s_per_byte + coded_bytes * s_per_byte + raw_bytes * decode_s_per_byte


def route_over(problem: Problem, sites: Sequence[Site]) -> Route | None:
    """The route from the source over these sites in turn; None where a leg has no way."""
    topology, profile = problem.topology, problem.profile
    nodes = (problem.source, *(site.node for site in sites))
    found = [Path(links=()), *(topology.path(a, b) for a, b in pairwise(nodes))]
    legs = tuple(path for path in found if path is not None)
    if len(legs) != len(nodes):
        return None
    targets = sorted(set(problem.outputs_to.values()))
    return Route(
        nodes=nodes,
        slowdown=(ROUTER_SLOWDOWN, *(topology.node(site.node).slowdown for site in sites)),
        legs=legs,
        leg_s_per_byte=tuple(leg.s_per_byte + profile.message_s_per_byte for leg in legs),
        leg_fixed_s=(0.0, *(leg.propagation_s + profile.message_s for leg in legs[1:])),
        back={to: tuple(topology.path(node, to) for node in nodes) for to in targets},
        message_s=profile.message_s,
        message_s_per_byte=profile.message_s_per_byte,
    )


def carry(
    prices: Prices, route: Route, position_of: Ints, codecs: Mapping[str, str] | None = None
) -> tuple[Carried, ...]:
    """Every tensor that leaves the position it was made at, each under its best (or the given) codec.

    `position_of[i]` is operator i's position. InvalidProblem for a read before its making, or for a way missing.
    """
    return tuple(_cheapest(prices, route, way, codecs) for way in ways_of(prices, position_of))


def ways_of(prices: Prices, position_of: Ints) -> Iterator[Way]:
    """Each tensor that leaves the position it was made at, in the order of tensors. InvalidProblem as in `carry`."""
    table, outputs_to = prices.table, prices.problem.outputs_to
    made_at = np.where(table.producer < 0, 0, position_of[table.producer])
    at = position_of[table.reader]
    crossing = np.flatnonzero(at != made_at[table.read_tensor])
    readers: dict[int, set[int]] = {int(tensor): set() for tensor in table.outputs}
    for tensor, position in zip(table.read_tensor[crossing].tolist(), at[crossing].tolist(), strict=True):
        readers.setdefault(tensor, set()).add(position)
    outputs = set(table.outputs.tolist())
    for tensor in sorted(readers):
        name, position, read_at = table.names[tensor], int(made_at[tensor]), tuple(sorted(readers[tensor]))
        if read_at and read_at[0] < position:
            raise InvalidProblem(f"{name!r} would be read in a stage before the one that makes it")
        yield tensor, position, read_at, outputs_to[name] if tensor in outputs else None


def _cheapest(
    prices: Prices,
    route: Route,
    way: Way,
    codecs: Mapping[str, str] | None,
) -> Carried:
    tensor, name = way[0], prices.table.names[way[0]]
    if codecs is not None and name in codecs:
        return _under(prices, route, way, codecs[name])
    names = prices.codecs.names
    rows = np.flatnonzero(prices.codecs.admissible[:, tensor])
    return min((_under(prices, route, way, names[row]) for row in rows), key=lambda one: one.seconds)


def _under(prices: Prices, route: Route, way: Way, codec: str) -> Carried:
    tensor, position, read_at, to = way
    raw, name = float(prices.table.raw_bytes[tensor]), prices.table.names[tensor]
    nbytes = nbytes_under(prices, tensor, codec)
    figure = codec_figure(prices.problem, codec, name)
    if figure is None:
        raise InvalidProblem(f"codec {codec!r} has no measured speed; profile it or leave it out")
    per_byte = sum(route.leg_s_per_byte[position + 1 : read_at[-1] + 1]) if read_at else 0.0
    slowed = [route.slowdown[at] for at in read_at]
    if to is not None:
        per_byte += route.back_s_per_byte(to, position)
        slowed.append(ROUTER_SLOWDOWN)
    if per_byte == np.inf:
        raise InvalidProblem(f"output {name!r}: no way from {route.nodes[position]} to {to}")
    encode, decode = figure.encode_s_per_byte * route.slowdown[position], figure.decode_s_per_byte
    return Carried(
        tensor=tensor,
        position=position,
        read_at=read_at,
        to=to,
        codec=codec,
        nbytes=nbytes,
        encode_s=raw * encode,
        decode_s=tuple(raw * decode * one for one in slowed),
        seconds=carriage_s(
            raw,
            float(nbytes),
            encode_s_per_byte=encode,
            s_per_byte=per_byte,
            decode_s_per_byte=decode * sum(slowed),
        ),
    )


def nbytes_under(prices: Prices, tensor: int, codec: str) -> int:
    """Coded bytes; a codec asked for by name needs its ratio, but not to keep within `max_error`."""
    codecs, name = prices.codecs, prices.table.names[tensor]
    if codec in codecs.names and codecs.admissible[codecs.names.index(codec), tensor]:
        return int(codecs.coded_bytes[codecs.names.index(codec), tensor])
    figure = prices.problem.profile.tensors.get(name, {}).get(codec)
    if figure is None:
        raise InvalidProblem(f"tensor {name!r} was not profiled under codec {codec!r}; profile it or choose another")
    return coded_nbytes(int(prices.table.raw_bytes[tensor]), figure.ratio)
