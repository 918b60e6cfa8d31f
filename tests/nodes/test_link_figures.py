"""What is told of links: what all streams over one carried, also those that have ended, and what is estimated."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from nodes.link_figures import KEPT_S, LinkFigures
from nodes.links import LinkEstimate

OF = {"source": "edge", "target": "mec"}


@dataclass(eq=False)
class Stream:
    """What a stream has carried."""

    sent_bytes: int = 0
    transfers: tuple[int, float] = (0, 0.0)
    node: str = "edge"
    peer_node: str = "mec"
    shared_bytes: int = 0


def told(figures: LinkFigures, name: str, of: dict[str, str] = OF) -> float | None:
    registry = CollectorRegistry()
    registry.register(figures)
    return registry.get_sample_value(f"isthmus_link_{name}", of)


def test_streams_over_one_link_are_added_up_also_when_they_have_ended() -> None:
    figures, one, other = LinkFigures(), Stream(100, (2, 0.5)), Stream(10, (1, 0.25))
    figures.count([one, other], 0.0)
    one.sent_bytes, one.transfers = 150, (3, 1.0)
    figures.count([other], 1.0)
    other.sent_bytes = 15
    figures.count([other, Stream(1)], 2.0)
    assert told(figures, "sent_bytes_total") == 150 + 15 + 1
    assert (told(figures, "transfer_seconds_count"), told(figures, "transfer_seconds_sum")) == (4, 1.25)


def test_bytes_in_shared_memory_are_told_beside_those_sent() -> None:
    figures, stream = LinkFigures(), Stream(100, shared_bytes=80)
    figures.count([stream], 0.0)
    stream.sent_bytes, stream.shared_bytes = 150, 120
    figures.count([stream], 1.0)
    assert (told(figures, "sent_bytes_total"), told(figures, "shared_memory_bytes_total")) == (150, 120)


def test_only_what_is_known_of_a_link_is_told() -> None:
    figures = LinkFigures()
    figures.told("edge", "mec", LinkEstimate(goodput_bytes_per_s=5e6), 0.0, changed=True)
    assert (told(figures, "goodput_bytes_per_second"), told(figures, "rtt_seconds")) == (5e6, None)
    assert told(figures, "changes_total") == 1


def test_a_link_without_a_stream_is_forgotten_after_a_while() -> None:
    figures, stream = LinkFigures(), Stream(100)
    figures.count([stream], 0.0)
    figures.count([], 1.0)
    figures.count([], KEPT_S)
    assert told(figures, "sent_bytes_total") == 100
    figures.count([], KEPT_S + 1.5)
    assert told(figures, "sent_bytes_total") is None


def test_what_leads_nowhere_is_no_link() -> None:
    figures = LinkFigures()
    figures.count([Stream(9, peer_node=""), Stream(9, peer_node="edge")], 0.0)
    assert told(figures, "sent_bytes_total", {"source": "edge", "target": "edge"}) is None
