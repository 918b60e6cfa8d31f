"""A slow stream is not taken for a dead one, nor a dead one for a slow."""

from math import inf

from orchestrator.pulse import Pulse


def pinged(*, sent_bytes: int = 0, believed: float | None = 1e6) -> Pulse:
    """A stream whose ping left at 10 s behind so many bytes."""
    pulse = Pulse(3.0)
    pulse.looked(0, sent_bytes)
    assert pulse.wants_ping(10.0)
    pulse.pinged(10.0, believed)
    return pulse


def test_silence_counts_only_while_an_answer_is_awaited() -> None:
    assert Pulse(3.0).left_s(1e9) == inf
    pulse = pinged()
    pulse.rest()
    assert pulse.left_s(1e9) == inf


def test_a_link_that_is_down_is_dead_after_the_timeout() -> None:
    pulse = pinged()
    pulse.looked(0, 500)
    assert not pulse.wants_ping(12.5)
    assert pulse.left_s(12.5) == 0.5
    assert pulse.left_s(13.0) == 0.0


def test_anything_that_comes_back_proves_life() -> None:
    pulse = pinged()
    pulse.looked(17, 0)
    assert pulse.left_s(13.0) == inf


def test_pings_keep_their_distance_however_much_comes_back() -> None:
    pulse = pinged()
    pulse.looked(17, 0)
    assert not pulse.wants_ping(10.9)
    assert pulse.wants_ping(11.0)


def test_sending_more_into_a_dead_link_does_not_keep_it_alive() -> None:
    pulse = pinged()
    for sent_bytes in range(0, 10_000_000, 1_000_000):
        pulse.looked(0, sent_bytes)
    assert pulse.left_s(13.0) == 0.0


def test_what_was_sent_ahead_of_the_ping_gets_the_time_of_a_link_twenty_times_slower() -> None:
    assert pinged(sent_bytes=100_000, believed=1e6).left_s(10.0) == 3.0 + 2.0


def test_a_hundred_kilobytes_are_waited_for_at_16_kilobits_a_second() -> None:
    assert pinged(sent_bytes=100_000, believed=None).left_s(10.0) == 3.0 + 50.0
    assert pinged(sent_bytes=100_000, believed=2000.0).left_s(10.0) == 3.0 + 50.0


def test_no_load_buys_more_than_the_most() -> None:
    assert pinged(sent_bytes=10**9).left_s(10.0) == 90.0


def test_what_was_sent_before_the_last_sign_of_life_is_not_ahead_any_more() -> None:
    pulse = pinged(sent_bytes=100_000)
    pulse.looked(50, 100_200)
    pulse.pinged(20.0, 1e6)
    assert 3.0 < pulse.left_s(20.0) < 3.01


def test_what_may_have_been_sent_after_the_last_sign_of_life_is_ahead() -> None:
    pulse = Pulse(3.0)
    pulse.looked(50, 0)
    pulse.looked(100, 100_000)  # which came first, nobody knows
    pulse.pinged(20.0, 1e6)
    assert pulse.left_s(20.0) == 3.0 + 2.0


def test_a_belief_that_sank_with_the_silence_buys_a_dead_stream_no_time() -> None:
    pulse = Pulse(3.0)
    pulse.looked(50, 0, 1e6)
    pulse.looked(50, 100_000, 1e3)
    pulse.pinged(20.0, 1e3)
    assert pulse.left_s(20.0) == 3.0 + 2.0
