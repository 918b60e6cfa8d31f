"""Claims about known plans: choosing among them without a search, and those that stand by."""

from dataclasses import replace

import pytest

from orchestrator.events import (
    LinkObserved,
    NodeLost,
    NodeRoom,
    PlanNotFound,
    PlansMapped,
    RouterJoined,
    StageFailed,
    Tick,
)
from orchestrator.instructions import FindPlan, Instruction, KeepEpoch, LoadStage, OpenEpoch, StandBy, SwitchRouters
from orchestrator.plan_map import KnownPlan
from tests.builders import deploy_requested, known_plan, plan_map_of, plan_on, uplink
from tests.orchestrator.cluster import Cluster

ROOM = (NodeRoom(node="camera", standby_bytes=300), NodeRoom(node="cloud", standby_bytes=300))
SPLIT = known_plan(plan_on("camera", "cloud", latency_s=0.05), fixed_s=0.03, nbytes=125_000)
DEVICE = known_plan(plan_on("camera", latency_s=0.1), fixed_s=0.1)


def mapped(*plans: KnownPlan, room: tuple[NodeRoom, ...] = ROOM, **reach: float) -> Cluster:
    """A cluster that runs the first of these plans and has a map of all."""
    cluster = Cluster(plans[0].plan)
    cluster.tell(deploy_requested(room=room))
    cluster.tell(RouterJoined(deployment="classify", router="r1"))
    cluster.settle()
    cluster.now_s += 100.0
    cluster.kinds()
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plan_map_of(*plans, **reach)))
    return cluster


def slowed(cluster: Cluster, mbps: float, *, for_s: float = 4.0) -> list[Instruction]:
    """What is instructed while the link stays at this rate for so long."""
    given = [*cluster.tell(uplink(mbps))]
    cluster.now_s += for_s
    return [*given, *cluster.tell(Tick())]


def states(cluster: Cluster) -> dict[int, str]:
    epochs: list[dict[str, object]] = cluster.status()["epochs"]  # type: ignore[assignment]
    return {int(str(one["epoch"])): str(one["state"]) for one in epochs}


def test_a_slow_link_switches_to_a_known_plan_without_a_search() -> None:
    cluster = mapped(SPLIT, DEVICE, room=())
    slowed(cluster, 5)
    assert cluster.kinds() == ["KeepEpoch", "OpenEpoch", "LoadStage"]
    cluster.settle()
    assert cluster.kinds() == ["SwitchRouters", "DrainEpoch", "DropStage", "DropStage"]
    assert cluster.status()["epoch"] == 2


def test_what_stands_by_is_switched_to_at_once_and_what_ran_stands_by() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.settle()
    assert states(cluster) == {1: "active", 2: "standby"}
    given = slowed(cluster, 5)
    assert [type(one) for one in given] == [KeepEpoch, SwitchRouters]
    assert isinstance(given[1], SwitchRouters) and given[1].epoch == 2
    cluster.settle()
    assert states(cluster) == {1: "standby", 2: "active"}


def test_a_lost_node_is_stood_in_for_at_once_and_a_better_plan_asked_for_later() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.settle()
    given = cluster.tell(NodeLost(node="cloud"))
    assert next((type(one), getattr(one, "epoch", 0)) for one in given) == (SwitchRouters, 2)
    cluster.settle()
    assert states(cluster) == {2: "active"}
    assert any(isinstance(one, FindPlan) for one in cluster.tell(Tick()))


def test_a_loss_waits_for_no_second_look_at_something_else() -> None:
    cluster = mapped(SPLIT, DEVICE, low_mbps=90)
    cluster.settle()
    cluster.tell(uplink(60))
    cluster.tell(PlanNotFound(deployment="classify", ticket=2, reason="nothing fits"))
    cluster.now_s += 1.0
    cluster.tell(uplink(40))
    assert [one.look_again_s for one in cluster.given if isinstance(one, KeepEpoch)][-1] is not None
    given = cluster.tell(NodeLost(node="cloud"))
    assert SwitchRouters in [type(one) for one in given]


def test_without_a_stand_in_a_loss_is_planned_for_at_once_whatever_was_to_be_looked_at_later() -> None:
    cluster = mapped(SPLIT, DEVICE, room=(), low_mbps=90)
    cluster.tell(uplink(60))
    cluster.tell(PlanNotFound(deployment="classify", ticket=2, reason="nothing fits"))
    cluster.now_s += 1.0
    cluster.tell(uplink(40))
    assert FindPlan in [type(one) for one in cluster.tell(NodeLost(node="cloud"))]


def test_a_small_gain_keeps_the_plan_and_asks_for_no_search() -> None:
    cluster = mapped(SPLIT, DEVICE, room=())
    (kept,) = cluster.tell(uplink(60))
    assert isinstance(kept, KeepEpoch)
    assert "no better plan" in kept.reason
    assert cluster.tell(uplink(60)) == ()  # it is decided for this rate now


def test_where_the_map_is_not_complete_a_search_is_asked_for() -> None:
    cluster = mapped(SPLIT, DEVICE, room=(), low_mbps=90)
    (asked,) = cluster.tell(uplink(60))
    assert isinstance(asked, FindPlan)


def test_while_nothing_better_is_found_the_best_known_plan_is_taken() -> None:
    cluster = mapped(SPLIT, DEVICE, low_mbps=90)
    cluster.settle()
    assert any(isinstance(one, FindPlan) for one in slowed(cluster, 5, for_s=0.1))
    assert [type(one) for one in slowed(cluster, 5) if not isinstance(one, FindPlan)] == []
    given = cluster.tell(PlanNotFound(deployment="classify", ticket=2, reason="nothing fits"))
    assert [type(one) for one in given] == [KeepEpoch, SwitchRouters]


def test_a_dip_of_a_second_moves_nothing() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.settle()
    given = [*slowed(cluster, 5, for_s=0.5), *slowed(cluster, 100, for_s=30.0)]
    assert {type(one) for one in given} == {KeepEpoch}
    assert states(cluster) == {1: "active", 2: "standby"}


def test_two_switches_are_ten_seconds_apart() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.settle()
    slowed(cluster, 5)
    cluster.settle()
    assert SwitchRouters not in [type(one) for one in slowed(cluster, 100, for_s=9.9)]
    assert SwitchRouters in [type(one) for one in slowed(cluster, 100, for_s=0.2)]


def test_a_plan_that_needs_no_link_stands_by_whatever_else_is_best_without_a_node() -> None:
    other = known_plan(plan_on("camera", "mec", latency_s=0.06), fixed_s=0.04, nbytes=125_000)
    room = (*ROOM, NodeRoom(node="mec", standby_bytes=300))
    cluster = mapped(SPLIT, other, DEVICE, room=room)
    for _ in range(3):
        cluster.settle()
    epochs = [epoch for epoch in cluster.control.deployments()["classify"].epochs if epoch.story.state == "standby"]
    assert [epoch.plan for epoch in epochs] == [other.plan, DEVICE.plan]


def redrawn(standby_bytes: int) -> Cluster:
    """DEVICE stands by beside SPLIT, and a new map wants it on another engine, which is yet to be loaded."""
    cluster = mapped(SPLIT, DEVICE, room=(NodeRoom(node="camera", standby_bytes=standby_bytes),))
    cluster.settle()
    assert states(cluster) == {1: "active", 2: "standby"}
    stages = tuple(replace(stage, backend="openvino") for stage in DEVICE.plan.stages)
    faster = replace(DEVICE, plan=replace(DEVICE.plan, stages=stages))
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plan_map_of(SPLIT, faster)))
    return cluster


def test_what_stood_by_is_let_go_of_once_what_is_wanted_instead_is_ready() -> None:
    cluster = redrawn(standby_bytes=300)
    assert states(cluster) == {1: "active", 2: "standby", 3: "loading"}
    cluster.settle()
    assert states(cluster) == {1: "active", 3: "standby"}


def test_what_is_not_wanted_any_more_makes_room_where_there_is_too_little() -> None:
    cluster = redrawn(standby_bytes=150)
    assert states(cluster)[2] != "standby"


def test_what_has_no_room_does_not_stand_by() -> None:
    cluster = mapped(SPLIT, DEVICE, room=(NodeRoom(node="camera", standby_bytes=99),))
    assert cluster.kinds() == []


@pytest.mark.parametrize(("memory_bytes", "stands_by"), [(150, False), (200, True)])
def test_what_runs_leaves_less_room(memory_bytes: int, stands_by: bool) -> None:
    room = (NodeRoom(node="camera", standby_bytes=300, memory_bytes=memory_bytes),)
    cluster = mapped(SPLIT, DEVICE, room=room)
    assert ("OpenEpoch" in cluster.kinds()) is stands_by


def test_what_fails_to_stand_by_is_not_tried_again_until_the_map_is_new() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.answers.clear()
    cluster.kinds()
    cluster.tell(StageFailed(deployment="classify", epoch=2, stage="s0", node="camera", error="out of memory"))
    cluster.settle()
    assert cluster.kinds() == []
    assert states(cluster) == {1: "active"}
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plan_map_of(SPLIT, DEVICE)))
    assert cluster.kinds() == ["OpenEpoch", "LoadStage"]


def test_a_plan_that_is_being_loaded_to_stand_by_is_taken_when_ready() -> None:
    cluster = mapped(SPLIT, DEVICE)
    assert [type(one).__name__ for one in slowed(cluster, 5)] == ["KeepEpoch", "Promote"]
    cluster.settle()
    assert states(cluster)[2] == "active"


def test_a_router_that_joins_later_hears_of_what_stands_by() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.settle()
    given = cluster.tell(RouterJoined(deployment="classify", router="r2"))
    assert [(type(one), one.routers) for one in given if isinstance(one, StandBy)] == [(StandBy, ("r2",))]


def test_a_map_of_an_older_question_is_not_believed() -> None:
    cluster = mapped(SPLIT, DEVICE, room=())
    cluster.tell(PlansMapped(deployment="classify", ticket=0, plan_map=plan_map_of(SPLIT)))
    assert cluster.status()["known_plans"] == 2


def test_a_changed_spec_lets_go_of_what_stood_by() -> None:
    cluster = mapped(SPLIT, DEVICE)
    cluster.settle()
    cluster.kinds()
    cluster.tell(deploy_requested(room=ROOM, spec="e" * 64))
    cluster.settle()
    assert states(cluster) == {3: "active"}
    assert next(one for one in cluster.given if isinstance(one, OpenEpoch)).epoch == 3
    assert {one.epoch for one in cluster.given if isinstance(one, LoadStage)} == {3}


def test_a_crawling_link_is_left_however_unsure_its_goodput_is() -> None:
    cluster = mapped(SPLIT, DEVICE, room=())
    cluster.tell(replace(uplink(0.2), std=0.5))
    cluster.now_s += 10.0
    assert OpenEpoch in [type(one) for one in cluster.tell(Tick())]


def test_a_link_that_matters_to_no_plan_may_drift() -> None:
    cluster = mapped(SPLIT, DEVICE, room=())
    back = LinkObserved(source="cloud", target="camera", bytes_per_s=1e5, propagation_s=0.004)
    (kept,) = cluster.tell(back)
    assert isinstance(kept, KeepEpoch)


def test_a_link_that_outruns_the_map_is_searched_for_though_no_known_plan_uses_it() -> None:
    """A map drawn for a link that crawls holds no plan that sends over it; the link recovers."""
    cluster = mapped(DEVICE, room=(), low_mbps=1, high_mbps=200)
    (kept,) = cluster.tell(uplink(199))
    assert isinstance(kept, KeepEpoch)
    cluster.now_s += 1.0
    assert FindPlan in [type(one) for one in cluster.tell(uplink(250))]


def test_a_search_for_a_link_that_drifts_on_waits_until_the_last_one_is_ten_seconds_past() -> None:
    cluster = mapped(SPLIT, DEVICE, room=(), low_mbps=90)
    cluster.tell(uplink(60))
    cluster.tell(PlanNotFound(deployment="classify", ticket=2, reason="nothing fits"))
    cluster.now_s += 1.0
    (kept,) = cluster.tell(uplink(40))
    assert isinstance(kept, KeepEpoch) and kept.look_again_s == pytest.approx(cluster.now_s + 9.0)
    cluster.now_s += 9.1
    assert FindPlan in [type(one) for one in cluster.tell(Tick())]
