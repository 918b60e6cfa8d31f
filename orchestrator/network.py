"""What is believed of a link when several sources speak of it: streams, the radio network, probes.

Pure. A stream measures what tensors really get, so it counts as long as it is fresh, and beside it the probes of other
streams over that link; where nothing is sent, the radio network information service (orchestrator/rnis/) knows the
air interface; a probe sees one moment, so where the radio network speaks it counts last. What is fresh goes before what
is not, whoever said it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from partitioner.topology import NodeId

Origin = Literal["streams", "rnis", "probe"]
TRUST: tuple[Origin, ...] = ("streams", "rnis", "probe")  # the first that is fresh is believed
FRESH_S = 5.0
CONTEST_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One direction of a link as one source saw it at `at_s`, by the clock of whoever believes it.

    `propagation_s`: half a round trip, None where the source does not see it. `std`: of the goodput, relative. `by`
    tells several observers of one origin apart.
    """

    source: NodeId
    target: NodeId
    bytes_per_s: float
    propagation_s: float | None
    std: float
    at_s: float
    origin: Origin
    by: str = ""


def believed(observations: Iterable[Observation], now_s: float, *, fresh_s: float = FRESH_S) -> Observation | None:
    """Of observations of one link the one that counts; if none is fresh, the newest.

    Of the fresh ones the most trusted source's; of several streams over one link, probed ones among them, told within
    CONTEST_S of each other, the surest: one that carries little knows little.
    """
    heard = list(observations)
    fresh = [one for one in heard if now_s - one.at_s <= fresh_s]
    if not fresh:
        return max(heard, key=lambda one: (one.at_s, -TRUST.index(one.origin)), default=None)
    trusted = min((one.origin for one in fresh), key=TRUST.index)
    of_source = [one for one in fresh if one.origin == trusted or (trusted, one.origin) == ("streams", "probe")]
    newest_s = max(one.at_s for one in of_source)
    contest = [one for one in of_source if newest_s - one.at_s <= CONTEST_S]
    return min(contest, key=lambda one: (one.std, TRUST.index(one.origin), -one.at_s))


def origin_of(by_probes: bool) -> Origin:
    """Whose word a stream's estimate is."""
    return "probe" if by_probes else "streams"


class Sources:
    """The newest word of every source on every link; tells which of them changes what is believed."""

    def __init__(self, *, fresh_s: float = FRESH_S) -> None:
        self._fresh_s = fresh_s
        self._last: dict[tuple[NodeId, NodeId], dict[tuple[Origin, str], Observation]] = {}

    def heard(self, observation: Observation, now_s: float) -> bool:
        """Take in an observation; whether it is the one that counts now, so that it should be acted on."""
        of_link = self._last.setdefault((observation.source, observation.target), {})
        if observation.origin != "rnis":  # one stream, which now speaks from traffic and now from probes
            of_link.pop((origin_of(observation.origin == "streams"), observation.by), None)
        of_link[observation.origin, observation.by] = observation
        return believed(of_link.values(), now_s, fresh_s=self._fresh_s) is observation

    def believed(self, now_s: float) -> tuple[Observation, ...]:
        """What counts of each link, in the order in which links were first heard of."""
        counted = (believed(of_link.values(), now_s, fresh_s=self._fresh_s) for of_link in self._last.values())
        return tuple(one for one in counted if one is not None)
