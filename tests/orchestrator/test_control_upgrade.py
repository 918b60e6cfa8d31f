"""Claims about a worker that is replaced by another: what runs is loaded anew, and switched to before it is let go."""

from pathlib import Path

from orchestrator.events import LinkObserved, NodeRoom, PlansMapped, RouterJoined, StageFailed, WorkerReplaced
from orchestrator.instructions import FindPlan, OpenEpoch
from orchestrator.journal import Journal, recover
from orchestrator.recording import read_recording
from tests.builders import deploy_requested, known_plan, plan_map_of, plan_on, uplink
from tests.orchestrator.cluster import Cluster, running

SPLIT = plan_on("camera", "cloud")
NEW_CLOUD = WorkerReplaced(node="cloud", deployments=("classify",))
ROOM = tuple(NodeRoom(node=node, standby_bytes=300) for node in ("camera", "cloud"))


def states(cluster: Cluster) -> dict[int, str]:
    epochs: list[dict[str, object]] = cluster.status()["epochs"]  # type: ignore[assignment]
    return {int(str(one["epoch"])): str(one["state"]) for one in epochs}


def test_the_same_plan_is_loaded_switched_to_and_only_then_is_what_ran_dropped() -> None:
    cluster = running(SPLIT)
    (opened, *_) = cluster.tell(NEW_CLOUD)
    assert isinstance(opened, OpenEpoch)
    assert (opened.plan, opened.reason) == (SPLIT, "node cloud has a new worker")
    assert states(cluster) == {1: "active", 2: "loading"}
    cluster.settle()
    assert states(cluster) == {2: "active"}
    kinds = ["OpenEpoch", "LoadStage", "LoadStage", "SwitchRouters", "DrainEpoch", "DropStage", "DropStage"]
    assert cluster.kinds() == kinds


def test_what_can_not_be_loaded_on_it_leaves_what_runs_alone() -> None:
    cluster = running(SPLIT)
    cluster.tell(NEW_CLOUD)
    cluster.answers.clear()
    cluster.tell(StageFailed(deployment="classify", epoch=2, stage="s1", node="cloud", error="out of memory"))
    cluster.settle()
    assert states(cluster) == {1: "active"}
    assert "out of memory" in str(cluster.status()["reason"])


def test_nothing_is_loaded_anew_for_a_node_without_a_part_or_a_deployment_that_is_not_named() -> None:
    cluster = running(SPLIT)
    assert cluster.tell(WorkerReplaced(node="mec", deployments=("classify",))) == ()
    assert cluster.tell(WorkerReplaced(node="cloud", deployments=("other",))) == ()


def test_while_another_plan_is_asked_for_nothing_is_loaded_anew() -> None:
    cluster = running(SPLIT)
    assert [type(one) for one in cluster.tell(uplink(1.0))] == [FindPlan]
    assert cluster.tell(NEW_CLOUD) == ()


def test_what_stands_by_on_the_old_worker_is_let_go_of_and_stands_by_on_the_new_one() -> None:
    split, device = known_plan(SPLIT, fixed_s=0.03, nbytes=125_000), known_plan(plan_on("camera"), fixed_s=0.1)
    cluster = Cluster(split.plan)
    cluster.tell(deploy_requested(room=ROOM))
    cluster.tell(RouterJoined(deployment="classify", router="r1"))
    cluster.settle()
    cluster.tell(PlansMapped(deployment="classify", ticket=1, plan_map=plan_map_of(split, device)))
    cluster.settle()
    assert states(cluster) == {1: "active", 2: "standby"}
    cluster.tell(WorkerReplaced(node="camera", deployments=("classify",)))
    cluster.settle()
    assert states(cluster) == {3: "active", 4: "standby"}


def test_a_journal_that_the_version_before_wrote_is_gone_on_with_and_each_record_tells_its_writer(
    tmp_path: Path,
) -> None:
    path, cluster = tmp_path / "j.sqlite", running(SPLIT)
    for version, event in (("0.0.9+wire1", NEW_CLOUD), ("0.1.0+wire2", uplink(100.5))):
        control = recover(path) if path.exists() else cluster.control
        with Journal(path, code_version=version, reserve_bytes=1) as journal:
            if version == "0.0.9+wire1":
                journal.snapshot(control, 0.0)
            given = control.handle(event, cluster.now_s)
            journal.append(event, given, cluster.now_s)
    records = read_recording(path).records
    assert [record.code_version for record in records] == ["0.0.9+wire1", "0.1.0+wire2"]
    assert [type(record.event) for record in records] == [WorkerReplaced, LinkObserved]
    assert recover(path).snapshot() == control.snapshot()
