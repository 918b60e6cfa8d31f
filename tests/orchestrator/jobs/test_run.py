"""What a dataset job has for itself, and how it ends."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from orchestrator.jobs import driver, run
from orchestrator.jobs.dataset import open_dataset
from orchestrator.jobs.desk import Desk
from orchestrator.jobs.ledger import OWN, STOP, Ledger
from orchestrator.jobs.run import own_deployment
from orchestrator.jobs.terms import Cluster, JobTerms
from orchestrator.topology_spec import NAME
from tests.orchestrator.jobs.ledgers import answered, begun

ROOT = Path(__file__).parents[3]
DRIVES = [sys.executable, "-m", "orchestrator.jobs.driver"]
DIES = """
import os, signal, sys
from orchestrator.jobs import driver
from orchestrator.jobs.ledger import Ledger
real = Ledger.step
def step(ledger, verb, why=""):
    if verb == "succeed":
        os.kill(os.getpid(), signal.SIGKILL)
    real(ledger, verb, why)
Ledger.step = step
driver.main(sys.argv[1:])
"""


def drive(folder: Path, command: list[str]) -> int:
    """Have a driver go through a job of which every item has ended: it needs no cluster."""
    given = [f"--state={folder}", "--address=127.0.0.1:1", f"--folder={folder}", "--emulated"]
    return subprocess.run([*command, *given], cwd=ROOT, check=False, timeout=60, capture_output=True).returncode


def never(_folder: Path) -> int:
    raise AssertionError("no driver is wanted any more")


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a job whose driver was killed between its output's publishing and telling that it succeeded."""
    np.savez(tmp_path / "rows.npz", allow_pickle=False, x=np.zeros((2, 3), np.float32))
    desk, data, out = Desk(tmp_path / "jobs", never, bool), tmp_path / "rows.npz", tmp_path / "out.npz"
    desk.submit(JobTerms(name="sort", data=str(data), output=str(out), deployment="two"))
    folder, dataset = tmp_path / "jobs" / "sort", open_dataset(data)
    with Ledger(folder) as ledger:
        ledger.list_items(dataset.ids(), dataset.mark)
        ledger.end([answered(0), answered(1)])
    assert drive(folder, [sys.executable, "-c", DIES]) == -9
    assert out.exists() and desk.status("sort").state == "RUNNING"
    return folder


def ended(folder: Path) -> tuple[str, str]:
    with Ledger(folder) as ledger:
        return ledger.state, ledger.steps()[-1].why


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["nothing", "moved", "replaced", "stop", "no dataset"])
def test_a_job_whose_output_is_out_has_succeeded_whatever_came_after(
    killed: Path, tmp_path: Path, meanwhile: str
) -> None:
    out, told = tmp_path / "out.npz", None
    if meanwhile in ("moved", "replaced"):
        out.rename(tmp_path / "taken.npz")
    if meanwhile == "replaced":
        out.write_text("mine")
    if meanwhile == "no dataset":
        (tmp_path / "rows.npz").unlink()
    if meanwhile == "stop":
        Desk(tmp_path / "jobs", never, bool).stop("sort")
    told = out.read_bytes() if out.exists() else None
    assert drive(killed, DRIVES) == 0
    assert ended(killed) == ("SUCCEEDED", "2 items")
    assert (out.read_bytes() if out.exists() else None) == told


@pytest.mark.slow
def test_a_cluster_that_ends_leaves_a_job_whose_output_is_out_as_one_that_succeeded(
    killed: Path, tmp_path: Path
) -> None:
    with Ledger(killed) as ledger:
        ledger.note(STOP, "1")
    Desk(tmp_path / "jobs", never, bool).end(lambda _pid: None)
    assert ended(killed) == ("SUCCEEDED", "2 items")
    assert (tmp_path / "out.npz").exists()


class Standing:
    """A controller that has the deployment `job-sort` running."""

    def ask(self, method: str) -> object:
        assert method == "status"
        return {"deployments": {"job-sort": {"state": "running"}}}


@pytest.fixture
def terms(tmp_path: Path) -> JobTerms:
    return JobTerms(name="sort", data="/data", output=str(tmp_path / "out.npz"), spec="/spec.yaml")


@pytest.fixture
def spec_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Spec:
        name: str = ""

    monkeypatch.setattr(run, "load_spec", lambda _path: Spec())


@pytest.mark.usefixtures("spec_is_read")
def test_a_job_that_the_version_before_began_goes_on_with_its_deployment(tmp_path: Path, terms: JobTerms) -> None:
    with begun(tmp_path / "job") as ledger:
        assert run._deployed(Standing(), ledger, terms) == "job-sort"  # type: ignore[arg-type]
        assert ledger.fact(OWN) == "job-sort"  # and is withdrawn when the job is over


@pytest.mark.usefixtures("spec_is_read")
def test_another_deployment_of_that_name_is_not_taken(
    tmp_path: Path, terms: JobTerms, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def work(ledger: Ledger, terms: JobTerms, _cluster: Cluster, *, is_again: bool) -> str:
        found.append(run._deployed(Standing(), ledger, terms))  # type: ignore[arg-type]
        return "done"

    monkeypatch.setattr(driver, "_work", work)
    with Ledger(tmp_path, make=True) as ledger:
        ledger.begin(terms)
        driver.drive(ledger, Cluster(address="", folder="", emulated=True))
        assert (found, ledger.state) == ([], "FAILED")
        assert "is not this job's" in ledger.steps()[-1].why


def test_no_two_jobs_have_one_deployment() -> None:
    jobs = ["mine", *("a" * length for length in range(57, 64)), "a" * 62 + "b"]
    made = [own_deployment(job) for job in jobs]
    jobs += [name[4:] for name in made if name[4:] not in jobs]  # named after what others have
    names = {own_deployment(job) for job in jobs}
    assert len(names) == len(jobs) and all(re.match(NAME, name) for name in names)
    assert made[:2] == ["job-mine", "job-" + "a" * 57]
