"""The local Ray: what is remembered of it, and that it ends whole. Stand-ins replace Ray."""

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import local_cluster
from orchestrator.errors import ClusterError
from orchestrator.local_cluster import LocalCluster, forget, remember, remembered, session_pids, worker_pids
from tests.eventually import eventually

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[LocalCluster]:
    """A session of two processes that stands for a running Ray."""
    twice = f"import subprocess, time; subprocess.Popen({SLEEPER!r}); time.sleep(600)"
    head = subprocess.Popen([sys.executable, "-c", twice, str(tmp_path / "ray")], start_new_session=True)
    cluster = LocalCluster(address="127.0.0.1:1", token="t", pid=head.pid, folder=str(tmp_path / "ray"))
    eventually(lambda: len(session_pids(head.pid)) == 2, what="both processes")
    yield cluster
    cluster.stop()
    head.wait(10)


def test_stopping_ends_every_process_of_the_session(session: LocalCluster) -> None:
    session.stop()
    assert session_pids(session.pid) == []
    assert not session.is_alive()


def test_stopping_ends_workers_that_are_daemons_of_their_own(session: LocalCluster) -> None:
    worker = [*SLEEPER, f"--state={session.folder}/isthmus/workers/camera"]
    stranger = [*SLEEPER, f"--state={session.folder}x/workers/camera"]
    with (
        subprocess.Popen(worker, start_new_session=True) as ours,
        subprocess.Popen(stranger, start_new_session=True) as other,
    ):
        eventually(lambda: worker_pids(session.folder) == [ours.pid], what="the worker is found, it alone")
        session.stop()
        assert (ours.wait(10), other.poll()) == (-signal.SIGKILL, None)
        other.kill()


def test_a_remembered_cluster_is_found_while_it_runs(session: LocalCluster) -> None:
    remember(session)
    assert remembered() == session
    session.stop()
    assert remembered() is None
    assert not (local_cluster.state_folder() / "cluster.json").exists()


def test_only_its_user_may_read_what_is_remembered(session: LocalCluster) -> None:
    remember(session)
    assert stat.S_IMODE((local_cluster.state_folder() / "cluster.json").stat().st_mode) == 0o600
    forget()
    assert remembered() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"address": "127.0.0.1:1"}'])
def test_a_torn_memory_is_no_cluster(text: str) -> None:
    (local_cluster.state_folder() / "cluster.json").write_text(text)
    assert remembered() is None


def test_another_process_under_a_recycled_id_is_not_taken_for_it(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER, start_new_session=True) as stranger:
        stale = LocalCluster(address="127.0.0.1:1", token="t", pid=stranger.pid, folder=str(tmp_path / "gone"))
        remember(stale)
        assert remembered() is None
        stale.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_ray_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "_short_folder", lambda: str(tmp_path))
    monkeypatch.setattr(local_cluster, "_FREE", "import sys; sys.exit('no room for Ray')")
    with pytest.raises(ClusterError, match=r"Ray did not start on port \d+: no room for Ray \(see .*start\.log\)"):
        local_cluster.start(tied=False)
