"""Whatever happens in whatever order, every request ends exactly once and in one epoch (Hypothesis)."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.actions import Action, Cancel, Deliver, Drained, FailRequest, Release, Send
from orchestrator.replicas_routing import Crew, Routes
from orchestrator.routing import Routing

NODES = ("camera", "mec", "cloud")
OUTPUTS = ("boxes", "scores")
KINDS = ("", "StreamClosed", "Overloaded", "BadOutput")


class AnyOrder(RuleBasedStateMachine):
    """A router that keeps book of what it was told to do, beside a world that answers at random."""

    @initialize()
    def start(self) -> None:
        self.routing, self.now_s, self.names, self.epoch = Routing(), 0.0, 0, 0
        self.ended: dict[str, str] = {}
        self.released: list[str] = []
        self.sent: dict[tuple[str, int], int] = {}  # (request, attempt) → epoch
        self.came: dict[tuple[str, int], set[str]] = {}
        self.in_flight: dict[str, tuple[str, int]] = {}
        self.told_to_drain: list[int] = []
        self.drained: list[int] = []
        self.crews: dict[int, tuple[Crew, ...]] = {}

    def note(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Send():
                    key = (action.request, action.attempt)
                    assert key not in self.sent and action.request not in self.in_flight
                    assert action.epoch == self.epoch and action.epoch not in self.drained
                    assert action.budget_s > 0
                    crews = self.crews[action.epoch]
                    assert len(action.way) == len(crews)
                    assert all(node in crew.nodes for node, crew in zip(action.way, crews, strict=True))
                    assert not set(action.way).intersection(self.routing._lost)
                    self.sent[key], self.in_flight[action.request] = action.epoch, key
                case Cancel():
                    assert self.in_flight.pop(action.request) == (action.request, action.attempt)
                case Deliver():
                    key = self.in_flight.pop(action.request)
                    assert key == (action.request, action.attempt) and self.sent[key] == action.epoch
                    assert self.came[key] == set(OUTPUTS)
                    self.end(action.request, "delivered")
                case FailRequest():
                    self.end(action.request, action.kind)
                case Release():
                    assert action.request not in self.in_flight
                    self.released.append(action.request)
                case Drained():
                    assert action.epoch in self.told_to_drain
                    assert action.epoch not in [self.sent[key] for key in self.in_flight.values()]
                    self.told_to_drain.remove(action.epoch)
                    self.drained.append(action.epoch)

    def end(self, request: str, how: str) -> None:
        assert request not in self.ended, f"{request} has ended twice"
        self.ended[request] = how

    @rule(budget_s=st.floats(0.5, 5.0))
    def submit(self, budget_s: float) -> None:
        self.names += 1
        self.note(self.routing.submit(f"q{self.names}", self.now_s, budget_s))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), outputs=st.sets(st.sampled_from(OUTPUTS), min_size=1))
    def answer(self, data: st.DataObject, outputs: set[str]) -> None:
        request, attempt = data.draw(st.sampled_from(list(self.sent)))
        self.came.setdefault((request, attempt), set()).update(outputs)
        self.note(self.routing.answer(request, attempt, sorted(outputs), self.now_s))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), caller_fault=st.booleans(), kind=st.sampled_from(KINDS), stage=st.sampled_from(("s1", "s2")))
    def error(self, data: st.DataObject, caller_fault: bool, kind: str, stage: str) -> None:
        request, attempt = data.draw(st.sampled_from(list(self.sent)))
        about = {"kind": kind, "stage": stage}
        self.note(self.routing.error(request, attempt, "broken", self.now_s, caller_fault=caller_fault, **about))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), node=st.sampled_from(NODES))
    def fail_to_send(self, data: st.DataObject, node: str) -> None:
        request, attempt = data.draw(st.sampled_from(list(self.sent)))
        self.note(self.routing.unsent(request, attempt, node, "no stream", self.now_s))

    @precondition(lambda self: self.epoch)
    @rule(back=st.integers(0, 2), node=st.sampled_from(NODES))
    def hang(self, back: int, node: str) -> None:
        self.note(self.routing.stage_hung(max(1, self.epoch - back), node, "a stage is hung", self.now_s))

    @precondition(lambda self: self.epoch)
    @rule(back=st.integers(0, 2), old_s=st.floats(0.0, 10.0), new_s=st.floats(0.0, 10.0))
    def hurry(self, back: int, old_s: float, new_s: float) -> None:
        self.note(self.routing.hurry(max(1, self.epoch - back), old_s, new_s, self.now_s))

    @rule(nodes=st.sets(st.sampled_from(NODES), min_size=1), replicated=st.booleans())
    def switch(self, nodes: set[str], replicated: bool) -> None:
        before, self.epoch = self.epoch, self.epoch + 1
        here = tuple(sorted(nodes))
        crews = (Crew(stage="s1", nodes=here[:1]), Crew(stage="s2", nodes=here[1:])) if here[1:] and replicated else ()
        self.crews[self.epoch] = crews
        routes = Routes(epoch=self.epoch, nodes=here, outputs=OUTPUTS, crews=crews)
        self.note(self.routing.switch(routes, self.now_s))
        if before:
            self.told_to_drain.append(before)
            self.note(self.routing.drain(before, self.now_s))

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        self.note(self.routing.worker_lost(node, self.now_s, others=self.names % 2 == 0))

    @rule(node=st.sampled_from(NODES))
    def find(self, node: str) -> None:
        self.note(self.routing.worker_found(node, self.now_s))

    @precondition(lambda self: self.epoch)
    @rule(node=st.sampled_from(("", *NODES)))
    def forget(self, node: str) -> None:
        self.note(self.routing.epoch_lost(self.epoch, "no such epoch", self.now_s, node=node))

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = f"q{data.draw(st.integers(1, self.names))}"
        actions = self.routing.cancel(request, self.now_s)
        if actions:
            self.end(request, "cancelled")
        self.note(actions)

    @rule(passed_s=st.floats(0.0, 2.0))
    def tick(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.note(self.routing.tick(self.now_s))

    @invariant()
    def every_request_is_in_hand_or_has_ended(self) -> None:
        if hasattr(self, "routing"):
            assert self.routing.in_hand == self.names - len(self.ended)
            assert sorted(self.released) == sorted(self.ended)

    def teardown(self) -> None:
        if hasattr(self, "routing"):
            self.note(self.routing.tick(self.now_s + 100.0))
            assert len(self.ended) == self.names
            assert self.in_flight == {} and self.told_to_drain == []
            assert self.routing.next_deadline_s is None
            assert all(replica.in_hand == 0 for replica in self.routing._replicas._known.values())


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestAnyOrderAtLength(AnyOrder.TestCase):  # type: ignore[name-defined,misc]
    """The same, more often and longer: what ends while others are sent takes many steps to come about."""

    settings = settings(max_examples=2000, stateful_step_count=50, deadline=None)
