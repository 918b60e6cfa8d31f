"""Claims about the life of one request."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from orchestrator.actions import Action, Cancel, Deliver, Drained, FailRequest, Release, Send
from orchestrator.errors import IllegalTransition
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing
from policies.routing import Way

FIRST = Routes(epoch=1, nodes=("camera", "cloud"), outputs=("logits",))
SECOND = Routes(epoch=2, nodes=("camera",), outputs=("logits",))
BOTH = Routes(epoch=1, nodes=("camera", "cloud"), outputs=("boxes", "scores"))


def routed(routes: Routes = FIRST, *requests: str, budget_s: float = 10.0) -> Routing:
    """A router on these routes, with these requests sent at 0 s."""
    routing = Routing()
    routing.switch(routes, 0.0)
    for request in requests:
        routing.submit(request, 0.0, budget_s)
    return routing


def sends(actions: tuple[Action, ...]) -> list[tuple[str, int]]:
    """Which requests were sent, into which epoch."""
    return [(action.request, action.epoch) for action in actions if isinstance(action, Send)]


def failure(actions: tuple[Action, ...]) -> FailRequest:
    (found,) = [action for action in actions if isinstance(action, FailRequest)]
    return found


def test_a_request_is_sent_with_its_budget_delivered_and_released() -> None:
    routing = routed()
    assert routing.submit("a", 1.0, 2.0) == (Send(request="a", attempt=1, epoch=1, budget_s=2.0),)
    delivered = routing.answer("a", 1, ["logits"], 1.5)
    assert delivered == (Deliver(request="a", attempt=1, epoch=1), Release(request="a"))
    assert routing.in_hand == 0


def test_outputs_of_several_stages_are_awaited() -> None:
    routing = routed(BOTH, "a")
    assert routing.answer("a", 1, ["scores"], 1.0) == ()
    assert isinstance(routing.answer("a", 1, ["boxes"], 1.0)[0], Deliver)


def test_an_output_told_twice_counts_once() -> None:
    routing = routed(BOTH, "a")
    routing.answer("a", 1, ["scores"], 1.0)
    assert routing.answer("a", 1, ["scores"], 1.0) == ()


def test_outputs_of_two_attempts_are_never_mixed() -> None:
    routing = routed(BOTH, "a")
    routing.answer("a", 1, ["scores"], 1.0)
    routing.error("a", 1, "reset", 1.0)
    assert routing.answer("a", 1, ["boxes"], 1.0) == ()
    assert routing.answer("a", 2, ["scores"], 1.0) == ()


def test_an_answer_after_the_end_is_ignored() -> None:
    routing = routed(FIRST, "a")
    routing.answer("a", 1, ["logits"], 1.0)
    assert routing.answer("a", 1, ["logits"], 1.0) == ()
    assert routing.error("a", 1, "late", 1.0) == ()


def test_the_callers_fault_fails_at_once() -> None:
    routing = routed(FIRST, "a")
    failed = failure(routing.error("a", 1, "input 'x' is missing", 1.0, caller_fault=True))
    assert (failed.kind, failed.error) == ("caller", "request a: input 'x' is missing")


def test_another_error_is_replayed_and_the_first_attempt_cancelled() -> None:
    routing = routed(FIRST, "a")
    assert routing.error("a", 1, "reset", 1.0) == (
        Cancel(request="a", attempt=1, epoch=1),
        Send(request="a", attempt=2, epoch=1, budget_s=9.0),
    )


def test_replays_end_after_four_attempts() -> None:
    routing = routed(FIRST, "a")
    for attempt in (1, 2, 3):
        routing.error("a", attempt, "reset", 1.0)
    failed = failure(routing.error("a", 4, "reset by peer", 1.0))
    assert (failed.kind, failed.error) == ("worker", "request a: failed 4 times, the last time: reset by peer")


def test_switch_keeps_requests_in_their_epoch() -> None:
    routing = routed(FIRST, "a")
    assert routing.switch(SECOND, 1.0) == ()
    assert routing.answer("a", 1, ["logits"], 2.0)[0] == Deliver(request="a", attempt=1, epoch=1)


def test_new_requests_go_to_the_new_epoch() -> None:
    routing = routed(FIRST, "a")
    routing.switch(SECOND, 1.0)
    (sent,) = routing.submit("b", 1.0, 1.0)
    assert isinstance(sent, Send) and sent.epoch == 2


def test_a_replay_goes_to_the_epoch_in_use() -> None:
    routing = routed(FIRST, "a")
    routing.switch(SECOND, 1.0)
    assert routing.error("a", 1, "reset", 1.0)[1] == Send(request="a", attempt=2, epoch=2, budget_s=9.0)


def test_drained_is_said_once_when_the_last_request_has_ended() -> None:
    routing = routed(FIRST, "a", "b")
    routing.switch(SECOND, 1.0)
    assert routing.drain(1, 1.0) == ()
    assert Drained(epoch=1) not in routing.answer("a", 1, ["logits"], 1.0)
    assert routing.answer("b", 1, ["logits"], 1.0)[-1] == Drained(epoch=1)
    routing.submit("c", 1.0, 1.0)
    assert Drained(epoch=1) not in routing.answer("c", 1, ["logits"], 1.0)


def test_an_epoch_taken_into_use_again_is_no_longer_drained() -> None:
    routing = routed(FIRST, "a")
    routing.drain(1, 1.0)
    routing.switch(FIRST, 1.0)
    assert Drained(epoch=1) not in routing.answer("a", 1, ["logits"], 1.0)


def test_an_epoch_never_used_is_drained_at_once() -> None:
    assert routed(SECOND).drain(1, 1.0) == (Drained(epoch=1),)


def test_draining_the_epoch_in_use_closes_until_the_next_switch() -> None:
    routing = routed(FIRST)
    routing.drain(1, 1.0)
    assert failure(routing.submit("a", 1.0, 1.0)).kind == "closed"
    routing.switch(SECOND, 2.0)
    assert isinstance(routing.submit("b", 2.0, 1.0)[0], Send)


def test_requests_before_the_first_switch_wait_for_it() -> None:
    routing = Routing()
    assert routing.submit("a", 0.0, 5.0) == ()
    assert routing.switch(FIRST, 2.0) == (Send(request="a", attempt=1, epoch=1, budget_s=3.0),)


def test_a_lost_workers_requests_wait_for_an_epoch_without_it() -> None:
    routing = routed(FIRST, "a")
    assert routing.worker_lost("cloud", 1.0) == (Cancel(request="a", attempt=1, epoch=1),)
    assert routing.submit("b", 1.0, 9.0) == ()
    assert sends(routing.switch(SECOND, 2.0)) == [("a", 2)]
    assert sends(routing.answer("a", 2, ["logits"], 3.0)) == [("b", 2)]


def test_a_lost_worker_elsewhere_does_not_touch_a_request() -> None:
    assert routed(SECOND, "a").worker_lost("cloud", 1.0) == ()


def test_requests_in_an_old_epoch_are_replayed_at_once_when_its_worker_is_lost() -> None:
    routing = routed(FIRST, "a")
    routing.switch(SECOND, 1.0)
    routing.drain(1, 1.0)
    assert routing.worker_lost("cloud", 2.0) == (
        Cancel(request="a", attempt=1, epoch=1),
        Send(request="a", attempt=2, epoch=2, budget_s=8.0),
        Drained(epoch=1),
    )


def test_a_worker_that_is_back_with_its_stages_gets_the_waiting_requests() -> None:
    routing = routed(FIRST, "a")
    routing.worker_lost("cloud", 1.0)
    assert routing.worker_found("cloud", 2.0) == (Send(request="a", attempt=2, epoch=1, budget_s=8.0),)


def test_an_epoch_that_a_worker_does_not_know_is_not_tried_again() -> None:
    routing = routed(FIRST, "a")
    routing.epoch_lost(1, "cloud has no epoch 1", 1.0)
    assert routing.worker_found("cloud", 1.0) == ()
    assert routing.submit("b", 1.0, 1.0) == ()


def test_the_epoch_in_use_told_again_does_not_heal_its_lost_worker() -> None:
    routing = routed(FIRST, "a")
    routing.worker_lost("cloud", 1.0)
    assert routing.switch(FIRST, 2.0) == ()


def test_a_request_with_which_two_workers_died_is_quarantined() -> None:
    routing = routed(FIRST, "a")
    routing.worker_lost("cloud", 1.0)
    routing.switch(SECOND, 2.0)
    routing.worker_lost("camera", 3.0)
    failed = failure(routing.switch(replace(SECOND, epoch=3), 4.0))
    assert failed.kind == "quarantined"
    assert "the worker on cloud was lost; the worker on camera was lost" in failed.error


def test_a_spent_budget_fails_and_cancels_and_says_what_was_missing() -> None:
    routing = routed(FIRST, "a", budget_s=2.0)
    assert routing.tick(1.9) == ()
    cancel, failed, released = routing.tick(2.0)
    assert cancel == Cancel(request="a", attempt=1, epoch=1)
    assert failed == FailRequest(
        request="a", kind="timeout", error="request a: no answer within 2 s, attempt 1 is in epoch 1 without logits"
    )
    assert released == Release(request="a")


def test_a_request_that_nobody_could_take_times_out_saying_so() -> None:
    routing = Routing()
    routing.submit("a", 0.0, 1.0)
    assert failure(routing.tick(1.0)).error == "request a: no answer within 1 s, no healthy epoch to send it to"


def test_the_next_deadline_is_the_earliest() -> None:
    routing = routed(FIRST, "a", budget_s=3.0)
    routing.submit("b", 0.0, 2.0)
    assert routing.next_deadline_s == 2.0


def test_a_caller_that_goes_away_cancels_its_request() -> None:
    routing = routed(FIRST, "a")
    assert routing.cancel("a", 1.0) == (Cancel(request="a", attempt=1, epoch=1), Release(request="a"))
    assert routing.cancel("a", 1.0) == ()


def test_a_request_name_in_use_is_refused_with_its_story() -> None:
    with pytest.raises(IllegalTransition, match=r"request a: 'submit' is not possible when 'sent'.*send at 0.000 s"):
        routed(FIRST, "a").submit("a", 1.0, 1.0)


def way(name: str, link_s: float, each_s: float) -> Way:
    return Way(name=name, in_hand=0, batch_s=(each_s,), link_s=link_s)


def two_ways() -> Routing:
    """Epoch 1 is in use and takes 0.1 s for each request ahead, 2 stands by and takes 0.05 s."""
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=("camera", "cloud"), outputs=("y",)), 0.0)
    routing.offer(Routes(epoch=2, nodes=("camera",), outputs=("y",)), 0.0)
    routing.learn({1: way("1", 0.0, 0.1), 2: way("2", 0.01, 0.05)})
    return routing


def epochs_of(actions: Iterable[Action]) -> list[int]:
    return [action.epoch for action in actions if isinstance(action, Send)]


def test_a_request_goes_to_what_stands_by_where_it_is_answered_first_and_loyalty_is_kept() -> None:
    routing = two_ways()
    assert routing.choices() == [1, 2]
    assert epochs_of(routing.submit("a", 0.0, 10.0)) == [2]
    assert epochs_of(routing.submit("b", 0.0, 10.0)) == [1]
    routing.drain(2, 0.0)
    assert epochs_of(routing.submit("c", 0.0, 10.0)) == [1]


def test_an_answer_makes_room_on_its_way() -> None:
    routing = two_ways()
    for name in "ab":
        routing.submit(name, 0.0, 10.0)
    routing.answer("a", 1, ["y"], 0.1)
    assert epochs_of(routing.submit("c", 0.1, 10.0)) == [2]


def test_what_a_lost_worker_had_is_spread_over_the_ways_that_are_left() -> None:
    """Dumped on one of them it would wait there for as long as it had lasted to notice the loss."""
    routing = two_ways()
    routing.offer(Routes(epoch=3, nodes=("mec",), outputs=("y",)), 0.0)
    routing.learn({1: way("1", 0.0, 0.001), 2: way("2", 0.0, 0.05), 3: way("3", 0.0, 0.1)})
    for number in range(12):
        routing.submit(f"r{number}", 0.0, 10.0)
    sent = epochs_of(routing.worker_lost("cloud", 0.1))
    assert (sent.count(2), sent.count(3)) in ((8, 4), (9, 3))


def test_what_stands_by_anew_on_a_node_that_was_lost_is_well() -> None:
    """Its worker was killed, and nothing needed the node until this epoch was loaded on the next one."""
    routing = routed(FIRST)
    routing.worker_lost("camera", 0.0)
    routing.offer(Routes(epoch=2, nodes=("camera",), outputs=("logits",)), 1.0)
    assert 2 in routing.choices()
    routing.worker_lost("camera", 2.0)
    routing.offer(Routes(epoch=3, nodes=("camera",), outputs=("logits",)), 3.0, lost=("camera",))
    assert routing.choices() == []


def test_what_is_in_flight_moves_to_what_stands_by_when_a_worker_is_lost_and_new_requests_follow() -> None:
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=("camera", "cloud"), outputs=("y",)), 0.0)
    routing.offer(Routes(epoch=2, nodes=("camera",), outputs=("y",)), 0.0)
    for name in "ab":
        routing.submit(name, 0.0, 10.0)
    assert [sent.epoch for sent in routing.worker_lost("cloud", 0.1) if isinstance(sent, Send)] == [2, 2]
    assert [sent.epoch for sent in routing.submit("c", 0.2, 10.0) if isinstance(sent, Send)] == [2]
    assert routing.choices() == [2]
    routing.worker_found("cloud", 0.3)
    assert [sent.epoch for sent in routing.submit("d", 0.4, 10.0) if isinstance(sent, Send)] == [1]
