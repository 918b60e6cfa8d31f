"""Claims about what a router counts of a version on trial, and about the copies that it sends and compares."""

import asyncio

import numpy as np
import pytest

from nodes.backend import Array
from orchestrator.actions import Action, Cancel, Deliver, Release, Send
from orchestrator.answers import Waiting
from orchestrator.splitting import Split
from orchestrator.trial_watch import COPY, MOST_COPIES, PATIENCE_S, WORST, TrialWatch, difference
from policies.rollout import quantile_s

OUTPUTS = {1: ("y",), 2: ("y",)}
SHADOW, CANARY = (Split(epoch=2, mode=mode, weight=1.0) for mode in ("shadow", "canary"))


def sent(request: str, epoch: int, attempt: int = 1) -> Send:
    return Send(request=request, attempt=attempt, epoch=epoch, budget_s=1.0)


def array(*values: float) -> dict[str, Array]:
    return {"y": np.array([values], dtype=np.float32)}


class Seen:
    """A watch with one request "a" that was sent into an epoch at 0 s."""

    def __init__(self, split: Split, epoch: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.watch = TrialWatch(split)
        self.waiting = {"a": Waiting({}, self.loop.create_future(), 0.0, False)}
        self.loop.close()
        self.note(sent("a", epoch), now_s=0.0)

    def note(self, *actions: Action, why: str = "waited", now_s: float) -> None:
        self.watch.note(actions, why, self.waiting, now_s)

    def deliver(self, answer: dict[str, Array], *, epoch: int, attempt: int = 1, now_s: float = 0.5) -> None:
        self.waiting["a"].outputs[attempt] = answer
        self.note(Deliver(request="a", attempt=attempt, epoch=epoch), Release(request="a"), now_s=now_s)


def test_an_answer_counts_for_the_version_that_gave_it_with_its_latency() -> None:
    seen = Seen(CANARY, 2)
    seen.deliver(array(1.0), epoch=2)
    old, new = seen.watch.tallies()
    assert (old.requests, new.answered) == (0, 1)
    assert quantile_s(new, 0.5) == pytest.approx(0.5, rel=0.02)


def test_what_failed_in_the_trial_and_was_answered_by_the_old_version_is_a_failure_of_the_trial_only() -> None:
    seen = Seen(CANARY, 2)
    seen.note(Cancel(request="a", attempt=1, epoch=2), sent("a", 1, 2), why="ExecutionFailed", now_s=0.1)
    seen.deliver(array(1.0), epoch=1, attempt=2)
    old, new = seen.watch.tallies()
    assert (old.requests, new.answered, new.failed) == (0, 0, (("ExecutionFailed", 1),))


@pytest.mark.parametrize("why", ["cancelled", "hurried"])
def test_a_caller_that_went_away_is_nobodys_failure(why: str) -> None:
    seen = Seen(CANARY, 2)
    seen.note(Cancel(request="a", attempt=1, epoch=2), Release(request="a"), why=why, now_s=0.1)
    assert [tally.requests for tally in seen.watch.tallies()] == [0, 0]


def test_in_shadow_mode_the_copy_goes_to_the_new_version_and_is_counted_and_compared() -> None:
    seen = Seen(SHADOW, 1)
    copy = seen.watch.copy("a", "a", 1, OUTPUTS, 0.0)
    assert copy is not None and (copy.epoch, copy.request) == (2, COPY + "a")
    seen.watch.came(copy.request, array(1.0, 3.0), 0.2)
    seen.deliver(array(1.0, 2.0), epoch=1)
    old, new = seen.watch.tallies()
    assert (old.answered, new.answered, new.compared) == (1, 1, 1)
    assert new.drift == pytest.approx(1 / 5**0.5)


def test_a_copy_that_fails_or_never_comes_back_is_a_failure_of_the_new_version_in_shadow_mode() -> None:
    seen = Seen(SHADOW, 1)
    seen.watch.copy("a", "a", 1, OUTPUTS, 0.0)
    seen.watch.failed(COPY + "a", "ExecutionFailed")
    seen.watch.copy("b", "b", 1, OUTPUTS, 0.0)
    seen.watch.expire(PATIENCE_S)
    assert seen.watch.tallies()[1].failed == (("ExecutionFailed", 1), ("RequestTimeout", 1))


def test_a_canary_answer_is_compared_with_the_old_versions_whose_copy_counts_for_nothing_else() -> None:
    seen = Seen(CANARY, 2)
    copy = seen.watch.copy("a", "a", 1, OUTPUTS, 0.0)
    assert copy is not None and copy.epoch == 1
    seen.deliver(array(2.0), epoch=2)
    seen.watch.came(copy.request, array(1.0), 0.9)
    old, new = seen.watch.tallies()
    assert (old.requests, new.answered, new.compared, new.drift) == (0, 1, 1, 1.0)


def test_requests_of_the_old_version_are_not_copied_in_canary_mode() -> None:
    assert Seen(CANARY, 1).watch.copy("a", "a", 1, OUTPUTS, 0.0) is None


def test_only_so_many_copies_are_out_at_once() -> None:
    watch = TrialWatch(SHADOW)
    copies = [watch.copy(str(number), "", 1, OUTPUTS, 0.0) for number in range(MOST_COPIES + 3)]
    assert sum(copy is not None for copy in copies) == MOST_COPIES


def test_an_answer_of_a_later_attempt_is_not_compared_and_its_copy_is_let_go() -> None:
    seen = Seen(SHADOW, 1)
    copy = seen.watch.copy("a", "a", 1, OUTPUTS, 0.0)
    assert copy is not None
    seen.deliver(array(9.0), epoch=1, attempt=2)
    seen.watch.came(copy.request, array(1.0), 0.6)
    assert (seen.watch.tallies()[1].compared, seen.watch.tallies()[1].answered) == (0, 1)


def test_differences_are_relative_and_labels_are_compared_row_by_row() -> None:
    old = {"y": np.array([[1.0, 0.0], [0.0, 1.0]])}
    new = {"y": np.array([[0.0, 1.0], [0.0, 1.0]])}
    assert difference(old, new) == (pytest.approx(1.0), 0.5)
    assert difference(old, old) == (0.0, 0.0)


@pytest.mark.parametrize("new", [{"z": np.zeros(2)}, {"y": np.zeros(3)}])
def test_answers_of_another_shape_or_name_differ_as_much_as_can_be(new: dict[str, Array]) -> None:
    assert difference({"y": np.ones(2)}, new) == (WORST, 1.0)


def test_nan_is_as_far_off_as_can_be() -> None:
    assert difference({"y": np.ones(2)}, {"y": np.array([np.nan, 1.0])})[0] == WORST
