"""Claims about stages on several nodes: an epoch serves while one of each is left, and is made whole beside itself."""

import pytest

from orchestrator.control import Control
from orchestrator.events import Event, NodeJoined, NodeLost, StageFailed, Tick
from orchestrator.instructions import DropStage, FindPlan, LoadStage, OpenEpoch, SwitchRouters
from orchestrator.replicas import manned
from partitioner.plan import Plan
from tests.builders import deploy_requested, plan_on
from tests.orchestrator.cluster import Cluster, running

PLAIN = plan_on("camera", "cloud", latency_s=0.05)


def on(*clouds: str) -> Plan:
    """The second stage on these nodes."""
    return manned(PLAIN, {"s1": clouds})


TWINS = on("cloud", "twin")


def failed(cluster: Cluster, node: str, *, epoch: int = 1) -> None:
    cluster.tell(StageFailed(deployment="classify", epoch=epoch, stage="s1", node=node, error="it hangs"))


def nodes_of(cluster: Cluster, number: int) -> list[tuple[str, str]]:
    epoch = cluster.control.deployments()["classify"].epoch(number)
    assert epoch is not None
    return [(stage.name, stage.node) for stage in epoch.stages if stage.story.state == "ready"]


def test_a_stage_is_loaded_on_each_of_its_nodes_before_routers_are_switched() -> None:
    cluster = Cluster(TWINS)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    loads = [(given.stage, given.node, given.index) for given in cluster.given if isinstance(given, LoadStage)]
    assert loads == [("s0", "camera", 0), ("s1", "cloud", 1), ("s1", "twin", 1)]
    cluster.tell(cluster.answers.popleft())
    cluster.tell(cluster.answers.popleft())
    assert not any(isinstance(given, SwitchRouters) for given in cluster.given)
    cluster.settle()
    assert cluster.status()["epoch"] == 1


def test_orders_still_awaited_name_each_replica_and_its_stage() -> None:
    cluster = Cluster(TWINS)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    cluster.tell(cluster.answers.popleft())
    left = [(one.node, one.index) for one in cluster.control.outstanding() if isinstance(one, LoadStage)]
    assert left == [("cloud", 1), ("twin", 1)]


def test_an_epoch_that_loses_a_replica_goes_on_until_the_last_of_a_stage_is_gone() -> None:
    cluster = running(TWINS)
    assert cluster.tell(NodeLost(node="cloud")) == ()
    assert cluster.status()["lost_stage"] is None
    cluster.plan = plan_on("camera", latency_s=0.1)
    cluster.tell(NodeLost(node="twin"))
    assert str(cluster.status()["lost_stage"]).startswith("s1 on cloud")
    cluster.settle()
    assert cluster.status()["epoch"] == 2


def test_a_replica_that_cannot_be_loaded_does_not_keep_the_others_from_serving() -> None:
    cluster = Cluster(TWINS)
    cluster.tell(deploy_requested())
    cluster.tell(cluster.answers.popleft())
    cluster.answers.pop()
    cluster.now_s += 1.0
    failed(cluster, "twin")
    cluster.settle()
    assert (cluster.status()["state"], nodes_of(cluster, 1)) == ("running", [("s0", "camera"), ("s1", "cloud")])
    for _ in range(40):
        cluster.now_s += 1.0
        cluster.tell(Tick())
        cluster.settle()
    assert cluster.status()["epoch"] == 1  # it is not tried again and again
    assert cluster.kinds().count("FindPlan") <= 2


def test_a_replica_whose_node_is_back_is_brought_back_beside_what_runs() -> None:
    cluster = running(TWINS)
    cluster.tell(NodeLost(node="twin"))
    cluster.tell(NodeJoined(node="twin"))
    cluster.settle()
    assert cluster.kinds() == [
        "FindPlan", "OpenEpoch", "LoadStage", "LoadStage", "LoadStage", "SwitchRouters", "DrainEpoch",
        "DropStage", "DropStage",
    ]  # fmt: skip
    assert nodes_of(cluster, 2) == [("s0", "camera"), ("s1", "cloud"), ("s1", "twin")]


def test_the_first_of_a_stages_nodes_is_brought_back_like_any_other() -> None:
    cluster = running(TWINS)
    cluster.tell(NodeLost(node="cloud"))
    assert cluster.status()["lost_stage"] is None
    cluster.tell(NodeJoined(node="cloud"))
    cluster.settle()
    assert nodes_of(cluster, 2) == [("s0", "camera"), ("s1", "cloud"), ("s1", "twin")]


def test_a_replica_that_fails_while_its_node_lives_is_loaded_anew() -> None:
    cluster = running(TWINS)
    failed(cluster, "twin")
    cluster.settle()
    assert nodes_of(cluster, 2) == [("s0", "camera"), ("s1", "cloud"), ("s1", "twin")]


def test_a_replica_that_fails_again_and_again_is_brought_back_every_ten_seconds_at_most() -> None:
    cluster = running(TWINS)
    opened = []
    for second in range(60):
        cluster.now_s += 1.0
        cluster.tell(Tick())
        cluster.settle()
        active = cluster.control.deployments()["classify"].active
        assert active is not None
        if second % 2 == 0 and ("s1", "twin") in nodes_of(cluster, active):
            failed(cluster, "twin", epoch=active)
            cluster.settle()
        opened += [given for given in cluster.given if isinstance(given, OpenEpoch)]
        cluster.kinds()
    assert 2 <= len(opened) <= 7


@pytest.mark.parametrize("plan", [on("cloud"), TWINS])
def test_a_node_that_stays_away_is_planned_without_once(plan: Plan) -> None:
    cluster = running(TWINS)
    cluster.plan, cluster.current = plan, 0.05
    cluster.tell(NodeLost(node="twin"))
    kinds = []
    for _ in range(30):
        cluster.now_s += 1.0
        cluster.tell(Tick())
        cluster.settle()
        kinds += cluster.kinds()
    assert kinds == ["FindPlan", "KeepEpoch"]


def test_a_plan_is_opened_without_replicas_on_lost_nodes_and_gets_them_when_they_are_back() -> None:
    cluster = Cluster(TWINS)
    cluster.tell(NodeLost(node="cloud"))
    cluster.tell(deploy_requested())
    cluster.settle()
    assert nodes_of(cluster, 1) == [("s0", "camera"), ("s1", "twin")]
    cluster.now_s += 100.0
    cluster.tell(NodeJoined(node="cloud"))
    cluster.settle()
    assert nodes_of(cluster, 2) == [("s0", "camera"), ("s1", "cloud"), ("s1", "twin")]


def test_news_of_one_replica_says_nothing_of_the_other() -> None:
    cluster = running(TWINS)
    failed(cluster, "twin")
    record = cluster.control.deployments()["classify"].epoch(1)
    assert record is not None
    assert (record.stage("s1", "cloud").error, record.stage("s1", "twin").error) == ("", "it hangs")


def test_everything_of_an_epoch_is_dropped_replicas_too() -> None:
    cluster = running(TWINS)
    cluster.plan, cluster.current = plan_on("camera", latency_s=0.01), 0.05
    cluster.tell(NodeLost(node="mec"))
    cluster.tell(NodeJoined(node="mec"))
    cluster.settle()
    dropped = [(given.stage, given.node) for given in cluster.given if isinstance(given, DropStage)]
    assert dropped == [("s0", "camera"), ("s1", "cloud"), ("s1", "twin")]


def test_the_same_plan_found_again_changes_nothing() -> None:
    cluster = running(TWINS)
    cluster.tell(NodeLost(node="mec"))
    cluster.tell(NodeJoined(node="mec"))
    cluster.settle()
    assert cluster.kinds() == ["FindPlan", "KeepEpoch"]


def test_what_was_recorded_is_folded_to_the_same_knowledge() -> None:
    cluster, folded = Cluster(TWINS), Control()
    events: list[Event] = [deploy_requested(), NodeLost(node="twin"), NodeJoined(node="twin"), Tick()]
    while events:
        event = events.pop(0)
        given = cluster.tell(event)
        folded.fold(event, given, cluster.now_s)
        if not events and cluster.answers:
            events.append(cluster.answers.popleft())
    assert folded.snapshot() == cluster.control.snapshot()
    assert Control().restored(folded.snapshot()).snapshot() == folded.snapshot()
    assert isinstance(cluster.given[0], FindPlan)
