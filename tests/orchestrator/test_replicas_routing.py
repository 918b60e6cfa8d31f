"""Claims about requests on their way through replicas: where they go, and where when one is lost."""

from orchestrator.actions import Action, Cancel, Deliver, FailRequest, Send
from orchestrator.replicas_routing import Crew, Replicas, Routes, node_on
from orchestrator.routing import Routing

FAST, SLOW, SPARE = "fast", "slow", "spare"
TWO = Routes(
    epoch=1,
    nodes=("camera", FAST, SLOW),
    outputs=("y",),
    crews=(Crew(stage="s1", nodes=("camera",), seconds=0.001), Crew(stage="s2", nodes=(FAST, SLOW), seconds=0.01)),
)
PLAIN = Routes(epoch=2, nodes=("camera", SPARE), outputs=("y",))


def routed(*requests: str) -> Routing:
    routing = Routing()
    routing.switch(TWO, 0.0)
    for request in requests:
        routing.submit(request, 0.0, 10.0)
    return routing


def ways(actions: tuple[Action, ...]) -> list[tuple[str, str]]:
    """Which requests are sent, and to which replica of s2."""
    return [(action.request, action.way[1]) for action in actions if isinstance(action, Send)]


def test_requests_at_once_are_spread_over_the_replicas() -> None:
    routing = routed()
    sent = [ways(routing.submit(name, 0.0, 10.0))[0][1] for name in "abcd"]
    assert sent == [FAST, SLOW, FAST, SLOW]


def test_without_replicas_a_request_has_no_way_of_its_own() -> None:
    routing = Routing()
    routing.switch(PLAIN, 0.0)
    assert routing.submit("a", 0.0, 10.0) == (Send(request="a", attempt=1, epoch=2, budget_s=10.0),)


def test_a_replica_that_takes_longer_gets_fewer_requests() -> None:
    replicas, sent = Replicas(), {FAST: 0, SLOW: 0}
    takes_s, free_s, now_s = {FAST: 0.01, SLOW: 0.04}, dict.fromkeys(sent, 0.0), 0.0
    under_way: list[tuple[float, float, tuple[str, ...]]] = []
    for _ in range(600):
        now_s += 0.0085
        for done in sorted(one for one in under_way if one[0] <= now_s):
            under_way.remove(done)
            replicas.left(1, done[2], done[1], done[0], answered=True)
        way = replicas.way(TWO, (), now_s)
        replicas.sent(1, way, now_s)
        sent[way[1]] += 1
        free_s[way[1]] = max(free_s[way[1]], now_s) + takes_s[way[1]]
        under_way.append((free_s[way[1]], now_s, way))
    assert 3 < sent[FAST] / sent[SLOW] < 20
    assert max(free_s.values()) - now_s < 0.2  # none has more before it than it can serve


def test_a_replica_that_was_slow_once_is_tried_again() -> None:
    replicas = Replicas()
    for at_s, node, took_s in ((0.0, SLOW, 2.0), (2.0, FAST, 0.02)):
        way = ("camera", node)
        replicas.sent(1, way, at_s)
        replicas.left(1, way, at_s, at_s + took_s, answered=True)
    assert replicas.way(TWO, (), 2.1)[1] == FAST
    replicas.sent(1, ("camera", FAST), 30.0)
    assert replicas.way(TWO, (), 30.0)[1] == SLOW


def test_when_a_replica_is_lost_its_requests_go_to_another_at_once_and_no_others_move() -> None:
    routing = routed("a", "b")
    assert routing.worker_lost(FAST, 0.5) == (
        Cancel(request="a", attempt=1, epoch=1, way=("camera", FAST)),
        Send(request="a", attempt=2, epoch=1, budget_s=9.5, way=("camera", SLOW)),
    )
    assert isinstance(routing.answer("b", 1, ["y"], 0.6)[0], Deliver)


def test_outputs_of_the_lost_replica_are_not_mixed_with_those_of_the_other() -> None:
    routing = routed("a")
    routing.worker_lost(FAST, 0.5)
    assert routing.answer("a", 1, ["y"], 0.6) == ()
    assert routing.answer("a", 2, ["y"], 0.7)[0] == Deliver(request="a", attempt=2, epoch=1)


def test_requests_wait_only_when_no_replica_is_left() -> None:
    routing = routed("a")
    routing.worker_lost(SLOW, 0.5)
    assert ways(routing.worker_lost(FAST, 0.6)) == []
    assert ways(routing.worker_found(SLOW, 0.7)) == [("a", SLOW)]


def test_the_one_worker_of_a_stage_without_replicas_is_missed_by_all() -> None:
    routing = routed("a", "b")
    assert ways(routing.worker_lost("camera", 0.5)) == []
    assert ways(routing.submit("c", 0.6, 10.0)) == []


def test_a_broken_stream_to_a_replica_sends_its_request_to_another_without_a_pause() -> None:
    routing = routed("a")
    sent = routing.error("a", 1, "stream closed", 0.5, kind="StreamClosed", stage="s2")
    assert ways(sent) == [("a", SLOW)]
    assert ways(routing.submit("b", 0.6, 10.0)) == [("b", SLOW)]  # not to the one that has just failed
    assert ways(routing.submit("c", 2.6, 10.0)) == [("c", FAST)]


def test_with_nowhere_else_to_go_a_broken_stream_is_paused_after() -> None:
    routing = routed("a")
    routing.worker_lost(SLOW, 0.0)
    assert ways(routing.error("a", 1, "stream closed", 0.5, kind="StreamClosed", stage="s2")) == []
    assert ways(routing.tick(0.6)) == [("a", FAST)]


def test_a_worker_that_does_not_hold_the_epoch_is_left_out_of_it_even_when_it_is_found() -> None:
    routing = routed("a")
    told = routing.epoch_lost(1, "no such epoch", 0.5, node=routing.where("a", 1, "s2"))
    assert ways(told) == [("a", SLOW)]
    routing.worker_found(FAST, 0.6)
    assert {ways(routing.submit(name, 5.0, 10.0))[0][1] for name in "bcd"} == {SLOW}
    assert routing.epoch_lost(1, "late news of somebody", 0.7) == ()


def test_a_hung_replica_takes_only_its_own_requests_along() -> None:
    routing = routed("a", "b")
    assert ways(routing.stage_hung(1, FAST, "it hangs", 0.5)) == [("a", SLOW)]
    assert ways(routing.submit("c", 0.6, 10.0)) == [("c", SLOW)]


def test_an_epoch_that_stands_by_takes_over_only_when_no_replica_is_left() -> None:
    routing = routed("a", "b")
    routing.offer(PLAIN, 0.0)
    assert [s.epoch for s in routing.worker_lost(FAST, 0.5) if isinstance(s, Send)] == [1]
    assert [s.epoch for s in routing.worker_lost(SLOW, 0.7) if isinstance(s, Send)] == [2]  # suspects go one by one
    assert [s.epoch for s in routing.answer("a", 3, ["y"], 0.8) if isinstance(s, Send)] == [2]


def test_a_request_that_kills_replica_after_replica_is_quarantined_though_its_stream_broke_first() -> None:
    crew = Crew(stage="s2", nodes=(FAST, SLOW, SPARE), seconds=0.01)
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=("camera", *crew.nodes), outputs=("y",), crews=(TWO.crews[0], crew)), 0.0)
    routing.submit("poison", 0.0, 10.0)
    killed = []
    for attempt in (1, 2):
        node = routing.where("poison", attempt, "s2")
        routing.error("poison", attempt, "stream closed", 0.1 * attempt, kind="StreamClosed", stage="s2")
        given = routing.worker_lost(node, 0.1 * attempt + 0.05)
        killed.append(node)
    assert len(set(killed)) == 2
    failed = [action for action in (*given, *routing.error("poison", 3, "x", 0.4)) if isinstance(action, FailRequest)]
    assert [one.kind for one in failed] == ["quarantined"]


def test_a_bad_output_that_the_other_replica_does_not_make_names_the_replica() -> None:
    routing = routed("a")
    sent = routing.error("a", 1, "y is NaN", 0.1, kind="BadOutput", stage="s2")
    assert ways(sent) == [("a", SLOW)]
    (suspect,) = [action for action in routing.answer("a", 2, ["y"], 0.2) if type(action).__name__ == "Suspect"]
    assert (suspect.stage, suspect.node) == ("s2", FAST)  # type: ignore[union-attr]


def test_a_slow_replica_is_not_taken_for_lost_because_the_fast_one_overtakes_it() -> None:
    routing = routed("a", "b")  # b is with the slow one
    routing.answer("a", 1, ["y"], 0.01)
    for number in range(40):
        at_s = 0.02 + number * 0.01
        routing.submit(f"c{number}", at_s, 10.0)
        if routing.where(f"c{number}", 1, "s2") == FAST:
            routing.answer(f"c{number}", 1, ["y"], at_s + 0.005)
    assert [name for name, _ in ways(routing.tick(3.0)) if name == "b"] == []


def test_the_node_of_a_stage_on_a_way_is_known_by_its_name() -> None:
    assert node_on(("camera", SLOW), TWO, "s2") == SLOW
    assert node_on((), TWO, "s2") == "" and node_on(("camera", SLOW), TWO, "s9") == ""
