"""Claims about what a restarted shell does again: every order without an answer, and none that has one."""

import pytest

from orchestrator.events import DeleteRequested
from orchestrator.instructions import Instruction
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running

SPLIT, DEVICE = plan_on("camera", "cloud", latency_s=0.05), plan_on("camera", latency_s=0.1)


def kinds(given: tuple[Instruction, ...]) -> list[str]:
    return [type(each).__name__ for each in given]


def test_nothing_is_outstanding_where_all_is_answered() -> None:
    assert running(SPLIT).control.outstanding() == ()


def test_a_question_without_answer_is_asked_again_with_its_ticket() -> None:
    cluster = Cluster(SPLIT)
    assert cluster.control.outstanding() == ()
    given = cluster.tell(deploy_requested())
    assert cluster.control.outstanding() == given


@pytest.mark.parametrize(
    ("answered", "left"),
    [
        (1, ["LoadStage", "LoadStage"]),
        (2, ["LoadStage"]),
        (3, ["SwitchRouters"]),
        (4, ["DrainEpoch"]),
        (5, ["DropStage"]),
        (6, []),
    ],
)
def test_every_step_of_a_re_split_is_taken_up_where_it_was(answered: int, left: list[str]) -> None:
    cluster = running(DEVICE)
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    for _ in range(answered):
        cluster.tell(cluster.answers.popleft())
    assert kinds(cluster.control.outstanding()) == left


def test_a_delete_is_taken_up_where_it_was() -> None:
    cluster = running(SPLIT)
    cluster.tell(DeleteRequested(deployment="classify"))
    assert kinds(cluster.control.outstanding()) == ["DrainEpoch"]
