"""Steps of sequences in the routing core: where they go, what they await, and how they hear that state is lost."""

from orchestrator.actions import Action, Deliver, FailRequest, Send
from orchestrator.replicas_routing import Crew, Routes
from orchestrator.request import Wish
from orchestrator.routing import Routing

CREWS = (Crew(stage="s1", nodes=("camera",)), Crew(stage="s2", nodes=("a", "b", "c")))
SHARED = Routes(epoch=1, nodes=("camera", "a", "b", "c"), outputs=("y",), crews=CREWS)
FIRST, SECOND = (Routes(epoch=epoch, nodes=("camera", "cloud"), outputs=("y",)) for epoch in (1, 2))


def routed(routes: Routes = FIRST) -> Routing:
    routing = Routing()
    routing.switch(routes, 0.0)
    return routing


def step(routing: Routing, name: str, wish: Wish, now_s: float = 1.0) -> Send:
    (sent,) = (one for one in routing.submit(name, now_s, 10.0, wish=wish) if isinstance(one, Send))
    return sent


def failure(actions: tuple[Action, ...]) -> FailRequest:
    (found,) = [action for action in actions if isinstance(action, FailRequest)]
    return found


def test_steps_stay_with_the_replica_that_has_their_state_however_busy_it_is() -> None:
    routing = routed(SHARED)
    wish = Wish(epoch=1, way=("camera", "b"))
    assert {step(routing, str(number), wish).way for number in range(9)} == {("camera", "b")}
    others = [step(routing, f"other {number}", Wish()).way[1] for number in range(4)]
    assert set(others) == {"a", "c"}


def test_steps_leave_a_replica_that_is_lost_and_a_way_of_another_epoch() -> None:
    routing = routed(SHARED)
    routing.worker_lost("b", 1.0)
    assert step(routing, "x", Wish(epoch=1, way=("camera", "b"))).way[1] in ("a", "c")
    assert step(routing, "y", Wish(epoch=7, way=("somewhere",))).way[1] in ("a", "c")


def test_steps_stay_in_the_epoch_that_stood_by_while_it_is_offered() -> None:
    routing = routed(FIRST)
    routing.offer(SECOND, 0.0)
    assert step(routing, "x", Wish(epoch=2)).epoch == 2
    assert step(routing, "y", Wish()).epoch == 1
    routing.drain(2, 1.0)
    assert step(routing, "z", Wish(epoch=2)).epoch == 1


def test_a_step_whose_state_is_wanted_is_answered_once_that_is_there_too() -> None:
    routing = routed()
    step(routing, "x", Wish(also=("far", "near")))
    assert routing.answer("x", 1, ("near",), 2.0) == ()
    assert routing.answer("x", 1, ("y",), 2.0) == ()
    assert isinstance(routing.answer("x", 1, ("far",), 2.0)[0], Deliver)


def test_a_step_whose_state_is_lost_fails_at_once_and_costs_no_attempt_elsewhere() -> None:
    routing = routed()
    step(routing, "x", Wish())
    told = failure(routing.error("x", 1, "gone", 2.0, kind="SequenceLost", stage="s1"))
    assert (told.kind, told.alone, routing.in_hand) == ("sequence", 0, 0)


def test_a_step_that_lost_its_state_with_its_worker_tells_so() -> None:
    """Whoever has the state made again counts what the step did to workers."""
    routing = routed()
    step(routing, "x", Wish())
    routing.worker_lost("cloud", 2.0)
    routing.switch(SECOND, 3.0)
    told = failure(routing.error("x", 2, "gone", 4.0, kind="SequenceLost", stage="s1"))
    assert (told.kind, told.alone) == ("sequence", 1)
