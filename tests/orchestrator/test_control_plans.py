"""Claims about what the control core does with a plan that was found, and what it tells of the pace of one."""

import pytest

from orchestrator.events import NodeJoined, NodeRoom, PlanFound, PlansMapped
from orchestrator.instructions import FindPlan, KeepEpoch, OpenEpoch
from partitioner.plan import Plan
from tests.builders import deploy_requested, known_plan, plan_map_of, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running

SPLIT, DEVICE = plan_on("camera", "cloud", latency_s=0.05), plan_on("camera", latency_s=0.1)
FIXED_S, NBYTES, DELAY_S = 0.03, 125_000, 0.004


def searching() -> tuple[Cluster, FindPlan]:
    """A running deployment whose link has drifted: a plan is being looked for."""
    cluster = running(SPLIT)
    (asked,) = cluster.tell(uplink(400))
    assert isinstance(asked, FindPlan)
    return cluster, asked


def mapped(*others: Plan) -> Cluster:
    """A cluster that runs SPLIT and has a map of it and the others, which take long."""
    cluster = running(SPLIT)
    more = (known_plan(plan, fixed_s=9.0) for plan in others)
    plans = plan_map_of(known_plan(SPLIT, fixed_s=FIXED_S, nbytes=NBYTES), *more)
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plans))
    return cluster


def test_a_plan_found_for_the_old_spec_is_let_go_and_one_for_the_changed_spec_asked_for() -> None:
    cluster, asked = searching()
    assert cluster.tell(deploy_requested(spec="e" * 64)) == ()
    kept, anew = cluster.tell(PlanFound(deployment="classify", ticket=asked.ticket, plan=DEVICE, current=9.0))
    assert isinstance(kept, KeepEpoch) and kept.reason == "a changed spec waits to be planned"
    assert isinstance(anew, FindPlan) and anew.reason == "a changed spec was deployed"


@pytest.mark.parametrize(("current", "taken"), [(None, True), (DEVICE.predicted.latency_s, False)])
def test_what_cannot_be_priced_any_more_is_replaced_whatever_is_gained(current: float | None, taken: bool) -> None:
    cluster, asked = searching()
    given = cluster.tell(PlanFound(deployment="classify", ticket=asked.ticket, plan=DEVICE, current=current))
    assert isinstance(given[0], OpenEpoch) is taken
    assert ("cannot be evaluated any more" in given[0].reason) is taken  # type: ignore[union-attr]


def test_a_plan_that_the_map_knows_is_not_judged_by_today_alone() -> None:
    cluster = mapped(DEVICE)
    (asked,) = cluster.tell(NodeJoined(node="cloud"))
    assert isinstance(asked, FindPlan)
    (kept,) = cluster.tell(PlanFound(deployment="classify", ticket=asked.ticket, plan=DEVICE, current=9.0))
    assert isinstance(kept, KeepEpoch) and "what is remembered decides" in kept.reason


def test_the_pace_of_a_mapped_plan_is_its_slowest_stage_under_the_links_as_they_are() -> None:
    cluster = mapped()
    assert cluster.control.latency_s("classify", 1) == pytest.approx(FIXED_S + NBYTES / 12.5e6 + DELAY_S)
    cluster.tell(uplink(50))
    assert cluster.control.latency_s("classify", 1) == pytest.approx(FIXED_S + NBYTES / 6.25e6 + DELAY_S)
    pace = cluster.control.pace("classify", 1)
    assert pace is not None and pace.stage_s == max(stage.seconds for stage in SPLIT.stages)


def test_what_is_not_mapped_or_not_there_has_no_pace() -> None:
    assert running(SPLIT).control.latency_s("classify", 1) is None
    assert mapped().control.pace("classify", 2) is None
    cluster = running(SPLIT)
    plans = plan_map_of(known_plan(DEVICE, fixed_s=0.1))
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plans))
    assert cluster.control.pace("classify", 1) is None


def test_what_stands_by_follows_the_newest_map() -> None:
    room = (NodeRoom(node="camera", standby_bytes=300),)
    cluster = running(SPLIT, room=room)
    only = known_plan(SPLIT, fixed_s=FIXED_S, nbytes=NBYTES)
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plan_map_of(only)))
    cluster.tell(NodeJoined(node="cloud"))
    cluster.settle()
    assert cluster.kinds() == ["FindPlan", "KeepEpoch"]
    both = plan_map_of(only, known_plan(DEVICE, fixed_s=0.1))
    (opened, _) = cluster.tell(PlansMapped(deployment="classify", ticket=2, plan_map=both))
    assert isinstance(opened, OpenEpoch) and opened.standby and opened.plan == DEVICE
