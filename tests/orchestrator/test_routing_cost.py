"""Claims about what the routing core does for a request, counted in calls, so that no clock is asked."""

import pickle
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from orchestrator.actions import Action, Cancel, Deliver, Drained, FailRequest, Release, Send, Suspect
from orchestrator.replicas_routing import Crew, Routes
from orchestrator.routing import Routing

OLD = Routes(epoch=1, nodes=("camera", "cloud"), outputs=("logits",))
NEW = Routes(epoch=2, nodes=("camera", "mec"), outputs=("logits",))
REPLICATED = Routes(
    epoch=1, nodes=("a", "b"), outputs=("logits",), crews=(Crew(stage="s1", nodes=("a", "b"), seconds=0.01),)
)
ACTIONS: tuple[Action, ...] = (
    Send(request="a", attempt=1, epoch=2, budget_s=3.0, way=("mec",)),
    Cancel(request="a", attempt=1, epoch=2),
    Deliver(request="a", attempt=1, epoch=2),
    FailRequest(request="a", kind="worker", error="failed 4 times"),
    Suspect(epoch=2, stage="s1", error="bad output"),
    Release(request="a"),
    Drained(epoch=2),
)


def calls(act: Callable[[], object]) -> int:
    """How many Python functions run."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def served(routing: Routing, in_hand: int) -> int:
    """Calls for a request from submit to release, with others in hand, after one that showed the way."""
    for number in range(in_hand + 1):
        routing.submit(str(number), 0.0, 10.0)
    routing.answer("0", 1, ["logits"], 0.1)

    def serve() -> None:
        routing.submit("a", 0.1, 10.0)
        routing.answer("a", 1, ["logits"], 0.2)

    return calls(serve)


def switched(routes: Routes) -> Routing:
    """A router on these routes."""
    routing = Routing()
    routing.switch(routes, 0.0)
    return routing


def test_a_request_without_trouble_takes_few_calls() -> None:
    assert served(switched(OLD), 0) <= 24


@pytest.mark.parametrize("routes", [OLD, REPLICATED])
def test_what_a_request_takes_does_not_grow_with_those_in_hand(routes: Routes) -> None:
    assert served(switched(routes), 100) == served(switched(routes), 10)


def test_an_answer_from_a_draining_epoch_takes_no_look_at_requests_elsewhere() -> None:
    def answered(elsewhere: int) -> int:
        routing = switched(OLD)
        for number in range(elsewhere):
            routing.submit(str(number), 0.0, 10.0)
        routing.switch(NEW, 0.0)
        routing.submit("a", 0.0, 10.0)
        routing.submit("last", 0.0, 10.0)
        routing.switch(OLD, 0.0)
        routing.drain(NEW.epoch, 0.0)
        return calls(lambda: routing.answer("a", 1, ["logits"], 0.1))

    assert answered(100) == answered(1)


def test_the_latest_answers_are_looked_through_once_for_all_requests() -> None:
    def looked(in_hand: int) -> int:
        routing = switched(OLD)
        for number in range(in_hand + 20):
            routing.submit(str(number), 0.0, 10.0)
        for number in range(20):
            routing.answer(str(number), 1, ["logits"], 0.1)
        return calls(lambda: routing.next_deadline_s)

    assert looked(101) - looked(1) <= 100 * 4


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_an_action_is_a_value_that_can_be_sent_away(action: Action) -> None:
    back = pickle.loads(pickle.dumps(action))
    assert back == action and hash(back) == hash(action) and back is not action


def test_actions_are_told_apart_by_kind_and_fields() -> None:
    again = [Cancel("a", 1, 2), Cancel("a", 1, 2, ("mec",)), Deliver("a", 1, 2), Deliver("a", 1, 2), Release("a")]
    assert len(set(again)) == 4
