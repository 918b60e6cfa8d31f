"""What is known of the links from here, as Prometheus is told it: bytes, transfers, goodput, round trip, changes.

Several streams may go over one link, and each of them ends some day: what they carried is added up, what is estimated
is what one of them told last. A link over which there has been no stream for a while is forgotten.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from nodes.links import LinkEstimate

LABELS = ("source", "target")
KEPT_S = 300.0  # after the last stream has ended
Ends = tuple[str, str]
_ESTIMATED: tuple[tuple[str, str, Callable[[LinkEstimate], float | None]], ...] = (
    ("goodput_bytes_per_second", "Estimated goodput to a node", lambda one: one.goodput_bytes_per_s),
    ("goodput_relative_std", "How unsure the estimated goodput is", lambda one: one.goodput_std),
    ("rtt_seconds", "Estimated round trip to a node", lambda one: one.rtt_s),
    ("queueing_seconds", "What a message to a node waits", lambda one: one.queueing_s),
)


class Stream(Protocol):
    """What is read of a connection."""

    node: str
    peer_node: str
    sent_bytes: int
    shared_bytes: int

    @property
    def transfers(self) -> tuple[int, float]:
        """Messages that came through, and the seconds that they took."""
        ...


@dataclass(slots=True)
class _Link:
    estimate: LinkEstimate = field(default_factory=LinkEstimate)
    sent_bytes: int = 0
    shared_bytes: int = 0
    messages: int = 0
    transfer_s: float = 0.0
    changes: int = 0
    seen_s: float = 0.0


class LinkFigures(Collector):
    """Changed in an event loop, read from the endpoint's threads."""

    def __init__(self) -> None:
        self._links: dict[Ends, _Link] = {}
        self._streams: dict[int, tuple[Stream, int, int, int, float]] = {}  # with what was counted of each

    def told(self, source: str, target: str, estimate: LinkEstimate, now_s: float, *, changed: bool = False) -> None:
        """What is known of the way to another node, and whether it has changed since the last word."""
        link = self._links.setdefault((source, target), _Link())
        link.estimate, link.seen_s = estimate, now_s
        link.changes += changed

    def count(self, streams: Iterable[Stream], now_s: float) -> None:
        """Add up what these carried since they were seen last, and for the last time what those did that have ended."""
        there = {id(stream): stream for stream in streams if stream.peer_node and stream.peer_node != stream.node}
        ended = {key: one[0] for key, one in self._streams.items() if key not in there}
        for key, stream in (there | ended).items():
            link = self._links.setdefault((stream.node, stream.peer_node), _Link())
            _, sent_bytes, shared_bytes, messages, transfer_s = self._streams.pop(key, (stream, 0, 0, 0, 0.0))
            now = (stream.sent_bytes, stream.shared_bytes, *stream.transfers)
            link.sent_bytes += now[0] - sent_bytes
            link.shared_bytes += now[1] - shared_bytes
            link.messages += now[2] - messages
            link.transfer_s += now[3] - transfer_s
            link.seen_s = now_s
            if key in there:
                self._streams[key] = (stream, *now)
        for ends in [ends for ends, link in self._links.items() if now_s - link.seen_s > KEPT_S]:
            del self._links[ends]

    def collect(self) -> Iterator[Metric]:
        """All families."""
        links = list(self._links.items())
        sent = CounterMetricFamily("isthmus_link_sent_bytes", "Bytes sent to a node, headers included", labels=LABELS)
        shared = CounterMetricFamily(
            "isthmus_link_shared_memory_bytes", "Of the bytes sent, tensors' that went by shared memory", labels=LABELS
        )
        changes = CounterMetricFamily(
            "isthmus_link_changes", "Changes of the way to a node that were detected", labels=LABELS
        )
        transfers = SummaryMetricFamily(
            "isthmus_link_transfer_seconds",
            "From when a message was given to the link to the word that it is there, without what the peer held it",
            labels=LABELS,
        )
        for ends, link in links:
            sent.add_metric(ends, link.sent_bytes)
            shared.add_metric(ends, link.shared_bytes)
            changes.add_metric(ends, link.changes)
            transfers.add_metric(ends, link.messages, link.transfer_s)
        yield from (sent, shared, changes, transfers)
        for name, what, read in _ESTIMATED:
            gauge = GaugeMetricFamily(f"isthmus_link_{name}", what, labels=LABELS)
            for ends, link in links:
                if (value := read(link.estimate)) is not None:
                    gauge.add_metric(ends, value)
            yield gauge
