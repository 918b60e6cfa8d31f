"""Claims about the core with its journal: what can't be recorded is not done, and nothing that was told is lost."""

from pathlib import Path

import pytest

from orchestrator.control import Control
from orchestrator.errors import JournalError, OrchestratorError, UnknownDeployment
from orchestrator.events import DeleteRequested, Event, NodeLost, RouterJoined, StageReady, Tick
from orchestrator.instructions import Instruction
from orchestrator.journal import Journal, recover
from orchestrator.recorder import SHORT_SNAPSHOT_EVERY, SNAPSHOT_EVERY, Recorder
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster


class Fillable(Journal):
    """A journal whose disk can be filled."""

    full = False

    def append(self, event: Event, instructions: tuple[Instruction, ...], now_s: float) -> int:
        if self.full:
            raise JournalError("the disk is full")
        return super().append(event, instructions, now_s)


class Kept(Cluster):
    """A cluster whose events go through a recorder; what it does is what the recorder gives."""

    def __init__(self, path: Path) -> None:
        super().__init__(plan_on("camera", "cloud"))
        self.late: list[str] = []
        self.journal = Fillable(path, reserve_bytes=1)
        self.recorder = Recorder(self.control, self.journal, on_late=self.note)

    def note(self, event: Event, error: OrchestratorError) -> None:
        self.late.append(type(event).__name__)

    def tell(self, event: Event) -> tuple[Instruction, ...]:
        given = self.recorder.take(event, self.now_s)
        self.given += given
        for instruction in given:
            self.answers.extend(self._answer(instruction))
        return given


@pytest.fixture
def cluster(tmp_path: Path) -> Kept:
    """ "classify" runs; nothing was given since."""
    cluster = Kept(tmp_path / "j.db")
    cluster.tell(deploy_requested())
    cluster.tell(RouterJoined(deployment="classify", router="r1"))
    cluster.settle()
    cluster.kinds()
    return cluster


def test_what_can_not_be_recorded_is_not_done(cluster: Kept) -> None:
    before = recover(cluster.journal.path).snapshot()
    cluster.journal.full = True
    assert cluster.tell(NodeLost(node="cloud")) == ()
    assert cluster.tell(RouterJoined(deployment="classify", router="r2")) == ()
    assert recover(cluster.journal.path).snapshot() == before


def test_when_there_is_room_again_all_is_recorded_and_done_in_its_order(cluster: Kept) -> None:
    cluster.journal.full = True
    cluster.tell(NodeLost(node="cloud"))
    cluster.tell(RouterJoined(deployment="classify", router="r2"))
    cluster.journal.full, cluster.now_s = False, 1.0
    cluster.tell(Tick())
    assert cluster.kinds() == ["FindPlan"]  # and r2 is not sent to an epoch that has lost its node
    cluster.settle()
    assert recover(cluster.journal.path).snapshot() == cluster.control.snapshot()
    assert cluster.status()["routers"] == ["r1", "r2"]


def test_a_disk_that_fills_up_again_on_the_way_loses_nothing(cluster: Kept) -> None:
    cluster.journal.full = True
    for node in ("cloud", "mec", "camera"):
        cluster.tell(NodeLost(node=node))
    append, room = Journal.append, iter((True, False))

    def twice(self: Journal, event: Event, instructions: tuple[Instruction, ...], now_s: float) -> int:
        if not next(room, False):
            raise JournalError("the disk is full")
        return append(self, event, instructions, now_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fillable, "append", twice)
        cluster.now_s = 1.0
        assert [type(given).__name__ for given in cluster.tell(Tick())] == ["FindPlan"]
    cluster.journal.full, cluster.now_s = False, 2.0
    cluster.tell(Tick())
    assert cluster.control.status()["lost_nodes"] == ["cloud", "mec", "camera"]
    assert recover(cluster.journal.path).snapshot() == cluster.control.snapshot()


def test_a_full_disk_is_not_asked_again_within_a_second(cluster: Kept) -> None:
    cluster.journal.full = True
    cluster.tell(NodeLost(node="cloud"))
    cluster.journal.full, cluster.now_s = False, 0.9
    assert cluster.tell(Tick()) == ()
    cluster.now_s = 1.0
    assert len(cluster.tell(Tick())) == 1


def test_a_wish_is_refused_while_nothing_can_be_recorded(cluster: Kept) -> None:
    cluster.journal.full = True
    cluster.tell(NodeLost(node="cloud"))
    with pytest.raises(JournalError, match="the disk is full; until then nothing is changed"):
        cluster.tell(DeleteRequested(deployment="classify"))


def test_of_a_link_only_the_newest_word_waits(cluster: Kept) -> None:
    cluster.journal.full = True
    cluster.tell(NodeLost(node="cloud"))
    for mbps in (10.0, 20.0, 30.0):
        cluster.tell(uplink(mbps))
    assert cluster.recorder.status()["waiting"] == 1
    cluster.journal.full, cluster.now_s = False, 1.0
    cluster.tell(Tick())
    assert [link["bytes_per_s"] for link in cluster.control.status()["links"]] == [30e6 / 8]


def test_news_that_waited_too_long_is_told_and_harms_nothing(cluster: Kept) -> None:
    cluster.journal.full = True
    cluster.tell(NodeLost(node="cloud"))
    cluster.tell(StageReady(deployment="classify", epoch=7, stage="s0", node="cloud"))
    cluster.journal.full, cluster.now_s = False, 1.0
    cluster.tell(RouterJoined(deployment="classify", router="r2"))
    assert cluster.late == ["StageReady"]
    assert cluster.status()["routers"] == ["r1", "r2"]


def test_what_was_held_back_is_given_even_if_the_next_event_is_refused(cluster: Kept) -> None:
    cluster.journal.full = True
    cluster.tell(NodeLost(node="cloud"))
    cluster.journal.full, cluster.now_s = False, 1.0
    with pytest.raises(UnknownDeployment):
        cluster.tell(DeleteRequested(deployment="nobody"))
    assert [type(given).__name__ for given in cluster.tell(Tick())] == ["FindPlan"]


def test_the_status_tells_since_when_and_why(cluster: Kept) -> None:
    assert cluster.recorder.status()["fault"] is None
    cluster.journal.full, cluster.now_s = True, 5.0
    cluster.tell(NodeLost(node="cloud"))
    cluster.now_s = 9.0
    cluster.tell(Tick())
    told = cluster.recorder.status()
    assert (told["fault"], told["since_s"]) == ("the disk is full", 5.0)


@pytest.mark.parametrize(("short", "every"), [(False, SNAPSHOT_EVERY), (True, SHORT_SNAPSHOT_EVERY)])
def test_snapshots_bound_the_journal_the_sooner_the_less_room_there_is(tmp_path: Path, short: bool, every: int) -> None:
    with Fillable(tmp_path / "j.db", reserve_bytes=1) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")
        recorder = Recorder(Control(), journal)
        if short:
            journal._reserve.free()
            journal._reserve._nbytes = 1 << 60  # more than any disk has
        for _ in range(every - 1):
            recorder.take(uplink(10.0), 0.0)
        assert journal.last_snapshot() is None
        recorder.take(uplink(10.0), 0.0)
        assert journal.last_snapshot() is not None
        assert list(journal.read()) == []


def test_large_records_are_bounded_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.recorder.SNAPSHOT_EVERY_BYTES", 2000)
    with Fillable(tmp_path / "j.db", reserve_bytes=1) as journal:
        recorder = Recorder(Control(), journal)
        for _ in range(100):
            recorder.take(uplink(10.0), 0.0)
        assert 0 < len(list(journal.read())) < 20
