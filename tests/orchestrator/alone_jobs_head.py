"""Ray's head dies under a job: its driver goes on, and the head that comes after has a desk that looks after it."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from orchestrator import local_cluster
from orchestrator.jobs.desk import Desk
from orchestrator.jobs.on_ray import is_there
from tests.eventually import eventually
from tests.orchestrator.alone_recovery import answers_again, revived
from tests.orchestrator.sorting import pictures, seen, sorted_as, sorting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
COUNT = 4000  # more than are answered before the next head is there


def not_started(_folder: Path) -> int:
    raise AssertionError("this desk only looks")


def test_a_job_outlives_ray_s_head_and_is_looked_after_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    frames = pictures(tmp_path / "data", COUNT)
    with sorting(tmp_path) as here:
        client, cluster = here.client, here.client._own
        assert cluster is not None
        name = client.jobs.submit(tmp_path / "data", tmp_path / "out.npz", deployment="sort", in_flight=1)
        driver = seen(client, name, 20).driver_pid
        local_cluster.end_session(cluster.pid)
        looker = Desk(Path(cluster.folder) / "isthmus" / "jobs", not_started, bool)
        done = looker.status(name).done
        eventually(lambda: looker.status(name).done > done + 20, what="the job goes on without Ray", within_s=60)
        eventually(lambda: not answers_again(client), what="the head is given up", within_s=60)
        head = revived(cluster)
        try:
            eventually(lambda: answers_again(client), what="a new controller answers", within_s=90)
            eventually(is_there, what="the driver has seen to it that there is a desk", within_s=60)
            assert looker.status(name).driver_pid == driver is not None
            os.kill(driver, signal.SIGKILL)
            again = eventually(lambda: looker.status(name).restarts, what="another driver took over", within_s=90)
            assert (again, looker.status(name).state) == (1, "RUNNING")
            status = client.jobs.wait(name, timeout_s=200)
            assert (status.state, status.done, status.failed) == ("SUCCEEDED", COUNT, 0)
            with np.load(tmp_path / "out.npz") as out:
                np.testing.assert_allclose(out["y"], [sorted_as(frames[item]) for item in sorted(frames)], atol=1e-2)
        finally:
            print(looker.logs(name))  # noqa: T201 (shown when the test fails)
            client.close()
            local_cluster.end_session(head.pid)
