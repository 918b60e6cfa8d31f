"""Every plan worth knowing of a deployment, each with what it takes under any links: choosing again is looking up.

The map is drawn by a solver outside the control core, for the links as they were. Where only one link has moved
since, within that link's range, the best plan of the map is the best there is; anywhere else it is the best known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import inf

from orchestrator.links_seen import LinkEstimate, changed_by_more_than
from partitioner.errors import InvalidProblem
from partitioner.latency_form import LatencyForm
from partitioner.plan import Plan
from partitioner.topology import NodeId

MOST = 2.0  # times what the whole model takes where its inputs are: routers send a request there before it takes longer
OUTRUN = 2.0  # times the goodput that the map was drawn for, where a link has no range
REMEMBERED = 1024  # plans' fingerprints: cores ask for those of the same few with each event
_PRINTS: dict[int, tuple[Plan, str]] = {}  # by the plan's id, which is no other's as long as the plan is here
Ends = tuple[NodeId, NodeId]
Rates = Mapping[Ends, LinkEstimate]


@dataclass(frozen=True, kw_only=True)
class KnownPlan:
    """A plan and its latency as a function of the links."""

    plan: Plan
    form: LatencyForm

    @cached_property
    def key(self) -> str:
        """Its fingerprint."""
        return fingerprint(self.plan)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Nodes that compute, in a request's order."""
        return tuple(dict.fromkeys(stage.node for stage in self.plan.stages))

    def seconds(self, rates: Rates) -> float:
        """Latency under these links; infinite if nothing is known of one that it sends over."""
        try:
            return self.form.seconds(rates)
        except InvalidProblem:
            return float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRange:
    """Goodputs of one link for which the map holds every best plan, the other links being as they were."""

    source: NodeId
    target: NodeId
    low_bytes_per_s: float
    high_bytes_per_s: float

    def holds(self, bytes_per_s: float) -> bool:
        """Whether this goodput is one of them."""
        return self.low_bytes_per_s <= bytes_per_s <= self.high_bytes_per_s


@dataclass(frozen=True, kw_only=True)
class PlanMap:
    """Known plans, the links that they were found for, and over which of these links the map is complete: over each
    alone or, `jointly`, over any of them together.
    """

    plans: tuple[KnownPlan, ...]
    links: tuple[LinkEstimate, ...]
    ranges: tuple[LinkRange, ...] = ()
    jointly: bool = False

    @cached_property
    def most_s(self) -> float:
        """What a request takes at most, however slow links are; infinite if no plan does without them."""
        return MOST * min((known.form.fixed_s for known in self.plans if not known.form.carried), default=inf)

    def of(self, plan: Plan) -> KnownPlan | None:
        """The known plan that does the same work."""
        return next((known for known in self.plans if same_work(known.plan, plan)), None)

    def best(self, rates: Rates, *, without: Iterable[NodeId] = ()) -> KnownPlan | None:
        """The fastest under these links of those that use none of some nodes; the first of equals."""
        gone = tuple(without)
        fit = [known for known in self.plans if not any(node in gone for node in known.nodes)]
        return min(fit, key=lambda known: known.seconds(rates), default=None)

    def may_lack_the_best(self, links: Sequence[LinkEstimate], share: float) -> bool:
        """Whether a plan that isn't known may be better under these links than the best known one, by this share."""
        return self.is_moved_by(links, share) or self.is_outrun_by(links)

    def is_moved_by(self, links: Sequence[LinkEstimate], share: float) -> bool:
        """Whether what any known plan takes has changed by this share since the map was drawn. If not, and no link is
        faster than what plans were sought for, those that aren't known have only become slower.
        """
        now, then = rates_of(links), rates_of(self.links)
        return any(abs(known.seconds(now) - known.seconds(then)) > share * known.seconds(then) for known in self.plans)

    def is_outrun_by(self, links: Sequence[LinkEstimate]) -> bool:
        """Whether a link is faster than any that plans were sought for: one unused so far may be worth it."""
        drawn = {link.ends: link for link in self.links}
        tops = {(one.source, one.target): one.high_bytes_per_s for one in self.ranges}
        return any(
            link.bytes_per_s > tops.get(link.ends, OUTRUN * drawn[link.ends].bytes_per_s)
            for link in links
            if link.ends in drawn
        )

    def is_complete_under(self, links: Sequence[LinkEstimate], drift: float) -> bool:
        """Whether what has left the links that the map was drawn for is within its range: one or, `jointly`, any."""
        drawn = {link.ends: link for link in self.links}
        moved = [link for link in links if changed_by_more_than(drift, drawn.get(link.ends, link), link)]
        ranges = {(one.source, one.target): one for one in self.ranges}
        if len(moved) > 1 and not self.jointly:
            return False
        return all(one.ends in ranges and ranges[one.ends].holds(one.bytes_per_s) for one in moved)


def rates_of(links: Iterable[LinkEstimate]) -> Rates:
    """Estimates by (source, target)."""
    return {link.ends: link for link in links}


def same_work(one: Plan, other: Plan) -> bool:
    """Whether both put the same operators on the same engines and send the same tensors in the same codecs."""
    return work(one) == work(other)


def work(plan: Plan) -> tuple[object, ...]:
    """What a plan has done where, and what it sends: all that tells it from another."""
    stages = tuple((stage.node, stage.backend, stage.precision, stage.operators) for stage in plan.stages)
    return stages, tuple((crossing.tensors, crossing.codecs) for crossing in plan.crossings)


def fingerprint(plan: Plan) -> str:
    """A short name of a plan's work, the same for every plan that does the same."""
    found = _PRINTS.get(id(plan))
    if found is None or found[0] is not plan:
        if len(_PRINTS) >= REMEMBERED:
            _PRINTS.clear()
        found = _PRINTS[id(plan)] = plan, sha256(repr(work(plan)).encode()).hexdigest()[:16]
    return found[1]


def weights_by_node(plan: Plan) -> dict[NodeId, int]:
    """Bytes of weights that a plan loads on each node."""
    loads: dict[NodeId, int] = {}
    for stage in plan.stages:
        for node in (stage.node, *stage.replicas):
            loads[node] = loads.get(node, 0) + stage.weights_bytes
    return loads
