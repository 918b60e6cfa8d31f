"""Claims about the control core when nodes and stages are lost and come back."""

from orchestrator.events import NodeJoined, NodeLost, PlanNotFound, RouterJoined, StageFailed, StageReady, Tick
from orchestrator.instructions import FindPlan, KeepEpoch
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running

SPLIT, DEVICE = plan_on("camera", "cloud", latency_s=0.05), plan_on("camera", latency_s=0.1)


def test_a_lost_node_is_planned_around() -> None:
    cluster = running(SPLIT)
    cluster.plan = DEVICE
    (asked,) = cluster.tell(NodeLost(node="cloud"))
    assert isinstance(asked, FindPlan) and asked.excluded == ("cloud",)
    cluster.settle()
    assert cluster.status()["epoch"] == 2
    assert cluster.status()["lost_stage"] is None


def test_nothing_is_ordered_from_a_lost_node() -> None:
    cluster = running(SPLIT)
    cluster.plan = DEVICE
    cluster.tell(NodeLost(node="cloud"))
    cluster.settle()
    assert [given.node for given in cluster.given if type(given).__name__ == "DropStage"] == ["camera"]  # type: ignore[union-attr]


def test_a_lost_node_that_runs_nothing_changes_nothing() -> None:
    cluster = running(DEVICE)
    assert cluster.tell(NodeLost(node="cloud")) == ()


def test_a_plan_that_gains_nothing_is_taken_all_the_same_when_a_stage_is_gone() -> None:
    cluster = running(SPLIT)
    cluster.plan, cluster.current = plan_on("camera", latency_s=9.0), 0.05
    cluster.tell(NodeLost(node="cloud"))
    cluster.settle()
    assert cluster.status()["latency_s"] == 9.0


def test_a_node_lost_while_a_plan_is_searched_makes_the_question_stale() -> None:
    cluster = Cluster(SPLIT)
    (first,) = cluster.tell(deploy_requested())
    (second,) = cluster.tell(NodeLost(node="cloud"))
    assert isinstance(first, FindPlan) and isinstance(second, FindPlan)
    assert (second.ticket, second.excluded) == (first.ticket + 1, ("cloud",))
    assert cluster.tell(cluster.answers.popleft()) == ()


def test_a_node_lost_while_the_first_plan_loads_is_planned_around() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    cluster.plan = DEVICE
    cluster.answers.clear()
    cluster.tell(NodeLost(node="cloud"))
    cluster.settle()
    assert (cluster.status()["state"], cluster.status()["epoch"]) == ("running", 2)


def test_a_node_lost_while_a_re_split_loads_leaves_the_old_epoch_and_asks_again() -> None:
    cluster = running(DEVICE)
    cluster.plan, cluster.current = SPLIT, 0.5
    cluster.tell(uplink(400))
    cluster.tell(cluster.answers.popleft())
    given = cluster.tell(NodeLost(node="cloud"))
    assert [type(each).__name__ for each in given] == ["DropStage", "FindPlan"]
    assert cluster.status()["epoch"] == 1


def test_a_node_that_is_back_is_planned_with_again() -> None:
    cluster = running(SPLIT)
    cluster.plan = DEVICE
    cluster.tell(NodeLost(node="cloud"))
    cluster.settle()
    cluster.now_s += 60.0
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(NodeJoined(node="cloud"))
    cluster.settle()
    assert (cluster.status()["epoch"], cluster.status()["latency_s"]) == (3, 0.05)


def test_a_lost_stage_without_another_plan_is_tried_again_every_two_seconds() -> None:
    cluster = running(SPLIT)
    (asked,) = cluster.tell(NodeLost(node="cloud"))
    assert isinstance(asked, FindPlan)
    no = PlanNotFound(deployment="classify", ticket=asked.ticket, reason="operators: none left that can run Conv")
    (kept,) = cluster.tell(no)
    assert isinstance(kept, KeepEpoch) and kept.look_again_s == cluster.now_s + 2.0
    assert cluster.tell(Tick()) == ()
    cluster.now_s += 2.0
    assert [type(each) for each in cluster.tell(Tick())] == [FindPlan]


def test_a_stage_lost_on_a_living_node_is_loaded_anew_even_by_the_same_plan() -> None:
    cluster = running(SPLIT)
    cluster.tell(StageFailed(deployment="classify", epoch=1, stage="s1", node="cloud", error="engine crashed"))
    cluster.settle()
    assert cluster.status()["epoch"] == 2
    assert cluster.status()["reason"] == "stage s1 on cloud is gone: engine crashed"


def test_news_from_a_node_already_given_up_is_ignored() -> None:
    cluster = running(SPLIT)
    cluster.plan = DEVICE
    cluster.tell(NodeLost(node="cloud"))
    cluster.settle()
    assert cluster.tell(StageReady(deployment="classify", epoch=1, stage="s1", node="cloud")) == ()


def test_a_router_that_joins_is_not_sent_to_an_epoch_that_has_lost_a_stage() -> None:
    cluster = running(SPLIT)
    cluster.tell(NodeLost(node="cloud"))
    assert cluster.tell(RouterJoined(deployment="classify", router="late")) == ()


def test_status_names_the_stage_that_is_gone() -> None:
    cluster = running(SPLIT)
    cluster.tell(NodeLost(node="cloud"))
    assert cluster.status()["lost_stage"] == "s1 on cloud: node lost"
    assert cluster.control.status()["lost_nodes"] == ["cloud"]
