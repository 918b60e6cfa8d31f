"""A poisoned request is told apart from a bad node, whoever else was there when workers died."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from orchestrator.actions import Action, Cancel, Deliver, FailRequest, Send
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing
from orchestrator.suspicion import Loss, is_guilty, is_suspect
from tests.orchestrator.test_routing import failure, sends

NODE = "edge"


class World:
    """One node that serves what it was sent, dies of what is poisoned, and always comes back in a new epoch."""

    def __init__(self, poisoned: set[str]) -> None:
        self.routing, self.poisoned = Routing(), poisoned
        self.epoch, self.now_s = 0, 0.0
        self.flying: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.shared: dict[str, int] = {}
        self.alone: dict[str, int] = {}
        self.come_back()

    def note(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.flying[action.request] = action.attempt
                case Cancel():
                    self.flying.pop(action.request, None)
                case Deliver():
                    self.flying.pop(action.request)
                    self.ended[action.request] = "delivered"
                case FailRequest():
                    self.ended[action.request] = action.kind
                case _:
                    pass

    def come_back(self) -> None:
        self.epoch += 1
        self.note(self.routing.switch(Routes(epoch=self.epoch, nodes=(NODE,), outputs=("y",)), self.now_s))

    def submit(self, request: str) -> None:
        self.now_s += 0.01
        self.note(self.routing.submit(request, self.now_s, 1e6))

    def die(self) -> None:
        for request in self.flying:
            count = self.alone if len(self.flying) == 1 else self.shared
            count[request] = count.get(request, 0) + 1
        self.note(self.routing.worker_lost(NODE, self.now_s))
        self.come_back()

    def cut_the_link(self) -> None:
        self.note(self.routing.worker_lost(NODE, self.now_s))
        self.note(self.routing.worker_found(NODE, self.now_s))

    def serve(self, choice: int) -> None:
        self.now_s += 0.01
        request = list(self.flying)[choice % len(self.flying)]
        if request in self.poisoned:
            self.die()
        else:
            self.note(self.routing.answer(request, self.flying[request], ("y",), self.now_s))

    @property
    def may_die_by_itself(self) -> bool:
        """Not twice while the same request is alone with it: nobody could tell that from guilt."""
        return bool(self.flying) and not (len(self.flying) == 1 and self.alone.get(next(iter(self.flying))))


STEPS = st.lists(
    st.tuples(st.sampled_from(("ask", "ask", "ask poisoned", "serve", "serve", "die", "cut")), st.integers(0, 30)),
    max_size=60,
)


def live(steps: list[tuple[str, int]]) -> World:
    """All that, then serving until nothing is in hand."""
    world = World(set())
    for number, (what, choice) in enumerate(steps):
        if what.startswith("ask"):
            if what == "ask poisoned":
                world.poisoned.add(f"q{number}")
            world.submit(f"q{number}")
        elif what == "serve" and world.flying:
            world.serve(choice)
        elif what == "die" and world.may_die_by_itself:
            world.die()
        elif what == "cut":
            world.cut_the_link()
    while world.routing.in_hand:
        assert world.flying, "requests are in hand, the epoch is healthy, and none is sent"
        world.serve(0)
    return world


def innocents_are_answered_and_the_poisoned_quarantined(steps: list[tuple[str, int]]) -> None:
    world = live(steps)
    for request, how in world.ended.items():
        assert how == ("quarantined" if request in world.poisoned else "delivered"), request
    assert all(count <= 2 for count in world.shared.values())
    assert all(world.alone.get(request, 0) == 2 for request in world.poisoned)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_no_innocent_fails_and_each_poisoned_request_costs_four_workers_at_most(steps: list[tuple[str, int]]) -> None:
    innocents_are_answered_and_the_poisoned_quarantined(steps)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(STEPS)
def test_the_same_over_many_histories(steps: list[tuple[str, int]]) -> None:
    innocents_are_answered_and_the_poisoned_quarantined(steps)


def crowd(*requests: str) -> World:
    world = World(set())
    for request in requests:
        world.submit(request)
    return world


def test_after_a_first_death_all_are_sent_again_side_by_side() -> None:
    world = crowd("a", "b", "c")
    world.die()
    assert list(world.flying) == ["a", "b", "c"]


def test_after_a_second_death_they_are_tried_one_at_a_time_and_newcomers_wait() -> None:
    world = crowd("a", "b")
    world.die()
    world.die()
    world.submit("new")
    assert list(world.flying) == ["a"]
    world.serve(0)
    assert list(world.flying) == ["b"]
    world.serve(0)
    assert list(world.flying) == ["new"]


def test_who_was_never_alone_with_a_death_is_tried_before_who_was() -> None:
    world = crowd("poison", "b")
    for _ in range(3):  # twice with b, once alone
        world.die()
    assert list(world.flying) == ["b"]


def test_a_poisoned_request_that_travels_alone_costs_two_workers() -> None:
    world = crowd("a")
    world.die()
    world.die()
    assert world.ended == {"a": "quarantined"}


def test_the_end_of_the_guilty_lets_each_of_the_others_go_once() -> None:
    world = crowd("a")
    world.die()
    world.submit("b")
    world.note(world.routing.worker_lost(NODE, world.now_s))
    actions = world.routing.switch(Routes(epoch=9, nodes=(NODE,), outputs=("y",)), world.now_s)
    assert failure(actions).kind == "quarantined"
    assert sends(actions) == [("b", 9)]


def test_a_link_that_was_cut_is_held_against_nobody() -> None:
    world = crowd("a")
    for _ in range(5):
        world.cut_the_link()
    world.submit("b")
    assert list(world.flying) == ["a", "b"]


def test_a_worker_taken_for_the_same_that_had_lost_its_epoch_did_die() -> None:
    world = crowd("a")
    for _ in range(2):
        world.cut_the_link()
        world.note(world.routing.epoch_lost(world.epoch, "no such epoch", 1.0))
        world.come_back()
    world.die()
    assert world.ended == {"a": "quarantined"}


def test_who_shared_its_worker_with_other_deployments_was_not_alone_with_it() -> None:
    routing, sent = Routing(), []
    routing.switch(Routes(epoch=1, nodes=(NODE,), outputs=("y",)), 0.0)
    routing.submit("a", 0.0, 10.0)
    for epoch in range(2, 6):
        routing.worker_lost(NODE, 1.0, others=True)
        sent.append(sends(routing.switch(Routes(epoch=epoch, nodes=(NODE,), outputs=("y",)), 1.0)))
    assert sent == [[("a", 2)], [("a", 3)], [("a", 4)], [("a", 5)]]


def test_a_trial_waits_for_what_an_old_epoch_still_has_on_the_same_node() -> None:
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=("camera",), outputs=("y",)), 0.0)
    routing.submit("old", 0.0, 10.0)
    routing.switch(Routes(epoch=2, nodes=("cloud",), outputs=("y",)), 0.0)
    routing.submit("a", 0.0, 10.0)
    routing.worker_lost("cloud", 1.0)
    assert not sends(routing.switch(Routes(epoch=3, nodes=("camera", "cloud"), outputs=("y",)), 1.0))
    assert sends(routing.answer("old", 1, ["y"], 2.0)) == [("a", 3)]


def test_a_request_that_left_a_broken_stream_was_there_when_its_worker_is_found_dead() -> None:
    world = crowd("a")
    for _ in range(2):
        world.note(world.routing.error("a", world.flying["a"], "stream broke", world.now_s, kind="StreamClosed"))
        world.note(world.routing.worker_lost(NODE, world.now_s))
        world.now_s += 10.0
        world.come_back()
    assert world.ended == {"a": "quarantined"}


def test_lost_workers_use_up_no_attempts() -> None:
    world = crowd("a", "b")
    for _ in range(9):
        world.cut_the_link()
    for _ in range(3):
        world.note(world.routing.error("a", world.flying["a"], "broken", world.now_s))
    assert world.ended == {}
    assert failure(world.routing.error("a", world.flying["a"], "broken", world.now_s)).kind == "worker"


def test_broken_streams_use_up_no_attempts_and_are_not_tried_in_a_rush() -> None:
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=(NODE,), outputs=("y",)), 0.0)
    routing.submit("a", 0.0, 100.0)
    waits_s, now_s = [], 0.0
    for attempt in range(1, 9):
        assert not sends(routing.error("a", attempt, "stream broke", now_s, kind="StreamClosed"))
        due_s = routing.next_deadline_s
        assert due_s is not None
        assert sends(routing.tick(due_s)) == [("a", 1)]
        waits_s.append(due_s - now_s)
        now_s = due_s
    assert waits_s == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6])


def test_a_hung_stage_counts_as_a_lost_worker() -> None:
    world = crowd("a", "b")
    actions = world.routing.stage_hung(1, NODE, "stage s1 is hung", 1.0)
    assert not sends(actions)
    world.note(actions)
    world.come_back()
    assert list(world.flying) == ["a", "b"]
    world.note(world.routing.stage_hung(2, NODE, "stage s1 is hung", 1.0))
    world.come_back()
    assert list(world.flying) == ["a"]


@pytest.mark.parametrize(
    ("losses", "suspect", "guilty"),
    [
        ([Loss("n", False)], False, False),
        ([Loss("n", False), Loss("m", False)], True, False),
        ([Loss("n", True)], True, False),
        ([Loss("n", True), Loss("n", True)], True, True),
        ([Loss("n", True), Loss("n", True, withdrawn=True)], True, False),
        ([Loss("n", True, withdrawn=True)], False, False),
    ],
)
def test_what_makes_a_suspect_and_what_proves_guilt(losses: list[Loss], suspect: bool, guilty: bool) -> None:
    assert (is_suspect(losses), is_guilty(losses, 2)) == (suspect, guilty)
