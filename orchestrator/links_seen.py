"""What is known of a link, and when that has changed. It measures nothing."""

from dataclasses import dataclass

from partitioner.topology import NodeId

DRIFT_FLOOR_S = 0.0005  # propagation that moved by less than this is noise, however short the link


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """One direction between two nodes as known now: goodput and half the round trip.

    `std` is how unsure the goodput is, relative; 0 for a guess or where nobody told.
    """

    source: NodeId
    target: NodeId
    bytes_per_s: float
    propagation_s: float
    std: float = 0.0

    @property
    def ends(self) -> tuple[NodeId, NodeId]:
        """Source and target."""
        return self.source, self.target


def link_key(link: LinkEstimate) -> str:
    """The link's name in `Knowledge.links` and in what people read."""
    return f"{link.source} → {link.target}"


def changed_by_more_than(drift: float, before: LinkEstimate, after: LinkEstimate) -> bool:
    """Whether goodput or propagation moved by more than the part `drift` of what it was, up or down."""
    rates = sorted((before.bytes_per_s, after.bytes_per_s))
    moved_s = abs(after.propagation_s - before.propagation_s)
    return rates[1] > rates[0] * (1 + drift) or moved_s > max(drift * before.propagation_s, DRIFT_FLOOR_S)


def told_change(before: LinkEstimate, after: LinkEstimate) -> str:
    """How a link has changed, as people read it."""
    rates = f"{before.bytes_per_s * 8e-6:.3g} to {after.bytes_per_s * 8e-6:.3g} Mbps"
    delays = f"{before.propagation_s * 2e3:.3g} to {after.propagation_s * 2e3:.3g} ms round trip"
    return f"link {link_key(after)} went from {rates}, {delays}"
