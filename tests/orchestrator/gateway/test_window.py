"""How many runs are let into a pipeline, held against a queue that serves one at a time."""

from collections import deque

from orchestrator.gateway.window import MOST_WAITING, Window


def settled(stages: int, run_s: float, link_s: float, answers: int = 400) -> tuple[Window, float]:
    """A window after so many answers of a chain of equal stages behind a link, always asked for more; answers a second.

    Each stage serves one at a time; a run is on the link for `link_s`.
    """
    window, now_s = Window(least=2), 0.0
    free_s = [0.0] * stages
    under_way: deque[tuple[float, float]] = deque()
    ends: list[float] = []
    for _ in range(answers):
        while window.has_room:
            at_s = now_s + link_s
            for stage in range(stages):
                at_s = free_s[stage] = max(at_s, free_s[stage]) + run_s
            under_way.append((now_s, at_s))
            window.inside += 1
        began_s, now_s = under_way.popleft()
        window.answered(now_s - began_s, 1, 1)
        window.inside -= 1
        ends.append(now_s)
    half = answers // 2
    return window, half / (ends[-1] - ends[-1 - half])


def test_a_stage_is_kept_busy_and_few_wait_before_it() -> None:
    window, rate = settled(stages=1, run_s=0.02, link_s=0.0)
    assert rate > 0.99 / 0.02
    assert window.limit <= 1 + MOST_WAITING + 1


def test_a_long_link_is_filled() -> None:
    window, rate = settled(stages=2, run_s=0.02, link_s=0.2)
    assert rate > 0.99 / 0.02
    assert window.limit > 12


def test_never_fewer_than_the_least_however_slow_it_becomes() -> None:
    window = Window(least=2)
    for took_s in (0.01, *[10.0] * 100):
        window.answered(took_s, 1, 1)
    assert window.has_room
    window.inside = 2
    assert not window.has_room


def test_where_requests_could_share_a_run_no_more_runs_are_let_in_beside_it() -> None:
    window = Window(least=2)
    for is_full, limit in ((False, 2), (True, 3)):
        window.inside = 2
        window.answered(0.01, 1, 1, is_full=is_full)
        assert window.limit == limit


def test_another_epoch_is_learned_anew() -> None:
    window = Window()
    window.answered(0.01, 1, 1)
    window.answered(0.5, 1, 2)
    assert window.alone_s() == 0.5


def test_a_pipeline_that_became_slower_is_believed_after_a_while() -> None:
    window = Window()
    for took_s in (0.01, *[0.5] * 1100):
        window.answered(took_s, 1, 1)
    assert window.alone_s() == 0.5


def test_two_epochs_that_answer_in_turn_are_not_taken_for_an_idle_pipeline() -> None:
    window = Window(least=2)
    for answer in range(400):
        window.inside = window.least if window.limit < 1 else int(window.limit)
        window.answered(0.02 * window.inside, 1, answer % 2)  # one at a time, whichever it is
    assert window.limit <= 12


def test_a_run_that_is_longer_as_its_input_is_does_not_count_as_one_that_waited() -> None:
    window = Window(inside=8, limit=8.0)
    for _ in range(4):
        window.answered(0.01, 1, 1, is_full=False, place=0)
        window.answered(0.10, 1, 1, is_full=False, place=3)
    assert (window.limit, window.alone_s()) == (8.0, 0.01)
