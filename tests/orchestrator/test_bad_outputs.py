"""Whose fault a bad output is: claims about soundness.py in the routing core."""

from orchestrator.actions import Action, FailRequest, Suspect
from orchestrator.routing import Routing
from tests.orchestrator.test_routing import FIRST, SECOND, failure, routed, sends


def bad(routing: Routing, request: str, attempt: int, stage: str = "s2") -> tuple[Action, ...]:
    return routing.error(request, attempt, "output 'y' holds NaN", 1.0, kind="BadOutput", stage=stage)


def suspects(actions: tuple[Action, ...]) -> list[tuple[int, str]]:
    return [(action.epoch, action.stage) for action in actions if isinstance(action, Suspect)]


def test_a_first_bad_output_is_tried_again() -> None:
    assert sends(bad(routed(FIRST, "a"), "a", 1)) == [("a", 1)]


def test_the_same_from_the_same_stage_is_the_inputs_fault() -> None:
    routing = routed(FIRST, "a")
    bad(routing, "a", 1)
    failed = failure(bad(routing, "a", 2))
    assert failed.kind == "input"
    assert "output 'y' holds NaN; 2 attempts ended so, which its inputs must be the cause of" in failed.error


def test_the_same_from_another_epoch_is_the_inputs_fault() -> None:
    routing = routed(FIRST, "a")
    routing.switch(SECOND, 1.0)
    bad(routing, "a", 1, stage="s2")
    assert failure(bad(routing, "a", 2, stage="s1")).kind == "input"


def test_another_stage_of_the_same_epoch_proves_nothing() -> None:
    routing = routed(FIRST, "a")
    bad(routing, "a", 1, stage="s1")
    assert sends(bad(routing, "a", 2, stage="s2")) == [("a", 1)]


def test_a_stage_whose_bad_output_was_none_the_next_time_is_suspected() -> None:
    routing = routed(FIRST, "a")
    bad(routing, "a", 1)
    assert suspects(routing.answer("a", 2, ["logits"], 2.0)) == [(1, "s2")]


def test_a_stage_that_fails_three_requests_in_a_row_is_suspected_once() -> None:
    routing, told = routed(FIRST, *"abcde"), []
    for request in "abcde":
        bad(routing, request, 1)
        told.append(suspects(bad(routing, request, 2)))
    assert told == [[], [], [(1, "s2")], [], []]


def test_an_answer_in_between_clears_the_stage() -> None:
    routing, told = routed(FIRST, *"abcd"), []
    for request in "abc":
        bad(routing, request, 1)
        told += suspects(bad(routing, request, 2))
        if request == "b":
            routing.answer("d", 1, ["logits"], 1.0)
    assert told == []


def test_one_that_may_not_wait_fails_where_a_queue_is_full() -> None:
    routing = routed(FIRST)
    routing.submit("a", 0.0, 10.0, wait=False)
    failed = routing.error("a", 1, "8 requests wait already", 0.0, kind="Overloaded")
    assert [(one.kind, one.error) for one in failed if isinstance(one, FailRequest)] == [
        ("overloaded", "request a: 8 requests wait already")
    ]


def test_what_a_stage_cannot_do_in_time_is_not_tried_again() -> None:
    failed = routed(FIRST, "a").error("a", 1, "it can't be answered in time", 0.0, kind="BudgetExpired")
    assert [one.kind for one in failed if isinstance(one, FailRequest)] == ["timeout"]


def test_a_full_queue_is_tried_again_after_a_pause_four_times_at_most() -> None:
    routing, now_s, actions = routed(FIRST, "a"), 0.0, ()
    for attempt in range(1, 5):
        actions = routing.error("a", attempt, "8 requests wait already", now_s, kind="Overloaded")
        now_s += 1.0
        assert bool(sends(routing.tick(now_s))) == (attempt < 4)
    assert [action.kind for action in actions if isinstance(action, FailRequest)] == ["worker"]
