"""Who runs together, who waits and who is refused, by the clock that the test holds."""

import pytest

from nodes.batching import Batcher, BatchRules, Refuse, Run, Wait


def batcher(waiting: int = 0, **rules: object) -> Batcher:
    made = Batcher(BatchRules(**rules))  # type: ignore[arg-type]
    for ticket in range(waiting):
        made.add(ticket, now_s=0.0)
    return made


def test_without_batching_each_runs_alone_at_once() -> None:
    queue = batcher(2)
    assert queue.decide(0.0) == Run((0,))
    assert queue.decide(0.0) == Run((1,))
    assert queue.decide(0.0) == Wait(None)


def test_a_full_batch_runs_at_once() -> None:
    assert batcher(5, max_batch=4, max_delay_s=1.0).decide(0.0) == Run((0, 1, 2, 3))


def test_a_part_batch_waits_for_its_oldest_then_runs() -> None:
    queue = batcher(3, max_batch=4, max_delay_s=0.5)
    assert queue.decide(0.1) == Wait(0.5)
    assert queue.decide(0.5) == Run((0, 1, 2))


def test_the_largest_preferred_size_that_can_be_formed_runs_at_once() -> None:
    queue = batcher(7, max_batch=8, preferred=(2, 4), max_delay_s=1.0)
    assert queue.decide(0.0) == Run((0, 1, 2, 3))
    assert queue.decide(0.0) == Run((4, 5))
    assert queue.decide(0.0) == Wait(1.0)


def grouped(letters: str, **rules: object) -> Batcher:
    queue = batcher(max_batch=4, **rules)
    for ticket, group in enumerate(letters):
        queue.add(ticket, 0.0, group=group)
    return queue


def test_groups_never_share_a_batch_and_each_waits_for_its_own() -> None:
    queue = grouped("aab", max_delay_s=1.0)
    assert queue.decide(0.0) == Wait(1.0)
    assert queue.decide(1.0) == Run((0, 1))
    assert queue.decide(1.0) == Run((2,))


def test_those_of_a_group_find_each_other_wherever_they_wait() -> None:
    queue = grouped("abababaab", max_delay_s=1.0)
    assert queue.decide(0.0) == Run((0, 2, 4, 6))
    assert queue.decide(0.0) == Run((1, 3, 5, 8))
    assert (queue.decide(0.0), queue.decide(1.0), queue.rows) == (Wait(1.0), Run((7,)), 0)


def test_the_deadline_of_one_group_neither_ends_the_waiting_of_another_nor_comes_after_it() -> None:
    queue = grouped("aa", max_delay_s=1.0)
    queue.run_s = queue.own_s = 0.1
    queue.add(2, 0.1, deadline_s=0.5, group="b")
    assert queue.decide(0.25) == Wait(0.3)
    assert queue.decide(0.3) == Run((2,))
    assert queue.decide(0.3) == Wait(1.0)


def test_of_groups_that_are_due_the_next_deadline_goes_first() -> None:
    queue = grouped("aa", max_delay_s=0.3)
    queue.run_s = queue.own_s = 0.1
    queue.add(2, 0.1, deadline_s=0.5, group="b")
    assert queue.decide(0.3) == Run((2,))
    assert queue.decide(0.3) == Run((0, 1))


def test_of_a_group_a_preferred_size_runs_at_once_while_another_waits() -> None:
    queue = grouped("abb", max_delay_s=1.0, preferred=(2,))
    assert (queue.decide(0.0), queue.decide(0.5)) == (Run((1, 2)), Wait(1.0))


def test_a_lower_priority_of_the_same_group_does_not_overtake_another_group() -> None:
    queue = batcher(max_batch=4)
    for ticket, (group, priority) in enumerate((("a", 1), ("b", 1), ("a", 5))):
        queue.add(ticket, 0.0, group=group, priority=priority)
    assert [queue.decide(0.0) for _ in range(3)] == [Run((0,)), Run((1,)), Run((2,))]


def test_a_request_of_more_rows_than_a_batch_runs_alone_among_groups() -> None:
    queue = batcher(max_batch=4, max_delay_s=1.0)
    for ticket, (group, rows) in enumerate((("a", 9), ("b", 1), ("a", 1))):
        queue.add(ticket, 0.0, group=group, rows=rows)
    assert (queue.decide(0.0), queue.decide(0.0), queue.rows) == (Run((0,)), Wait(1.0), 2)


def test_the_least_priority_goes_first_and_within_it_who_came_first() -> None:
    queue = batcher()
    for ticket, priority in enumerate((5, 5, 0, 5, 0, 2)):
        queue.add(ticket, float(ticket), priority=priority)
    assert [queue.decide(9.0) for _ in range(6)] == [Run((ticket,)) for ticket in (2, 4, 5, 0, 1, 3)]


def test_a_batch_waits_for_its_oldest_even_if_that_is_not_its_first() -> None:
    queue = batcher(max_batch=4, max_delay_s=1.0)
    queue.add(0, 0.0, priority=1)
    queue.add(1, 0.4, priority=0)
    assert queue.decide(0.5) == Wait(1.0)
    assert queue.decide(1.0) == Run((1, 0))


def test_a_full_queue_refuses_the_newcomer_only() -> None:
    queue = batcher(2, queue_limit=2)
    assert queue.add(9, 0.0) == Refuse(9, "queue full")
    assert queue.decide(0.0) == Run((0,))


def test_a_request_past_its_deadline_is_refused_wherever_it_waits() -> None:
    queue = batcher(1, max_batch=4, max_delay_s=9.0)
    queue.add(7, 0.0, deadline_s=1.0)
    assert queue.decide(0.9) == Wait(9.0)
    assert queue.decide(1.0) == Refuse(7, "deadline")
    assert queue.decide(1.0) == Wait(9.0)


def test_each_deadline_is_kept_whatever_the_order_in_which_they_come() -> None:
    queue = batcher(max_batch=9, max_delay_s=9.0)
    for ticket, deadline_s in enumerate((5.0, 3.0, None, 4.0, 5.0)):
        queue.add(ticket, 0.0, deadline_s=deadline_s)
    told = [(now_s, queue.decide(now_s)) for now_s in (2.0, 3.0, 3.5, 4.0, 5.0, 5.0)]
    refused = [(now_s, found.ticket) for now_s, found in told if isinstance(found, Refuse)]
    assert refused == [(3.0, 1), (4.0, 3), (5.0, 0), (5.0, 4)]


def test_sizes_count_rows_and_a_request_that_does_not_fit_goes_with_the_next() -> None:
    queue = batcher(max_batch=4, max_delay_s=1.0)
    for ticket, rows in enumerate((1, 2, 2, 2, 9)):
        queue.add(ticket, 0.0, rows=rows)
    assert [queue.decide(0.0) for _ in range(3)] == [Run((0, 1)), Run((2, 3)), Run((4,))]
    assert queue.rows == 0


def test_a_preferred_size_is_one_that_whole_requests_make() -> None:
    queue = batcher(max_batch=8, preferred=(4, 6), max_delay_s=1.0)
    for ticket in range(3):
        queue.add(ticket, 0.0, rows=3)
    assert queue.decide(0.0) == Run((0, 1))
    assert queue.decide(0.0) == Wait(1.0)


def test_who_cannot_be_done_in_time_is_refused_as_it_comes() -> None:
    queue = batcher(4, max_batch=2)
    queue.run_s = queue.own_s = 1.0
    assert queue.add(8, 0.0, deadline_s=2.9) == Refuse(8, "late")
    assert queue.add(9, 0.0, deadline_s=3.0) is None
    assert queue.add(7, 0.0, deadline_s=1.0, priority=-1) is None  # before the others


def test_who_has_become_too_late_in_the_queue_is_not_run_any_more() -> None:
    queue = batcher()
    queue.run_s = queue.own_s = 1.0
    queue.add(0, 0.0, deadline_s=2.0)
    assert queue.decide(1.0) == Refuse(0, "late")


def test_others_are_waited_for_no_longer_than_a_deadline_allows() -> None:
    queue = batcher(max_batch=4, max_delay_s=9.0)
    queue.run_s = queue.own_s = 0.5
    queue.add(0, 0.0, deadline_s=4.0)
    assert queue.decide(0.0) == Wait(3.0)
    assert queue.decide(3.0) == Run((0,))


def test_a_removed_request_never_runs() -> None:
    queue = batcher(2)
    assert queue.remove(0)
    assert not queue.remove(0)
    assert queue.decide(0.0) == Run((1,))


@pytest.mark.parametrize("rules", [{"max_batch": 0}, {"max_delay_s": -1}, {"preferred": (9,)}, {"queue_limit": 0}])
def test_rules_that_make_no_sense_are_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        BatchRules(**rules)  # type: ignore[arg-type]
