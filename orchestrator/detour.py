"""Whether a request should go to an epoch that stands by although the one in use is whole: where a link has become so
slow that it is answered sooner there.

The controller changes the plan when a link stays slow; until then, and through every dip, the router sends each request
where it will be answered first, by what it sees of its own links and has in hand. Pure; it sends nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from nodes.links import LinkEstimate as StreamEstimate
from orchestrator.links_seen import LinkEstimate
from partitioner.errors import InvalidProblem
from partitioner.latency_form import LatencyForm
from policies.routing import Way, soonest_of

LOYALTY = 0.3  # of what a request takes in the epoch in use: what another must save
Ends = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a request takes in an epoch: alone under any links, and its slowest stage's seconds.

    `links` are the controller's word on links, where this router knows no better.
    """

    form: LatencyForm
    stage_s: float
    links: tuple[LinkEstimate, ...] = ()


class Ways(dict[int, Way]):
    """What a request meets in each epoch. Nobody changes one, so routers of many users may share it."""

    def __init__(self, ways: Mapping[int, Way] = MappingProxyType({})) -> None:
        super().__init__(ways)
        self._when_idle: dict[tuple[int, ...], int] = {}

    def soonest_when_idle(self, epochs: Sequence[int]) -> int:
        """`soonest` with nothing in hand."""
        key = tuple(epochs)
        if (found := self._when_idle.get(key)) is None:
            found = self._when_idle[key] = soonest(epochs, self, {})
        return found


def soonest(
    epochs: Sequence[int], ways: Mapping[int, Way], in_hand: Mapping[int, int], *, loyalty: float = LOYALTY
) -> int:
    """The epoch, of those healthy, the one in use first, where one more request is answered first.

    A request takes what it takes alone and, for each one `in_hand` ahead of it, the seconds of the slowest stage or
    link on its way. The first stays unless another saves `loyalty`, or where nothing is known of it. ValueError for no
    epoch.
    """
    if not epochs:
        raise ValueError("a request needs at least one epoch to go to")
    known = [epoch for epoch in epochs if epoch in ways]
    if len(known) < 2 or known[0] != epochs[0]:
        return epochs[0]
    there = [in_hand.get(epoch, 0) for epoch in known]
    return known[soonest_of([ways[epoch] for epoch in known], there, loyalty)]


def seen_links(estimates: Mapping[Ends, StreamEstimate]) -> dict[Ends, LinkEstimate]:
    """What streams have measured of links, where they know both figures."""
    return {
        ends: LinkEstimate(
            source=ends[0], target=ends[1], bytes_per_s=one.goodput_bytes_per_s, propagation_s=one.rtt_s / 2
        )
        for ends, one in estimates.items()
        if one.goodput_bytes_per_s and one.rtt_s is not None
    }


def way(epoch: int, pace: Pace | None, seen: Mapping[Ends, LinkEstimate]) -> Way | None:
    """What a request that goes to this epoch meets, as links were `seen` just now; None where nobody can tell."""
    if pace is None:
        return None
    rates = {link.ends: link for link in pace.links} | dict(seen)
    try:
        alone_s = pace.form.seconds(rates)
    except InvalidProblem:
        return None
    each_s = [one.nbytes / rates[one.source, one.target].bytes_per_s for one in pace.form.carried]
    slowest_s = max([pace.stage_s, *each_s])
    return Way(name=str(epoch), in_hand=0, batch_s=(slowest_s,), link_s=max(alone_s - slowest_s, 0.0))
