"""Claims about replicas that follow the load: when they come and go, where to, and when they do not."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.autoscaling import load_of
from orchestrator.control import Control
from orchestrator.events import NodeJoined, NodeLost, NodeRoom, PlansMapped, StageFailed, StageLoad, Tick
from orchestrator.instructions import Instruction, LoadStage, OpenEpoch
from tests.builders import known_plan, plan_map_of, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running

PLAIN = plan_on("camera", "cloud", latency_s=0.05)
SHARERS = {"cloud": ("twin", "third"), "twin": ("cloud", "third"), "third": ("cloud", "twin")}


def room(
    *, most: int = 3, memory: Mapping[str, int] = {}, sharers: Mapping[str, tuple[str, ...]] = SHARERS
) -> tuple[NodeRoom, ...]:
    """Camera and three clouds that may run each other's stages."""
    return tuple(
        NodeRoom(
            node=node,
            standby_bytes=0,
            memory_bytes=memory.get(node),
            most_replicas=most,
            sharers=tuple(("onnxruntime", other) for other in sharers.get(node, ())),
        )
        for node in ("camera", "cloud", "twin", "third")
    )


def scaling(**given: object) -> Cluster:
    return running(PLAIN, room=room(**given))  # type: ignore[arg-type]


def active(cluster: Cluster) -> int:
    number = cluster.control.deployments()["classify"].active
    assert number is not None
    return number


def crew(cluster: Cluster) -> list[str]:
    """The nodes that run the second stage in the epoch in use."""
    epoch = cluster.control.deployments()["classify"].epoch(active(cluster))
    assert epoch is not None
    return [stage.node for stage in epoch.stages if stage.name == "s1" and stage.story.state == "ready"]


def load(cluster: Cluster, busy: float, *, queued: int = 0, node: str = "cloud", epoch: int | None = None) -> StageLoad:
    """A second in which the node was busy for this share of it, at 100 ms a request."""
    return StageLoad(
        deployment="classify", epoch=epoch or active(cluster), stage="s1", node=node, interval_s=1.0, busy_s=busy,
        served=round(busy * 10), arrived=round(busy * 10), queued=queued,
    )  # fmt: skip


def second(cluster: Cluster, busy: float, *, queued: int = 0) -> list[Instruction]:
    """A second passes, in which every replica was so busy; what was decided."""
    cluster.now_s += 1.0
    for node in crew(cluster):
        cluster.tell(load(cluster, busy, queued=queued, node=node))
        cluster.settle()
    cluster.tell(Tick())
    cluster.settle()
    given, cluster.given = cluster.given, []
    return given


def opened(given: list[Instruction]) -> list[str]:
    return [one.reason for one in given if isinstance(one, OpenEpoch)]


def test_a_busy_stage_gets_another_replica_beside_what_runs() -> None:
    cluster = scaling()
    given = second(cluster, 0.95)
    assert opened(given) == ["autoscale: stage s1 to cloud, twin: load 0.95 at 70% and 0 queued want 2"]
    kinds = [type(one).__name__ for one in given]
    assert kinds.index("SwitchRouters") < kinds.index("DrainEpoch")  # make before break
    assert crew(cluster) == ["cloud", "twin"]


def test_a_long_queue_gets_as_many_as_are_allowed() -> None:
    cluster = scaling()
    second(cluster, 1.0, queued=1000)
    assert crew(cluster) == ["cloud", "twin", "third"]


def test_nothing_scales_where_the_spec_does_not_ask_for_it() -> None:
    cluster = running(PLAIN, room=room(most=1))
    assert second(cluster, 1.0, queued=1000) == []


def test_a_stage_whose_node_has_nobody_to_share_with_stays_as_it_is() -> None:
    cluster = scaling(sharers={})
    assert second(cluster, 1.0, queued=1000) == []


def test_replicas_go_one_by_one_and_only_after_half_a_minute_of_less() -> None:
    cluster = scaling()
    second(cluster, 1.0, queued=1000)
    sizes = []
    for _ in range(75):
        second(cluster, 0.0)
        sizes.append(len(crew(cluster)))
    assert sizes[28] == 3 and sizes[31] == 2
    assert sizes[-1] == 1 and sizes.index(1) - sizes.index(2) >= 29


def test_a_load_that_comes_and_goes_does_not_make_replicas_flap() -> None:
    cluster = scaling()
    switches = 0
    for number in range(120):
        switches += len(opened(second(cluster, 0.95 if number % 10 < 5 else 0.05)))
    assert switches <= 2


def test_what_nobody_has_told_of_for_long_is_no_idleness() -> None:
    cluster = scaling()
    second(cluster, 1.0, queued=1000)
    second(cluster, 0.0)
    for _ in range(100):
        cluster.now_s += 1.0
        cluster.tell(Tick())
        cluster.settle()
    assert len(crew(cluster)) == 3


def test_a_lost_or_full_node_is_passed_over() -> None:
    lost = scaling()
    lost.tell(NodeLost(node="twin"))
    second(lost, 0.95)
    assert crew(lost) == ["cloud", "third"]
    full = scaling(memory={"twin": 99})  # a stage weighs 100
    second(full, 0.95)
    assert crew(full) == ["cloud", "third"]


def test_a_node_that_cannot_load_a_replica_is_asked_once_until_it_comes_back() -> None:
    cluster = scaling()
    cluster.now_s += 1.0
    cluster.tell(load(cluster, 0.95))
    while not any(isinstance(one, LoadStage) and one.node == "twin" for one in cluster.given):
        cluster.tell(cluster.answers.popleft())
    cluster.answers.pop()
    cluster.tell(StageFailed(deployment="classify", epoch=2, stage="s1", node="twin", error="no such engine"))
    cluster.settle()
    assert crew(cluster) == ["cloud"]
    for _ in range(5):
        second(cluster, 0.95)
    assert crew(cluster) == ["cloud", "third"]
    cluster.tell(NodeLost(node="twin"))
    cluster.tell(NodeJoined(node="twin"))
    cluster.settle()
    second(cluster, 1.0, queued=1000)
    assert crew(cluster) == ["cloud", "third", "twin"]


def test_a_lost_replica_is_replaced_while_the_load_wants_it() -> None:
    cluster = scaling()
    second(cluster, 0.95)
    cluster.tell(NodeLost(node="twin"))
    cluster.settle()
    assert cluster.status()["lost_stage"] is None
    for _ in range(5):
        second(cluster, 0.95)
    assert crew(cluster) == ["cloud", "third"]


def test_the_same_plan_found_again_keeps_the_replicas() -> None:
    cluster = scaling()
    second(cluster, 0.95)
    cluster.tell(uplink(400))
    cluster.settle()
    assert "FindPlan" in cluster.kinds()
    assert (active(cluster), crew(cluster)) == (2, ["cloud", "twin"])


def test_another_plan_has_as_many_replicas_for_the_same_node() -> None:
    cluster = scaling()
    second(cluster, 0.95)
    cluster.now_s += 20.0
    cluster.plan, cluster.current = plan_on("camera", "cloud", latency_s=0.01, codec="int8"), 0.05
    cluster.tell(uplink(10))
    cluster.settle()
    assert (active(cluster), crew(cluster)) == (3, ["cloud", "twin"])


def test_a_mapped_deployment_still_looks_up_other_plans_while_it_has_replicas() -> None:
    cluster = scaling()
    alone = known_plan(plan_on("camera"), fixed_s=0.2)
    split = known_plan(PLAIN, fixed_s=0.01, nbytes=100_000)
    ticket = cluster.control.deployments()["classify"].map_ticket
    cluster.tell(PlansMapped(deployment="classify", ticket=ticket, plan_map=plan_map_of(split, alone)))
    second(cluster, 0.95)
    assert crew(cluster) == ["cloud", "twin"]
    for _ in range(40):
        cluster.now_s += 1.0
        cluster.tell(uplink(1.0))
        cluster.settle()
    assert cluster.status()["latency_s"] == plan_on("camera").predicted.latency_s


@pytest.mark.parametrize("epoch", [7, 1])
def test_late_news_of_another_epoch_changes_nothing(epoch: int) -> None:
    cluster = scaling()
    second(cluster, 0.95)
    before = cluster.control.snapshot()
    cluster.tell(load(cluster, 1.0, queued=500, epoch=epoch))
    assert cluster.control.snapshot() == before


def test_what_was_recorded_of_scaling_is_folded_to_the_same_knowledge_and_ticks_alone_change_none() -> None:
    cluster, record = scaling(), []
    folded = Control().restored(cluster.control.snapshot())
    for busy in (0.95, 0.95, 0.2, 0.0):
        cluster.now_s += 1.0
        cluster.answers.append(load(cluster, busy, queued=3))
        while cluster.answers:
            event = cluster.answers.popleft()
            record.append((event, cluster.tell(event), cluster.now_s))
    for event, given, now_s in record:
        folded.fold(event, given, now_s)
    assert folded.snapshot() == cluster.control.snapshot()
    assert cluster.tell(Tick()) == ()
    assert folded.snapshot() == cluster.control.snapshot()


def test_the_load_is_shown() -> None:
    cluster = scaling()
    second(cluster, 0.5, queued=2)
    loads: Any = cluster.status()["loads"]
    told = [(one["stage"], one["node"], one["utilisation"], one["queued"]) for one in loads]
    assert told == [("s1", "cloud", 0.5, 2)]


def test_a_workers_word_is_an_event_only_of_the_epoch_in_use_of_a_deployment_that_may_scale() -> None:
    told = {"event": "load", "deployment": "classify", "epoch": 1, "stage": "s1", "interval_s": 1.0, "busy_s": 0.5}
    told |= {"served": 5, "arrived": 5, "queued": 0}
    cluster = scaling()
    assert load_of(cluster.control.deployments(), "cloud", told) == load(cluster, 0.5)
    assert load_of(cluster.control.deployments(), "cloud", told | {"epoch": 2}) is None
    assert load_of(cluster.control.deployments(), "cloud", told | {"deployment": "other"}) is None
    assert load_of(running(PLAIN).control.deployments(), "cloud", told) is None
