"""Claims about requests while a version is on trial: each lives in one version, and a bad version fails nobody."""

from orchestrator.actions import Cancel, Drained, FailRequest, Send
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing
from orchestrator.splitting import Split

OLD = Routes(epoch=1, nodes=("camera", "cloud"), outputs=("y",))
NEW = Routes(epoch=2, nodes=("camera", "mec"), outputs=("y",))
ALL = Split(epoch=2, mode="canary", weight=1.0)


def trying(split: Split = ALL) -> Routing:
    routing = Routing()
    routing.switch(OLD, 0.0)
    routing.try_out(NEW, split)
    return routing


def epoch_of(actions: tuple[object, ...]) -> list[int]:
    return [action.epoch for action in actions if isinstance(action, Send)]


def test_a_request_that_is_the_trials_goes_there_and_others_do_not() -> None:
    half = trying(Split(epoch=2, mode="ab", weight=0.5))
    epochs = [epoch_of(half.submit(f"r{n}", 0.0, 1.0, key=f"user-{n % 10}"))[0] for n in range(40)]
    assert set(epochs) == {1, 2}
    assert epochs[:10] == epochs[10:20] == epochs[20:30] == epochs[30:]


def test_in_shadow_mode_no_caller_is_answered_by_the_trial() -> None:
    routing = trying(Split(epoch=2, mode="shadow", weight=1.0))
    assert epoch_of(routing.submit("a", 0.0, 1.0)) == [1]


def test_what_fails_in_the_trial_is_answered_by_the_old_version_even_if_the_caller_is_said_to_be_at_fault() -> None:
    for fault in (False, True):
        routing = trying()
        routing.submit("a", 0.0, 1.0)
        actions = routing.error("a", 1, "no such shape", 0.1, caller_fault=fault)
        assert [type(action) for action in actions] == [Cancel, Send]
        assert epoch_of(actions) == [1]


def test_a_caller_at_fault_hears_it_from_the_old_version() -> None:
    routing = trying()
    routing.submit("a", 0.0, 1.0)
    routing.error("a", 1, "bad", 0.1, caller_fault=True)
    told = routing.error("a", 2, "bad", 0.2, caller_fault=True)
    assert [action.kind for action in told if isinstance(action, FailRequest)] == ["caller"]


def test_a_trial_whose_worker_is_lost_gets_no_more_requests() -> None:
    routing = trying()
    routing.submit("a", 0.0, 1.0)
    assert epoch_of(routing.worker_lost("mec", 0.1)) == [1]
    routing.answer("a", 2, ("y",), 0.15)
    assert epoch_of(routing.submit("b", 0.2, 1.0)) == [1]


def test_a_trial_that_is_drained_finishes_what_it_has_and_gets_nothing_more() -> None:
    routing = trying()
    routing.submit("a", 0.0, 1.0)
    assert routing.drain(2, 0.1) == ()
    assert epoch_of(routing.submit("b", 0.2, 1.0)) == [1]
    assert Drained(epoch=2) in routing.answer("a", 1, ("y",), 0.3)


def test_a_promoted_trial_keeps_its_requests_and_gets_all_that_follow() -> None:
    routing = trying(Split(epoch=2, mode="canary", weight=0.0001))
    routing.submit("a", 0.0, 1.0)
    assert routing.switch(NEW, 0.1) == ()
    assert epoch_of(routing.submit("b", 0.2, 1.0)) == [2]
    told = routing.error("b", 1, "bad", 0.3, caller_fault=True)
    assert [action.kind for action in told if isinstance(action, FailRequest)] == ["caller"]
