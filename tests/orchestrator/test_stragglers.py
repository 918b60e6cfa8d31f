"""When an attempt is begun anew without a failure: overtaken on its way, or faster in the new epoch."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from orchestrator.actions import Cancel, Drained
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing
from orchestrator.stragglers import Pace, moved
from tests.orchestrator.test_routing import FIRST, SECOND, failure, routed, sends

LATE = [f"late{number}" for number in range(3)]


def test_an_attempt_that_three_later_ones_overtook_is_sent_again() -> None:
    routing = routed(FIRST, "lost", *LATE)
    for request in LATE:
        routing.answer(request, 1, ["logits"], 0.1)
    assert sends(routing.tick(0.99)) == []
    assert sends(routing.tick(1.0)) == [("lost", 1)]


def test_the_wait_follows_what_answers_took() -> None:
    routing = routed(FIRST, "lost", *LATE, budget_s=100.0)
    for request in LATE:
        routing.answer(request, 1, ["logits"], 2.0)
    assert sends(routing.tick(15.9)) == []
    assert routing.next_deadline_s == 16.0
    assert sends(routing.tick(16.0)) == [("lost", 1)]


def test_on_a_link_that_slows_down_nothing_is_sent_twice() -> None:
    routing = routed(FIRST, "before", *LATE, "waits", budget_s=1000.0)
    for request in ("before", *LATE):
        routing.answer(request, 1, ["logits"], 0.1)
    assert routing.tick(900.0) == ()
    assert routing.answer("waits", 1, ["logits"], 901.0)


def test_overtaken_attempts_are_counted_against_the_request() -> None:
    routing = routed(FIRST, "lost", *LATE, budget_s=1000.0)
    for request in LATE:
        routing.answer(request, 1, ["logits"], 0.1)
    now_s, number = 0.1, 0
    for _ in range(3):
        now_s += 60.0
        assert sends(routing.tick(now_s))
        for _ in range(3):
            number += 1
            routing.submit(f"x{number}", now_s, 1000.0)
            routing.answer(f"x{number}", 1, ["logits"], now_s + 0.1)
    assert failure(routing.tick(now_s + 60.0)).kind == "worker"


def test_no_pace_is_known_before_the_first_answer() -> None:
    assert Pace().overdue_s() is None
    assert not Pace().overtaken(1, 1e9)


def test_all_move_off_a_wire_that_became_a_hundred_times_slower() -> None:
    assert moved([0.0, 0.0, 0.0], old_s=10.0, new_s=0.1) == (0, 1, 2)


def test_the_head_stays_where_it_is_almost_through() -> None:
    assert moved([9.5, 0.0], old_s=10.0, new_s=1.0) == (1,)


def test_nobody_moves_for_less_than_the_gain() -> None:
    assert moved([0.0], old_s=1.0, new_s=0.86) == ()
    assert moved([0.0], old_s=1.0, new_s=0.84) == (0,)


def test_the_queue_is_shared_out_where_both_are_alike() -> None:
    assert moved([0.0] * 6, old_s=1.0, new_s=1.0) == (1, 3, 5)


def test_negative_seconds_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        moved([0.0], old_s=-1.0, new_s=1.0)


SECONDS = st.floats(0.001, 100.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 50.0), max_size=12), SECONDS, SECONDS)
def test_moving_never_makes_anybody_later(out_s: list[float], old_s: float, new_s: float) -> None:
    going = moved(out_s, old_s, new_s)
    head_s = max(0.1 * old_s, old_s - out_s[0]) if out_s else 0.0
    staying = [position for position in range(len(out_s)) if position not in going]
    for place, position in enumerate(going):
        assert (place + 1) * new_s < head_s + position * old_s
    for place, position in enumerate(staying):
        assert place <= position


def hurried(old_s: float, new_s: float) -> tuple[Routing, list[tuple[str, int]]]:
    routing = routed(FIRST, "a", "b", budget_s=100.0)
    routing.switch(SECOND, 1.0)
    return routing, sends(routing.hurry(1, old_s, new_s, 1.0))


def test_hurry_sends_what_waits_on_the_slow_wire_into_the_epoch_in_use() -> None:
    _, sent = hurried(old_s=20.0, new_s=0.1)
    assert sent == [("a", 2), ("b", 2)]


def test_hurry_cancels_the_old_attempts_and_lets_the_epoch_drain() -> None:
    routing = routed(FIRST, "a")
    routing.switch(SECOND, 1.0)
    routing.drain(1, 1.0)
    actions = routing.hurry(1, 20.0, 0.1, 1.0)
    assert actions[0] == Cancel(request="a", attempt=1, epoch=1)
    assert actions[-1] == Drained(epoch=1)
    assert routing.answer("a", 1, ["logits"], 2.0) == ()


def test_hurry_leaves_them_where_that_is_no_faster() -> None:
    routing, sent = hurried(old_s=2.0, new_s=2.0)
    assert sent == [("b", 2)]
    assert routing.answer("a", 1, ["logits"], 1.5)


def test_hurry_into_an_epoch_that_is_not_healthy_does_nothing() -> None:
    routing = routed(FIRST, "a")
    routing.switch(SECOND, 1.0, lost=("camera",))
    assert routing.hurry(1, 20.0, 0.1, 1.0) == ()


def test_hurry_of_the_epoch_in_use_does_nothing() -> None:
    assert routed(FIRST, "a").hurry(1, 20.0, 0.1, 1.0) == ()


def test_a_request_is_moved_twice_at_most() -> None:
    routing = routed(FIRST, "a", budget_s=100.0)
    moves = []
    for epoch in range(2, 6):
        routing.switch(Routes(epoch=epoch, nodes=("camera",), outputs=("logits",)), 1.0)
        moves.append(sends(routing.hurry(epoch - 1, 20.0, 0.1, 1.0)))
    assert moves == [[("a", 2)], [("a", 3)], [], []]
