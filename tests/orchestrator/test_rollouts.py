"""Claims about rollouts in the control core: a version is tried beside the one that runs, then promoted or not."""

import pytest

from orchestrator.errors import UnknownDeployment
from orchestrator.events import (
    DeleteRequested,
    EpochDrained,
    NodeLost,
    NodeRoom,
    PlanNotFound,
    PromoteRequested,
    RollbackRequested,
    RouterJoined,
    StageFailed,
    Tick,
)
from orchestrator.instructions import EndTrial, FindPlan, Refuse, SplitTraffic, StandBy, SwitchRouters, TakeVersion
from orchestrator.rollout_terms import SHADOW, RolloutTerms
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running
from tests.orchestrator.trials import TERMS, counted, observed, promoted, rollout_requested, trying

SPLIT, DEVICE = plan_on("camera", "cloud", latency_s=0.05), plan_on("camera", latency_s=0.1)
ROOM = tuple(NodeRoom(node=node, standby_bytes=300) for node in ("camera", "mec", "cloud"))
ASK_BACK = RollbackRequested(deployment="classify")


def states(cluster: Cluster) -> dict[int, str]:
    return {epoch["epoch"]: epoch["state"] for epoch in cluster.status()["epochs"]}  # type: ignore[attr-defined]


def versions(cluster: Cluster) -> list[str]:
    return [version["state"] for version in cluster.status()["versions"]]  # type: ignore[attr-defined]


def test_a_trial_is_loaded_beside_what_runs_and_gets_its_part_of_the_requests() -> None:
    cluster = running(SPLIT)
    cluster.tell(rollout_requested())
    cluster.settle()
    split = next(given for given in cluster.given if isinstance(given, SplitTraffic))
    assert (split.epoch, split.weight, split.routers) == (2, 0.1, ("r1",))
    assert states(cluster) == {1: "active", 2: "trial"}
    assert cluster.kinds() == ["FindPlan", "OpenEpoch", "LoadStage", "LoadStage", "SplitTraffic"]


def test_a_good_trial_takes_over_and_the_old_version_is_drained_only_then() -> None:
    cluster = trying(SPLIT)
    cluster.now_s += 6.0
    cluster.tell(observed(cluster, counted(10)))
    assert cluster.kinds() == ["TakeVersion", "SwitchRouters"]
    cluster.settle()
    assert states(cluster) == {2: "active"}
    assert versions(cluster) == ["replaced", "running"]


def test_a_bad_trial_is_drained_then_dropped_and_what_runs_is_not_touched() -> None:
    cluster = trying(SPLIT)
    cluster.tell(observed(cluster, counted(5, 5)))
    assert cluster.kinds() == ["EndTrial", "DrainEpoch"]
    cluster.settle()
    assert states(cluster) == {1: "active"}
    assert versions(cluster) == ["running", "rolled back"]
    assert "5 of 10 failed" in str(cluster.status()["reason"])


def test_weights_rise_step_by_step_and_counts_begin_anew_with_each() -> None:
    terms = RolloutTerms(weights=(0.1, 0.5), min_requests=10, min_s=5.0, max_drift=None)
    cluster = trying(SPLIT, terms)
    cluster.now_s += 6.0
    late = observed(cluster, counted(5, 5))
    (split,) = cluster.tell(observed(cluster, counted(10)))
    assert isinstance(split, SplitTraffic)
    assert (split.weight, split.step) == (0.5, 2)
    assert cluster.tell(late) == ()


def test_counts_of_all_routers_are_judged_together_and_a_newer_count_replaces_an_older() -> None:
    cluster = trying(SPLIT)
    cluster.now_s += 6.0
    assert cluster.tell(observed(cluster, counted(4))) == ()
    assert cluster.tell(observed(cluster, counted(6))) == ()
    given = cluster.tell(observed(cluster, counted(4), router="r2"))
    assert isinstance(given[0], TakeVersion)


def test_a_trial_that_is_not_to_promote_itself_waits_for_the_word() -> None:
    terms = RolloutTerms(mode=SHADOW, weights=(1.0,), promotes=False, min_requests=10, min_s=5.0, max_drift=None)
    cluster = trying(SPLIT, terms)
    cluster.now_s += 60.0
    assert cluster.tell(observed(cluster, counted(1000))) == ()
    cluster.tell(PromoteRequested(deployment="classify"))
    cluster.settle()
    assert (cluster.status()["epoch"], cluster.status()["version"]) == (2, 2)


def test_when_what_runs_takes_another_split_the_trial_goes_on_and_is_counted_anew() -> None:
    cluster = trying(SPLIT)
    cluster.plan, cluster.current = DEVICE, 0.5
    cluster.tell(uplink(10))
    cluster.settle()
    splits = [given for given in cluster.given if isinstance(given, SplitTraffic)]
    assert states(cluster) == {2: "trial", 3: "active"}
    assert [(split.step, split.beside) for split in splits] == [(2, 3)]


@pytest.mark.parametrize(
    "fault", [NodeLost(node="cloud"), StageFailed(deployment="classify", epoch=2, stage="s1", node="cloud", error="x")]
)
def test_a_trial_that_loses_a_stage_is_rolled_back(fault: NodeLost | StageFailed) -> None:
    cluster = running(DEVICE)
    cluster.plan = SPLIT
    cluster.tell(rollout_requested())
    cluster.settle()
    cluster.tell(fault)
    cluster.settle()
    assert states(cluster) == {1: "active"}
    assert versions(cluster) == ["running", "rolled back"]


def test_a_version_that_cannot_be_planned_is_refused_and_never_gets_a_request() -> None:
    cluster = running(SPLIT)
    (asked,) = cluster.tell(rollout_requested())
    assert isinstance(asked, FindPlan)
    cluster.answers.clear()
    (ended,) = cluster.tell(PlanNotFound(deployment="classify", ticket=asked.ticket, reason="no memory"))
    assert ended == EndTrial(deployment="classify", version=2, reason="no memory")
    assert versions(cluster) == ["running", "refused"]


def test_nodes_that_are_lost_while_a_trial_is_planned_have_it_planned_again() -> None:
    cluster = running(DEVICE)
    cluster.tell(rollout_requested())
    cluster.answers.clear()
    (again,) = cluster.tell(NodeLost(node="cloud"))
    assert isinstance(again, FindPlan)
    assert (again.excluded, again.version) == (("cloud",), 2)


@pytest.mark.parametrize("wish", [rollout_requested(), deploy_requested()])
def test_beside_a_trial_nothing_else_is_rolled_out_or_deployed(wish: object) -> None:
    cluster = trying(SPLIT)
    (refused,) = cluster.tell(wish)  # type: ignore[arg-type]
    assert isinstance(refused, Refuse)
    assert states(cluster) == {1: "active", 2: "trial"}


def test_nothing_is_rolled_out_before_a_first_version_runs() -> None:
    cluster = Cluster(SPLIT)
    cluster.tell(deploy_requested())
    (refused,) = cluster.tell(rollout_requested())
    assert isinstance(refused, Refuse)
    with pytest.raises(UnknownDeployment):
        Cluster(SPLIT).tell(rollout_requested())


def test_a_router_that_joins_hears_of_the_trial_without_counting_anew() -> None:
    cluster = trying(SPLIT)
    cluster.tell(observed(cluster, counted(4)))
    switch, split = cluster.tell(RouterJoined(deployment="classify", router="r2"))
    assert isinstance(switch, SwitchRouters) and isinstance(split, SplitTraffic)
    assert (switch.epoch, split.epoch, split.step, split.routers) == (1, 2, 1, ("r2",))
    assert cluster.status()["rollout"]["new"]["answered"] == 4  # type: ignore[index]


def test_after_a_promotion_the_old_version_stands_by_unoffered_where_there_is_room() -> None:
    cluster = promoted(SPLIT, room=ROOM)
    stand_by = [given for given in cluster.given if isinstance(given, StandBy)]
    assert [(given.epoch, given.routers) for given in stand_by] == [(1, ())]
    cluster.tell(Tick())
    cluster.settle()
    assert states(cluster) == {1: "standby", 2: "active"}


def test_rollback_goes_back_at_once_to_a_version_that_stands_by() -> None:
    cluster = promoted(SPLIT, room=ROOM)
    cluster.kinds()
    cluster.tell(ASK_BACK)
    assert cluster.kinds() == ["TakeVersion", "SwitchRouters"]
    cluster.settle()
    assert (cluster.status()["epoch"], cluster.status()["version"]) == (1, 1)
    assert versions(cluster) == ["running", "rolled back"]


def test_rollback_right_after_a_promotion_does_not_wait_for_the_old_version_to_drain() -> None:
    cluster = trying(SPLIT, room=ROOM)
    cluster.now_s += 6.0
    cluster.tell(observed(cluster, counted(10)))
    cluster.tell(cluster.answers.popleft())  # switched; the old epoch is draining now
    assert states(cluster) == {1: "draining", 2: "active"}
    _, switch = cluster.tell(ASK_BACK)
    assert isinstance(switch, SwitchRouters) and switch.epoch == 1
    late = EpochDrained(deployment="classify", router="r1", epoch=1)
    cluster.tell(late)
    cluster.settle()
    assert cluster.status()["epoch"] == 1


def test_rollback_to_what_is_not_loaded_any_more_brings_it_up_again() -> None:
    cluster = promoted(SPLIT)
    assert states(cluster) == {2: "active"}
    cluster.kinds()
    cluster.tell(ASK_BACK)
    cluster.settle()
    assert cluster.kinds()[:3] == ["TakeVersion", "FindPlan", "OpenEpoch"]
    assert (cluster.status()["version"], states(cluster)) == (1, {3: "active"})
    assert versions(cluster) == ["running", "rolled back"]


def test_rollback_during_a_trial_ends_the_trial() -> None:
    cluster = trying(SPLIT)
    (ended, _) = cluster.tell(ASK_BACK)
    assert ended == EndTrial(deployment="classify", version=2, reason="rollback was asked")


def test_without_an_earlier_version_rollback_is_refused_but_a_named_one_is_gone_to() -> None:
    cluster = promoted(SPLIT, room=ROOM)
    cluster.tell(ASK_BACK)
    cluster.settle()
    (refused,) = cluster.tell(ASK_BACK)
    assert isinstance(refused, Refuse)
    cluster.tell(RollbackRequested(deployment="classify", version=2))
    cluster.settle()
    assert (cluster.status()["epoch"], cluster.status()["version"]) == (2, 2)


def test_a_refused_change_leaves_the_version_before_it_in_force() -> None:
    cluster = running(SPLIT)
    (asked,) = cluster.tell(deploy_requested(spec="f" * 64))
    assert isinstance(asked, FindPlan)
    cluster.tell(PlanNotFound(deployment="classify", ticket=asked.ticket, reason="no memory"))
    assert (cluster.status()["version"], versions(cluster)) == (1, ["running", "refused"])


def test_deleting_takes_the_trial_along() -> None:
    cluster = trying(SPLIT)
    cluster.tell(DeleteRequested(deployment="classify"))
    cluster.settle()
    assert cluster.control.deployments() == {}


def test_a_router_counts_nothing_for_a_trial_that_is_over() -> None:
    cluster = trying(SPLIT, TERMS)
    late = observed(cluster, counted(10))
    cluster.tell(ASK_BACK)
    cluster.settle()
    assert cluster.tell(late) == ()


def test_no_router_answers_from_the_old_version_by_itself_not_even_when_the_new_one_has_lost_a_stage() -> None:
    cluster = promoted(SPLIT, room=ROOM)
    cluster.kinds()
    cluster.tell(RouterJoined(deployment="classify", router="r2"))
    assert cluster.kinds() == ["SwitchRouters"]
    cluster.tell(Tick())
    cluster.settle()
    given = cluster.tell(StageFailed(deployment="classify", epoch=2, stage="s1", node="cloud", error="x"))
    assert [type(one).__name__ for one in given] == ["FindPlan"]


def test_an_old_version_that_loses_a_stage_while_it_stands_by_is_let_go() -> None:
    cluster = promoted(SPLIT, room=ROOM)
    cluster.tell(Tick())
    cluster.settle()
    cluster.tell(StageFailed(deployment="classify", epoch=1, stage="s1", node="cloud", error="x"))
    cluster.settle()
    assert 1 not in states(cluster)


def test_a_promoted_version_is_planned_anew_as_its_other_plans_are_not_known() -> None:
    cluster = promoted(SPLIT, room=ROOM)
    cluster.kinds()
    cluster.tell(Tick())
    assert cluster.kinds()[0] == "FindPlan"


def test_promoting_without_a_trial_or_before_it_is_loaded_is_refused() -> None:
    cluster = running(SPLIT)
    (refused,) = cluster.tell(PromoteRequested(deployment="classify"))
    cluster.tell(rollout_requested())
    (early,) = cluster.tell(PromoteRequested(deployment="classify"))
    assert isinstance(refused, Refuse) and isinstance(early, Refuse)


def test_rollback_while_a_change_is_under_way_is_refused() -> None:
    cluster = promoted(SPLIT)
    cluster.tell(deploy_requested(spec="f" * 64))
    (refused,) = cluster.tell(ASK_BACK)
    assert isinstance(refused, Refuse) and "wait for that to end" in refused.error


def test_fifty_versions_are_remembered() -> None:
    cluster = running(SPLIT)
    for number in range(60):
        cluster.tell(deploy_requested(spec=f"{number:064d}"))
        cluster.settle()
    numbers = [version["version"] for version in cluster.status()["versions"]]  # type: ignore[attr-defined]
    assert numbers == list(range(12, 62))


def test_a_trial_s_progress_is_told() -> None:
    cluster = trying(SPLIT)
    cluster.now_s += 2.0
    cluster.tell(observed(cluster, counted(20)))
    told = cluster.status()["rollout"]
    assert isinstance(told, dict)
    assert (told["version"], told["weight"], told["verdict"], told["reason"]) == (2, 0.1, "wait", "2 s of 5 s")
    assert (told["new"]["answered"], told["old"]["answered"]) == (20, 90)
