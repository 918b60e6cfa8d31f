"""The desk: what it refuses in a line, drivers that it replaces: here, processes that only hold the lock."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import SpecError
from orchestrator.jobs import desk as desk_module
from orchestrator.jobs import lock
from orchestrator.jobs.desk import AT_ONCE, DEATHS, Desk
from orchestrator.jobs.errors import JobError, UnknownJob
from orchestrator.jobs.ledger import OWN, Ledger, LedgerFull
from orchestrator.jobs.progress import Progress, progress
from orchestrator.jobs.terms import JobTerms
from tests.eventually import eventually
from tests.orchestrator.jobs.ledgers import answered

ROOT = Path(__file__).parents[3]
HOLDS = (
    "import sys, time; from pathlib import Path; from orchestrator.jobs import lock\n"
    "with lock.held(Path(sys.argv[1])):\n time.sleep(60)"
)


class Drivers:
    """Starts processes that hold a job's lock and do nothing else."""

    def __init__(self) -> None:
        self.started: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __call__(self, folder: Path) -> int:
        process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], cwd=ROOT)
        self.started.append((folder.name, process))
        eventually(lambda: lock.holder(folder) == process.pid, what="the lock is held")
        return process.pid

    def kill(self) -> None:
        for _, process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def drivers() -> Iterator[Drivers]:
    found = Drivers()
    yield found
    found.kill()


@pytest.fixture
def desk(tmp_path: Path, drivers: Drivers) -> Desk:
    return Desk(tmp_path / "jobs", drivers, bool)


def terms(folder: Path, name: str = "sort", output: str = "out.npz") -> JobTerms:
    np.savez(folder / "rows.npz", allow_pickle=False, x=np.zeros((4, 3), np.float32))
    return JobTerms(name=name, data=str(folder / "rows.npz"), output=str(folder / output), deployment="two")


def test_a_job_is_pending_until_a_driver_has_begun_it(desk: Desk, tmp_path: Path, drivers: Drivers) -> None:
    desk.submit(terms(tmp_path))
    assert [(one.name, one.state, one.driver_pid) for one in desk.list()] == [("sort", "PENDING", None)]
    desk.tend()
    desk.tend()
    assert [name for name, _ in drivers.started] == ["sort"]
    assert desk.status("sort").driver_pid == drivers.started[0][1].pid


def test_a_driver_that_was_killed_is_replaced(desk: Desk, tmp_path: Path, drivers: Drivers) -> None:
    desk.submit(terms(tmp_path))
    desk.tend()
    drivers.kill()
    desk.tend()
    assert desk.status("sort").driver_pid == drivers.started[1][1].pid


def test_another_desk_leaves_drivers_alone_that_are_at_work(desk: Desk, tmp_path: Path, drivers: Drivers) -> None:
    desk.submit(terms(tmp_path))
    desk.tend()
    other = Desk(tmp_path / "jobs", drivers, bool)
    other.tend()
    assert len(drivers.started) == 1
    assert other.status("sort").state == "PENDING"


def test_a_job_whose_drivers_die_without_an_item_more_has_failed(desk: Desk, tmp_path: Path, drivers: Drivers) -> None:
    desk.submit(terms(tmp_path))
    with Ledger(tmp_path / "jobs" / "sort") as ledger:
        ledger.list_items(["0", "1"], "mark")
        for death in range(DEATHS + 1):
            desk.tend()
            drivers.kill()
            if death == 0:
                ledger.end([answered(0)])
    desk.tend()
    assert len(drivers.started) == DEATHS + 1
    status = desk.status("sort")
    assert (status.state, status.why) == (
        "FAILED",
        "5 drivers in a row died without an item more; see: isthmus jobs logs sort",
    )


def left_behind(root: Path, ends: tuple[str, ...]) -> None:
    """Job `sort` is over, and the driver that deployed `job-sort` died."""
    with Ledger(root / "sort") as ledger:
        ledger.note(OWN, "job-sort")
        for verb in ends:
            ledger.step(verb)


@pytest.mark.parametrize("ends", [("start", "fail"), ("start", "stop"), ("stop",), ("start", "succeed")])
def test_a_job_that_is_over_keeps_no_deployment(tmp_path: Path, drivers: Drivers, ends: tuple[str, ...]) -> None:
    asked: list[str] = []
    desk = Desk(tmp_path / "jobs", drivers, lambda name: asked.append(name) or len(asked) > 2)  # type: ignore[func-returns-value]
    desk.submit(terms(tmp_path))
    left_behind(tmp_path / "jobs", ends)
    desk.tend()
    with pytest.raises(JobError, match="'sort': its deployment job-sort is not gone yet; delete it again soon"):
        desk.delete("sort")
    for _ in range(3):
        desk.tend()
    assert asked == ["job-sort"] * 3
    desk.delete("sort")
    assert len(asked) == 3 and desk.list() == []


def test_a_deployment_is_not_taken_from_a_driver_at_work(desk: Desk, tmp_path: Path) -> None:
    def withdraw(name: str) -> bool:
        raise AssertionError(name)

    desk.submit(terms(tmp_path))
    desk.tend()
    left_behind(tmp_path / "jobs", ("start", "stop"))
    Desk(tmp_path / "jobs", Drivers(), withdraw).tend()


def test_no_more_than_a_few_jobs_run_at_once(desk: Desk, tmp_path: Path, drivers: Drivers) -> None:
    for number in range(AT_ONCE + 1):
        desk.submit(terms(tmp_path, f"sort-{number}", f"out-{number}.npz"))
    desk.tend()
    assert [name for name, _ in drivers.started] == [f"sort-{number}" for number in range(AT_ONCE)]


def test_a_name_in_use_or_impossible_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.submit(terms(tmp_path))
    with pytest.raises(JobError, match=r"a job 'sort' is there already; give another name, or: isthmus jobs delete"):
        desk.submit(terms(tmp_path))
    for name in ("../sort", "", "a b", ".sort"):
        with pytest.raises(JobError, match="letters, digits"):
            desk.check(terms(tmp_path, name))
        with pytest.raises(UnknownJob):
            desk.status(name)


def test_an_output_that_another_job_will_write_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.submit(terms(tmp_path))
    with pytest.raises(JobError, match=r"out\.npz is what job 'sort' will write"):
        desk.check(terms(tmp_path, "again"))


def test_what_cannot_be_done_is_refused_before_it_is_taken_in(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    good = terms(tmp_path)
    for wrong, why in {
        JobTerms(name="a", data=str(tmp_path / "empty"), output=good.output): "empty folder",
        JobTerms(name="a", data=good.data, output=str(tmp_path / "empty")): "exists",
        JobTerms(name="a", kind="script", script="/no/script.py"): r"no script /no/script\.py",
        JobTerms(name="a", data=good.data, output=good.output, in_flight=0): "must be above 0",
    }.items():
        with pytest.raises(JobError, match=why):
            desk.check(wrong)
    with pytest.raises(SpecError, match=r"no\.yaml"):
        desk.check(JobTerms(name="a", data=good.data, output=good.output, spec="/no.yaml"))
    assert desk.list() == []


def test_a_job_that_nobody_began_stops_at_once_and_can_be_deleted(desk: Desk, tmp_path: Path) -> None:
    desk.submit(terms(tmp_path))
    with pytest.raises(JobError, match=r"'sort' is PENDING; stop it first: isthmus jobs stop sort"):
        desk.delete("sort")
    assert desk.stop("sort").state == "STOPPED"
    with pytest.raises(JobError, match="'sort' has STOPPED already; there is nothing to stop"):
        desk.stop("sort")
    desk.delete("sort")
    with pytest.raises(UnknownJob, match="no job 'sort'; there are none"):
        desk.status("sort")
    assert list((tmp_path / "jobs").iterdir()) == []


def test_an_ended_cluster_leaves_no_driver_and_no_job_running(desk: Desk, tmp_path: Path, drivers: Drivers) -> None:
    desk.submit(terms(tmp_path))
    desk.tend()
    ((_, process),) = drivers.started
    desk.end(lambda pid: process.kill() if pid == process.pid else None)
    assert process.wait(10) == -9
    assert (desk.status("sort").state, desk.status("sort").why) == ("STOPPED", "the cluster was shut down")


def test_a_job_is_ended_once_its_driver_is_gone(
    desk: Desk, tmp_path: Path, drivers: Drivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    real = desk_module.finish

    def finish(ledger: Ledger, verb: str, why: str) -> None:
        held.append(lock.holder(ledger.folder) is not None)
        real(ledger, verb, why)

    monkeypatch.setattr(desk_module, "finish", finish)
    desk.submit(terms(tmp_path))
    desk.tend()
    process, late = drivers.started[0][1], []

    def kill(_pid: int) -> None:  # it lasts a while until it is gone
        if not late:
            late.append(threading.Timer(0.2, process.kill))
            late[0].start()

    desk.end(kill)
    assert held == [False]


def test_a_job_that_cannot_be_ended_leaves_no_other_running(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readonly(ledger: Ledger, _path: Path, job: str) -> None:
        if job == "first":
            raise OSError("read-only file system")

    desk.submit(terms(tmp_path, "first", "first.npz"))
    desk.submit(terms(tmp_path, "second", "second.npz"))
    monkeypatch.setattr(desk_module, "discard", readonly)
    desk.end(lambda _pid: None)
    assert [one.state for one in desk.list()] == ["PENDING", "STOPPED"]


def test_a_job_whose_ledger_is_broken_is_listed_as_failed_and_harms_no_other(desk: Desk, tmp_path: Path) -> None:
    desk.submit(terms(tmp_path))
    (tmp_path / "jobs" / "broken").mkdir()
    (tmp_path / "jobs" / "broken" / "job.sqlite").write_text("no database" * 100)
    assert [(one.name, one.state) for one in desk.list()] == [("broken", "FAILED"), ("sort", "PENDING")]
    desk.tend()
    assert desk.status("sort").driver_pid


def test_a_job_that_cannot_be_ended_stops_no_other(
    desk: Desk, tmp_path: Path, drivers: Drivers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_ledger: Ledger, _verb: str, _why: str = "") -> None:
        raise LedgerFull("the disk is full; make room")

    desk.submit(terms(tmp_path, "first", "first.npz"))
    for _ in range(DEATHS):
        desk.tend()
        drivers.kill()
    desk.submit(terms(tmp_path, "second", "second.npz"))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "step", full)
        for _ in range(3):
            desk.tend()
    assert desk.status("second").driver_pid
    said = [one.getMessage() for one in caplog.records if one.name.startswith("orchestrator")]
    assert said == ["job first: the disk is full; make room"]
    desk.tend()
    assert desk.status("first").state == "FAILED"


def test_a_deployment_whose_end_could_not_be_noted_is_withdrawn_again(
    tmp_path: Path, drivers: Drivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_ledger: Ledger, _key: str, _value: str) -> None:
        raise LedgerFull("the disk is full; make room")

    asked: list[str] = []
    desk = Desk(tmp_path / "jobs", drivers, lambda name: asked.append(name) or True)  # type: ignore[func-returns-value]
    desk.submit(terms(tmp_path))
    left_behind(tmp_path / "jobs", ("stop",))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note", full)
        desk.tend()
    desk.tend()
    desk.tend()
    assert asked == ["job-sort"] * 2


def test_the_rate_is_that_of_late_and_tells_what_is_left() -> None:
    assert progress(total=100, done=40, lately=30, since_s=0.0, now_s=1000.0) == Progress(rate_per_s=1.0, eta_s=60.0)
    assert progress(total=100, done=40, lately=20, since_s=990.0, now_s=1000.0) == Progress(rate_per_s=2.0, eta_s=30.0)
    assert progress(total=100, done=40, lately=0, since_s=0.0, now_s=1000.0) == Progress(rate_per_s=None, eta_s=None)


def test_a_driver_imports_ray_only_once_it_has_told_it_whom_to_outlive() -> None:
    code = "import sys, orchestrator.jobs.driver, orchestrator.outliving; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
