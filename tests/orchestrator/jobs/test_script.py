"""A script begins once, whoever drives its job: nobody knows how far one got that was killed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.jobs import lock, script
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.ledger import Ledger
from orchestrator.jobs.script import run_script
from orchestrator.jobs.terms import Cluster, JobTerms

ROOT = Path(__file__).parents[3]
CLUSTER = Cluster(address="127.0.0.1:1", folder="/none", emulated=True)


@pytest.fixture
def terms(tmp_path: Path) -> JobTerms:
    """Of a script that writes down that it began."""
    path, began = tmp_path / "script.py", tmp_path / "began"
    path.write_text(f"open({str(began)!r}, 'a').write('once')\n")
    return JobTerms(name="night", kind="script", script=str(path), folder=str(tmp_path))


@pytest.fixture
def ledger(tmp_path: Path, terms: JobTerms) -> Iterator[Ledger]:
    (tmp_path / "job").mkdir()
    with Ledger(tmp_path / "job", make=True) as found:
        found.begin(terms)
        yield found


def test_one_that_began_is_not_run_again(
    ledger: Ledger, terms: JobTerms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ray_jobs", lambda _cluster: None)
    assert run_script(ledger, terms, CLUSTER, is_again=False) == "its script ended with status 0"
    with pytest.raises(JobError, match="was killed with its driver; submit it again under another name"):
        run_script(ledger, terms, CLUSTER, is_again=True)
    assert (tmp_path / "began").read_text() == "once"


def test_one_that_ray_jobs_may_run_is_not_run_here(
    ledger: Ledger, terms: JobTerms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.note("ray job", "isthmus-night-1")
    monkeypatch.setattr(script, "ray_jobs", lambda _cluster: None)
    monkeypatch.setattr(script, "AWAY_S", -1.0)
    with pytest.raises(JobError, match=r"which run .* as isthmus-night-1, do not answer"):
        run_script(ledger, terms, CLUSTER, is_again=True)
    assert not (tmp_path / "began").exists()


@pytest.mark.slow
def test_of_two_drivers_one_alone_is_at_it(ledger: Ledger, tmp_path: Path) -> None:
    given = [f"--state={ledger.folder}", "--address=127.0.0.1:1", "--folder=/none", "--emulated"]
    command = [sys.executable, "-m", "orchestrator.jobs.driver", *given]
    with lock.held(ledger.folder) as is_ours:
        assert is_ours
        assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0
    assert [step.verb for step in ledger.steps()] == ["submit"]
    assert not (tmp_path / "began").exists()
