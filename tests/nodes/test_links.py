"""What acknowledgements tell about a link, clocks never compared."""

import pytest

from nodes.links import LEAST_PART_BYTES, MOST_PART_BYTES, LinkEstimator, part_bytes


def fed(*, rate: float, rtt_s: float, sizes: list[int], gap_s: float = 0.0) -> LinkEstimator:
    """An estimator that saw messages cross a FIFO link of that rate."""
    link, now_s, free_s = LinkEstimator(), 100.0, 0.0
    for number, nbytes in enumerate(sizes):
        link.sent(number, nbytes, now_s)
        free_s = max(free_s, now_s) + nbytes / rate
        link.acknowledged(number, held_s=3.0, now_s=free_s + rtt_s + 3.0)
        link.refresh(free_s + rtt_s + 3.0)
        now_s += gap_s
    return link


def test_goodput_and_round_trip_are_found_apart_from_the_peers_own_time() -> None:
    estimate = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0).estimate
    assert estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)
    assert estimate.rtt_s == pytest.approx(0.02, rel=0.01)


def test_messages_queued_behind_each_other_do_not_look_slow() -> None:
    estimate = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5]).estimate
    assert estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)


def test_one_hiccup_in_five_messages_changes_nothing() -> None:
    link = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 8], gap_s=1.0)
    for number in range(10, 40):
        took_s = 0.12 + (0.2 if number % 5 == 0 else 0.0)
        link.sent(number, 100_000, float(number))
        link.acknowledged(number, 0.0, number + took_s)
        link.refresh(number + took_s)
    assert link.estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)
    assert link.changes == 0


def test_the_estimate_says_how_sure_it_is() -> None:
    few, many = (fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * n], gap_s=0.2).estimate for n in (2, 20))
    assert few.goodput_std is not None
    assert many.goodput_std is not None
    assert 0 < many.goodput_std < few.goodput_std / 2


def test_bytes_under_way_are_what_the_next_message_waits_behind() -> None:
    link = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0)
    link.sent(50, 400_000, 200.0)
    link.refresh(200.01)
    assert link.estimate.bytes_in_flight == 400_000
    assert link.estimate.queueing_s == pytest.approx(0.4, rel=0.01)


def test_what_is_under_way_for_too_long_bounds_the_goodput() -> None:
    link = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0)
    link.sent(50, 100_000, 200.0)
    assert not link.refresh(200.3)
    assert link.refresh(201.02)
    assert link.estimate.goodput_bytes_per_s == pytest.approx(100_000, rel=0.01)
    assert link.estimate.goodput_std == 1.0


def test_messages_that_wait_for_credit_are_not_the_links_fault() -> None:
    link = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0)
    link.sent(50, 100_000, 200.0)
    assert not link.refresh(230.0, before=50)
    link.sent(50, 100_000, 230.0)
    link.acknowledged(50, 0.0, 230.12)
    link.refresh(230.13)
    assert link.estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)
    assert link.changes == 0


def test_parts_tell_the_rate_before_their_message_is_through() -> None:
    link = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0)
    link.sent(50, 1_000_000, 200.0)
    for part in range(10):
        link.sent(51 + part, 100_000, 200.0, message=50)
    for part in range(3):
        link.acknowledged(51 + part, 0.0, 200.02 + (part + 1) * 1.0)
        link.refresh(200.02 + (part + 1) * 1.0)
    assert link.estimate.goodput_bytes_per_s == pytest.approx(100_000, rel=0.05)
    assert link.estimate.bytes_in_flight == 700_000


def test_a_peer_that_does_not_acknowledge_parts_is_measured_by_the_whole() -> None:
    link = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0)
    for number in range(50, 90, 10):
        link.sent(number, 500_000, number * 10.0)
        for part in range(1, 6):
            link.sent(number + part, 100_000, number * 10.0, message=number)
        assert not link.refresh(number * 10.0 + 0.5)
        link.acknowledged(number, 0.0, number * 10.0 + 0.52)
        link.refresh(number * 10.0 + 0.53)
    assert link.estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)
    assert (link.changes, link.waiting) == (0, False) or not link.refresh(1000.0)


def test_small_messages_say_nothing_about_goodput() -> None:
    assert fed(rate=1e6, rtt_s=0.02, sizes=[100] * 9, gap_s=1.0).estimate.goodput_bytes_per_s is None


def test_an_acknowledgement_of_nothing_sent_is_ignored() -> None:
    link = LinkEstimator()
    assert link.acknowledged(5, 0.0, 1.0) is None
    assert link.estimate.samples == 0


def test_a_message_that_was_held_for_longer_than_it_was_there_tells_nothing() -> None:
    link = LinkEstimator()
    link.sent(1, 10, 100.0)
    assert link.acknowledged(1, held_s=1e300, now_s=100.1) is None
    assert link.estimate.rtt_s is None


def test_a_part_is_as_much_as_the_link_takes_in_a_hundredth_of_a_second() -> None:
    assert part_bytes(10e6) == 100_000
    assert [part_bytes(rate) for rate in (1e3, 1e12)] == [LEAST_PART_BYTES, MOST_PART_BYTES]
    assert LEAST_PART_BYTES < part_bytes(None) < MOST_PART_BYTES
