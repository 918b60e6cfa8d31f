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
        now_s += gap_s
    return link


def test_goodput_and_round_trip_are_found_apart_from_the_peers_own_time() -> None:
    estimate = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5], gap_s=1.0).estimate
    assert estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)
    assert estimate.rtt_s == pytest.approx(0.02, rel=0.01)


def test_messages_queued_behind_each_other_do_not_look_slow() -> None:
    estimate = fed(rate=1e6, rtt_s=0.02, sizes=[10, *[100_000] * 5]).estimate
    assert estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)


def test_three_outliers_of_seven_change_nothing() -> None:
    link = fed(rate=1e6, rtt_s=0.0, sizes=[100_000] * 4, gap_s=1.0)
    for number in range(10, 13):
        link.sent(number, 100_000, float(number * 1000))
        link.acknowledged(number, 0.0, number * 1000 + 50.0)
    assert link.estimate.goodput_bytes_per_s == pytest.approx(1e6, rel=0.01)


def test_small_messages_say_nothing_about_goodput() -> None:
    assert fed(rate=1e6, rtt_s=0.02, sizes=[100] * 9, gap_s=1.0).estimate.goodput_bytes_per_s is None


def test_an_acknowledgement_of_nothing_sent_is_ignored() -> None:
    link = LinkEstimator()
    assert link.acknowledged(5, 0.0, 1.0) is None
    assert link.estimate.samples == 0


def test_a_part_is_as_much_as_the_link_takes_in_a_twentieth_of_a_second() -> None:
    assert part_bytes(2e6) == 100_000
    assert [part_bytes(rate) for rate in (1e3, 1e12)] == [LEAST_PART_BYTES, MOST_PART_BYTES]
    assert LEAST_PART_BYTES < part_bytes(None) < MOST_PART_BYTES
