"""Claims about the control core: deploy, re-split, delete, and what may not happen in between."""

import pytest

from orchestrator.errors import IllegalTransition, UnknownDeployment
from orchestrator.events import (
    DeleteRequested,
    EpochDrained,
    PlanFound,
    PlanNotFound,
    RouterJoined,
    RouterLeft,
    RouterSwitched,
    StageFailed,
    StageReady,
    Tick,
)
from orchestrator.instructions import DrainEpoch, DropStage, Fail, FindPlan, KeepEpoch, OpenEpoch, SwitchRouters
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running

SPLIT, DEVICE = plan_on("camera", "cloud", latency_s=0.05), plan_on("camera", latency_s=0.1)


def failed(cluster: Cluster, *, epoch: int, stage: str = "s0", node: str = "camera") -> None:
    cluster.answers.clear()
    cluster.tell(StageFailed(deployment="classify", epoch=epoch, stage=stage, node=node, error="out of memory"))


def test_a_deployment_is_planned_loaded_and_switched_to() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.settle()
    assert cluster.kinds() == ["FindPlan", "OpenEpoch", "LoadStage", "LoadStage", "SwitchRouters"]
    assert (cluster.status()["state"], cluster.status()["epoch"]) == ("running", 1)


def test_no_router_is_switched_before_every_stage_is_ready() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    cluster.tell(cluster.answers.popleft())
    assert "SwitchRouters" not in cluster.kinds()


def test_a_deployment_still_coming_up_refuses_to_be_changed() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    (refusal,) = cluster.tell(deploy_requested())
    assert "wait for that to end" in refusal.error  # type: ignore[union-attr]


def test_deploying_a_running_name_again_opens_a_new_epoch_whatever_the_gain() -> None:
    cluster = running(SPLIT)
    cluster.current = 0.001
    cluster.tell(deploy_requested())
    cluster.settle()
    assert (cluster.status()["state"], cluster.status()["epoch"], cluster.status()["renewal"]) == ("running", 2, "")


def test_a_changed_spec_that_finds_no_plan_leaves_the_old_epoch_and_says_so() -> None:
    cluster = running(SPLIT)
    (asked,) = cluster.tell(deploy_requested())
    told = cluster.tell(PlanNotFound(deployment="classify", ticket=asked.ticket, reason="no memory"))  # type: ignore[union-attr]
    assert [type(one).__name__ for one in told] == ["Refuse", "KeepEpoch"]
    assert (cluster.status()["epoch"], cluster.status()["renewal"]) == (1, "")


def test_the_old_epoch_is_drained_only_when_all_routers_have_switched_and_dropped_only_when_all_have_drained() -> None:
    cluster = running(DEVICE, routers=("r1", "r2"))
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    cluster.settle()
    assert cluster.kinds() == [
        "FindPlan", "OpenEpoch", "LoadStage", "LoadStage", "SwitchRouters", "DrainEpoch", "DropStage",
    ]  # fmt: skip
    assert [epoch["epoch"] for epoch in cluster.status()["epochs"]] == [2]  # type: ignore[attr-defined]


def test_one_router_that_has_not_switched_keeps_the_old_epoch_up() -> None:
    cluster = running(DEVICE, routers=("r1", "r2"))
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    while not any(isinstance(given, SwitchRouters) for given in cluster.given):
        cluster.tell(cluster.answers.popleft())
    assert cluster.tell(RouterSwitched(deployment="classify", router="r1", epoch=2)) == ()
    assert cluster.status()["epoch"] == 1


def test_a_router_that_leaves_is_not_waited_for() -> None:
    cluster = running(DEVICE, routers=("r1", "r2"))
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    while cluster.status()["epoch"] == 1:
        cluster.tell(cluster.answers.popleft())
    cluster.tell(EpochDrained(deployment="classify", router="r1", epoch=1))
    given = cluster.tell(RouterLeft(deployment="classify", router="r2"))
    assert [type(each) for each in given] == [DropStage]


def test_a_router_that_joins_late_is_told_the_epoch_in_use() -> None:
    cluster = running(SPLIT, routers=())
    (switch,) = cluster.tell(RouterJoined(deployment="classify", router="late"))
    assert isinstance(switch, SwitchRouters)
    assert (switch.epoch, switch.routers) == (1, ("late",))


def test_a_router_that_comes_back_is_told_again_to_drain() -> None:
    cluster = running(DEVICE)
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    while not any(isinstance(given, DrainEpoch) for given in cluster.given):
        cluster.tell(cluster.answers.popleft())
    given = cluster.tell(RouterJoined(deployment="classify", router="r1"))
    assert [(type(each), each.epoch) for each in given] == [(SwitchRouters, 2), (DrainEpoch, 1)]  # type: ignore[union-attr]


@pytest.mark.parametrize(("mbps", "asks"), [(124, False), (126, True), (81, False), (79, True)])
def test_a_plan_is_asked_for_when_a_link_drifts_by_more_than_a_quarter(mbps: float, asks: bool) -> None:
    cluster = running(SPLIT)
    given = cluster.tell(uplink(mbps))
    assert any(isinstance(each, FindPlan) for each in given) == asks


def test_slow_drift_is_measured_from_the_links_of_the_last_decision() -> None:
    cluster = running(SPLIT)
    assert [cluster.tell(uplink(mbps)) != () for mbps in (95, 90, 85, 82, 79)] == [False] * 4 + [True]


def test_a_plan_is_asked_for_when_the_round_trip_drifts_by_more_than_a_quarter() -> None:
    cluster = running(SPLIT)
    assert cluster.tell(uplink(100, rtt_s=0.0089)) == ()
    assert cluster.tell(uplink(100, rtt_s=0.012)) != ()


def test_a_fraction_of_a_millisecond_is_noise_on_a_short_link() -> None:
    cluster = running(SPLIT)
    cluster.tell(uplink(100, rtt_s=0.0002))
    cluster.settle()
    assert cluster.tell(uplink(100, rtt_s=0.0008)) == ()


def test_at_most_one_question_is_out_for_a_deployment() -> None:
    cluster = running(SPLIT)
    assert len(cluster.tell(uplink(10))) == 1
    assert cluster.tell(uplink(400)) == ()


def test_a_link_that_drifts_while_a_plan_is_searched_is_asked_about_after_the_answer() -> None:
    cluster = running(SPLIT)
    cluster.current = 0.05
    cluster.tell(uplink(10))
    cluster.tell(uplink(400))
    given = cluster.tell(cluster.answers.popleft())
    assert [type(each) for each in given] == [KeepEpoch, FindPlan]


def test_the_answer_to_an_older_question_is_ignored() -> None:
    cluster = running(SPLIT)
    cluster.tell(uplink(10))
    assert cluster.tell(PlanFound(deployment="classify", ticket=1, plan=DEVICE, current=9.0)) == ()


def test_a_plan_that_does_the_same_work_is_kept_whatever_it_promises() -> None:
    cluster = running(SPLIT)
    cluster.plan, cluster.current = plan_on("camera", "cloud", latency_s=0.001), 0.9
    cluster.tell(uplink(10))
    cluster.settle()
    assert cluster.kinds() == ["FindPlan", "KeepEpoch"]


def test_another_codec_on_the_same_cut_is_another_plan() -> None:
    cluster = running(SPLIT)
    cluster.plan, cluster.current = plan_on("camera", "cloud", latency_s=0.05, codec="int8"), 0.3
    cluster.tell(uplink(10))
    cluster.settle()
    assert cluster.status()["epoch"] == 2


def test_too_little_to_gain_keeps_what_runs_and_says_the_figures() -> None:
    cluster = running(SPLIT)
    cluster.plan, cluster.current = DEVICE, 0.105
    cluster.tell(uplink(10))
    cluster.settle()
    assert cluster.status()["epoch"] == 1
    assert cluster.status()["reason"] == "gain 5% is not above 15%: 100 ms against 105 ms under today's links"


def test_a_switch_too_soon_after_the_last_is_looked_at_again_when_its_time_has_come() -> None:
    cluster = running(SPLIT)
    cluster.plan, cluster.current = DEVICE, 0.5
    cluster.tell(uplink(10))
    cluster.settle()
    assert cluster.status()["epoch"] == 2
    cluster.now_s += 2.0
    cluster.plan = SPLIT
    cluster.tell(uplink(100))
    cluster.settle()
    assert cluster.status()["epoch"] == 2
    cluster.now_s += 8.1
    cluster.tell(Tick())
    cluster.settle()
    assert cluster.status()["epoch"] == 3


def test_a_stage_that_fails_on_first_deploy_fails_it_and_leaves_nothing_loaded() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    cluster.tell(cluster.answers.popleft())
    cluster.kinds()
    failed(cluster, epoch=1, stage="s1", node="cloud")
    drop, fail = cluster.given
    assert isinstance(drop, DropStage) and drop.node == "camera"
    assert isinstance(fail, Fail) and fail.error == "stage s1 on cloud: out of memory"


def test_a_stage_that_fails_in_a_re_split_leaves_the_old_epoch_running_and_says_why() -> None:
    cluster = running(DEVICE)
    cluster.plan, cluster.current = SPLIT, 0.5
    cluster.tell(uplink(400))
    cluster.tell(cluster.answers.popleft())
    failed(cluster, epoch=2)
    cluster.settle()
    assert [epoch["epoch"] for epoch in cluster.status()["epochs"]] == [1]  # type: ignore[attr-defined]
    assert cluster.status()["reason"] == "no new plan: stage s0 on camera: out of memory"


def test_no_plan_at_first_fails_with_the_planners_reason() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    (fail,) = cluster.tell(PlanNotFound(deployment="classify", ticket=1, reason="memory: camera has 10 bytes"))
    assert isinstance(fail, Fail) and fail.error == "memory: camera has 10 bytes"


def test_a_failed_name_can_be_deployed_again_under_a_new_epoch() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    failed(cluster, epoch=1)
    cluster.tell(deploy_requested())
    cluster.settle()
    assert (cluster.status()["state"], cluster.status()["epoch"]) == ("running", 2)


def test_what_a_failed_deploy_left_is_still_watched_after_the_name_is_used_again() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    failed(cluster, epoch=1)
    drop = cluster.answers.popleft()
    cluster.tell(deploy_requested())
    cluster.kinds()
    cluster.tell(DeleteRequested(deployment="classify"))
    assert cluster.kinds() == []
    cluster.tell(drop)
    assert cluster.kinds() == ["Deleted"]


def test_delete_drains_then_drops_then_is_gone() -> None:
    cluster = running(SPLIT)
    cluster.tell(DeleteRequested(deployment="classify"))
    cluster.settle()
    assert cluster.kinds() == ["DrainEpoch", "DropStage", "DropStage", "Deleted"]
    assert cluster.control.status()["deployments"] == {}


def test_delete_while_loading_drops_what_was_ordered() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    cluster.kinds()
    cluster.tell(DeleteRequested(deployment="classify"))
    cluster.settle()
    assert cluster.kinds() == ["DropStage", "DropStage", "Deleted"]


def test_delete_while_a_plan_is_searched_is_done_at_once_and_the_answer_ignored() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    cluster.tell(DeleteRequested(deployment="classify"))
    cluster.settle()
    assert cluster.kinds() == ["FindPlan", "Deleted"]


def test_deleting_what_is_not_there_names_what_is() -> None:
    with pytest.raises(UnknownDeployment, match="no deployment 'ocr'; there is classify"):
        running(SPLIT).tell(DeleteRequested(deployment="ocr"))


def test_news_that_no_order_explains_raises_with_the_whole_story() -> None:
    cluster = running(SPLIT)
    with pytest.raises(IllegalTransition, match=r"classify/9: 'StageReady'.*plan at 0.000 s: loading → run at 0.000 s"):
        cluster.tell(StageReady(deployment="classify", epoch=9, stage="s0", node="camera"))


def test_two_deployments_do_not_touch_each_other() -> None:
    cluster = running(SPLIT)
    cluster.tell(deploy_requested("ocr"))
    cluster.settle()
    cluster.tell(DeleteRequested(deployment="ocr"))
    cluster.settle()
    assert cluster.status()["state"] == "running"
    assert all(given.deployment == "ocr" for given in cluster.given)


def test_the_epoch_of_a_better_plan_says_by_how_much() -> None:
    cluster = running(DEVICE)
    cluster.plan, cluster.current = SPLIT, 0.1
    cluster.tell(uplink(400))
    (opened, *_) = cluster.tell(cluster.answers.popleft())
    assert isinstance(opened, OpenEpoch)
    assert opened.reason == "a better plan: 50 ms against 100 ms under today's links"
