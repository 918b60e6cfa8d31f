"""What is believed of a link when several sources speak of it: streams, the radio network, probes.

Pure. A stream measures what tensors really get, so it counts as long as it is fresh; where nothing is sent, the
radio network information service (orchestrator/rnis/) knows the air interface; a probe costs traffic and sees
one moment, so it counts last. What is fresh goes before what is not, whoever said it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from partitioner.topology import NodeId

Origin = Literal["streams", "rnis", "probe"]
TRUST: tuple[Origin, ...] = ("streams", "rnis", "probe")  # the first that is fresh is believed
FRESH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One direction of a link as one source saw it at `at_s`, by the clock of whoever believes it.

    `propagation_s`: half a round trip, None where the source does not see it. `std`: of the goodput, relative.
    """

    source: NodeId
    target: NodeId
    bytes_per_s: float
    propagation_s: float | None
    std: float
    at_s: float
    origin: Origin


def believed(observations: Iterable[Observation], now_s: float, *, fresh_s: float = FRESH_S) -> Observation | None:
    """Of observations of one link the one that counts: the most trusted fresh one; if none is fresh, the newest."""

    def worth(one: Observation) -> tuple[float, ...]:
        is_fresh = now_s - one.at_s <= fresh_s
        trust = -TRUST.index(one.origin)
        return (1, trust, one.at_s) if is_fresh else (0, one.at_s, trust)

    return max(observations, key=worth, default=None)


class Sources:
    """The newest word of every source on every link; tells which of them changes what is believed."""

    def __init__(self, *, fresh_s: float = FRESH_S) -> None:
        self._fresh_s = fresh_s
        self._last: dict[tuple[NodeId, NodeId], dict[Origin, Observation]] = {}

    def heard(self, observation: Observation, now_s: float) -> bool:
        """Take in an observation; whether it is the one that counts now, so that it should be acted on."""
        of_link = self._last.setdefault((observation.source, observation.target), {})
        of_link[observation.origin] = observation
        return believed(of_link.values(), now_s, fresh_s=self._fresh_s) is observation

    def believed(self, now_s: float) -> tuple[Observation, ...]:
        """What counts of each link, in the order in which links were first heard of."""
        counted = (believed(of_link.values(), now_s, fresh_s=self._fresh_s) for of_link in self._last.values())
        return tuple(one for one in counted if one is not None)
