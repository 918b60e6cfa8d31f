"""What a plan's latency becomes under other links: seconds that stay, and what each link carries of a request.

Latency = fixed_s + Σ over links (nbytes / bytes_per_s + messages · propagation_s), which is what cost.py charges for
stages that run one after the other. So whoever keeps forms can price every known plan under any links seen, with no
graph, profile or solver at hand. Messages keep the ways that they took when the plan was priced, and tensors their
codecs. It refuses parallel plans, whose latency is no sum, and knows no load: queueing.py does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot, inf
from typing import Protocol

from partitioner.errors import InvalidProblem
from partitioner.plan import Plan
from partitioner.topology import NodeId, Topology

Ends = tuple[NodeId, NodeId]


class Rate(Protocol):
    """What a link is worth at some time; a `topology.Link` is one, and so is an estimate of it."""

    @property
    def bytes_per_s(self) -> float:
        """Goodput."""

    @property
    def propagation_s(self) -> float:
        """Seconds that an empty message takes from end to end."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What one request puts on one link: bytes, in so many messages."""

    source: NodeId
    target: NodeId
    nbytes: int
    messages: int

    def seconds(self, rates: Mapping[Ends, Rate]) -> float:
        """What it takes at this link's rate; InvalidProblem if nothing is known of it."""
        rate = rates.get((self.source, self.target))
        if rate is None:
            raise InvalidProblem(f"nothing is known of link {self.source} → {self.target}, which the plan sends over")
        return self.nbytes / rate.bytes_per_s + self.messages * rate.propagation_s


@dataclass(frozen=True, slots=True)
class LatencyForm:
    """A plan's latency as a function of its links; `carried` by link, each once, ascending."""

    fixed_s: float
    carried: tuple[Carried, ...]

    def seconds(self, rates: Mapping[Ends, Rate]) -> float:
        """Latency of one request alone where its links, by (source, target), are worth this."""
        return self.fixed_s + sum(one.seconds(rates) for one in self.carried)

    def bytes_by_link(self) -> dict[Ends, int]:
        """What one request puts on each link that it uses."""
        return {(one.source, one.target): one.nbytes for one in self.carried}


def latency_form(topology: Topology, plan: Plan) -> LatencyForm:
    """The form of a priced plan. `topology` tells the ways of its messages: the one that it was priced under.

    A stage with replicas counts as its first. InvalidProblem for a parallel plan, or a message without a way.
    """
    if plan.parallel:
        raise InvalidProblem(f"{plan.model}: stages of a parallel plan run side by side; its latency is no sum")
    loads: dict[Ends, tuple[int, int]] = {}
    for crossing in plan.crossings:
        path = topology.path(crossing.source, crossing.target)
        if path is None:
            raise InvalidProblem(f"{plan.model}: no links lead from {crossing.source} to {crossing.target}")
        for link in path.links:
            nbytes, messages = loads.get((link.source, link.target), (0, 0))
            loads[link.source, link.target] = nbytes + crossing.nbytes, messages + 1
    fixed_s = sum(stage.seconds for stage in plan.stages)
    fixed_s += sum(crossing.codec_s + crossing.software_s for crossing in plan.crossings)
    carried = (Carried(source, target, *loads[source, target]) for source, target in sorted(loads))
    return LatencyForm(fixed_s=fixed_s, carried=tuple(carried))


def gain_std_s(
    current: LatencyForm,
    other: LatencyForm,
    rates: Mapping[Ends, Rate],
    relative_std: Mapping[Ends, float],
    *,
    at_most: float = inf,
) -> float:
    """How unsure `current.seconds - other.seconds` is where each goodput is known to a relative standard deviation.

    Both plans meet the same links, so only the bytes in which they differ count; links err independently of each
    other. To first order (δ(b/r) ≈ b/r · δr/r). A link that `relative_std` leaves out is held to be known. Where no
    plan counts for more than `at_most` seconds, neither does what is not known of it. InvalidProblem as for `seconds`.
    """
    mine, theirs = current.bytes_by_link(), other.bytes_by_link()
    stds = {ends: std for ends, std in relative_std.items() if std and mine.get(ends, 0) != theirs.get(ends, 0)}
    if not stds:
        return 0.0
    now_s, then_s = current.seconds(rates), other.seconds(rates)

    def drop_s(ends: Ends, std: float) -> float:
        """By how much the gain is less if this link is off by so much, whichever way is worse."""
        off = [one.get(ends, 0) / rates[ends].bytes_per_s * std for one in (mine, theirs)]
        gains = [min(now_s + way * off[0], at_most) - min(then_s + way * off[1], at_most) for way in (1, -1)]
        return max(min(now_s, at_most) - min(then_s, at_most) - min(gains), 0.0)

    return hypot(*(drop_s(ends, stds[ends]) for ends in sorted(stds)))
