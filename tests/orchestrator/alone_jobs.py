"""Jobs on a real cluster: what dies is made up for, every item ends once, what was for a job alone does not stay."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from orchestrator.errors import UnknownDeployment
from orchestrator.jobs.desk import DEATHS
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.on_ray import renew_desk
from orchestrator.spec import load_spec
from tests.eventually import eventually, processes_naming
from tests.orchestrator.sorting import Site, pictures, seen, sorted_as, sorting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        with sorting(folder) as found:
            yield found


def test_a_job_whose_worker_controller_and_driver_are_killed_has_every_result_once(here: Site, tmp_path: Path) -> None:
    client, jobs = here.client, here.client.jobs
    frames = pictures(tmp_path / "data", 300)
    before, node_of = client.status(), client.plan("sort").stages[-1].node
    name = jobs.submit(tmp_path / "data", tmp_path / "out.npz", deployment="sort", in_flight=2)
    seen(client, name, 20)
    os.kill(before["workers"][node_of]["pid"], signal.SIGKILL)
    seen(client, name, 70)
    os.kill(before["controller"]["pid"], signal.SIGKILL)
    driver = seen(client, name, 120).driver_pid
    assert driver is not None
    os.kill(driver, signal.SIGKILL)
    status = jobs.wait(name, timeout_s=120)
    assert (status.state, status.total, status.done, status.failed, status.restarts) == ("SUCCEEDED", 300, 300, 0, 1)
    with np.load(tmp_path / "out.npz") as out:
        assert out["item"].tolist() == sorted(frames)
        np.testing.assert_allclose(out["y"], [sorted_as(frames[item]) for item in out["item"]], atol=1e-2)
    after = client.status()
    assert after["controller"]["pid"] != before["controller"]["pid"]
    assert after["workers"][node_of]["pid"] != before["workers"][node_of]["pid"]


def test_items_that_fail_are_listed_with_their_reasons_and_the_others_answered(here: Site, tmp_path: Path) -> None:
    frames = pictures(tmp_path / "data", 3)
    (tmp_path / "data" / "0001.png").write_text("this is no picture")
    name = here.client.jobs.submit(tmp_path / "data", tmp_path / "out.jsonl", deployment="sort")
    status = here.client.jobs.wait(name, timeout_s=60)
    assert (status.state, status.done, status.failed, status.why) == ("SUCCEEDED", 3, 1, "3 items, 1 failed")
    ((item, reason),) = status.failures
    assert item == "0001.png" and "0001.png is no picture" in reason
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == ["0000.png", "0002.png", "0001.png"]
    np.testing.assert_allclose(lines[1]["outputs"]["y"], sorted_as(frames["0002.png"]), atol=1e-2)


def test_a_job_of_which_nothing_is_answered_has_failed_and_writes_nothing(here: Site, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"frame": [1, 2]}\n{"other": 1}\n')
    name = here.client.jobs.submit(tmp_path / "rows.jsonl", tmp_path / "out.npz", deployment="sort")
    status = here.client.jobs.wait(name, timeout_s=60)
    assert status.state == "FAILED"
    assert status.why.startswith("none of 2 items was answered; the first: 0: sort: frame has shape [2]")
    assert not (tmp_path / "out.npz").exists()


TIERS = (("camera", "device"), ("cloud", "cloud"))


def own_spec(here: Site, folder: Path) -> Path:
    """Of a deployment that a job may have for itself."""
    nodes = [{"name": name, "tier": tier, "backends": ["onnxruntime"]} for name, tier in TIERS]
    link = {"from": "camera", "to": "cloud", "goodput_mbps": 100, "rtt_ms": 1}
    told = {"name": "own", "model": str(here.model), "topology": {"nodes": nodes, "links": [link]}}
    (folder / "spec.yaml").write_text(yaml.safe_dump(told | {"inputs": {"frame": {"at": "camera"}}}))
    return folder / "spec.yaml"


def test_a_deployment_of_a_job_s_own_is_there_for_the_job_alone(here: Site, tmp_path: Path) -> None:
    frames, jobs = pictures(tmp_path / "data", 20), here.client.jobs
    name = jobs.submit(tmp_path / "data", tmp_path / "out", spec=own_spec(here, tmp_path), name="mine")
    eventually(lambda: "job-mine" in here.client.status()["deployments"], what="it is deployed", within_s=60)
    status = jobs.wait(name, timeout_s=120)
    assert (status.state, status.done) == ("SUCCEEDED", 20), status
    assert "job-mine" not in here.client.status()["deployments"]
    with np.load(tmp_path / "out" / "0007.png.npz") as out:
        np.testing.assert_allclose(out["y"], sorted_as(frames["0007.png"]), atol=1e-2)


def test_a_job_whose_drivers_die_is_given_up_and_keeps_no_deployment(here: Site, tmp_path: Path) -> None:
    pictures(tmp_path / "data", 1000)
    jobs, killed = here.client.jobs, list[int]()
    jobs.submit(tmp_path / "data", tmp_path / "out", spec=own_spec(here, tmp_path), name="lost", in_flight=1)
    eventually(lambda: "job-lost" in here.client.status()["deployments"], what="it is deployed", within_s=60)

    def given_up() -> bool:
        status = jobs.status("lost")
        if status.driver_pid not in (None, *killed):
            killed.append(status.driver_pid)
            os.kill(killed[-1], signal.SIGKILL)
        return status.is_over

    eventually(given_up, what="it is given up", within_s=120)
    assert jobs.status("lost").why.startswith(f"{DEATHS} drivers in a row died")
    eventually(lambda: "job-lost" not in here.client.status()["deployments"], what="it is deleted", within_s=60)


def test_a_job_does_not_take_a_deployment_over_that_has_the_name_of_its_own(here: Site, tmp_path: Path) -> None:
    pictures(tmp_path / "data", 1)
    here.client.deploy(replace(load_spec(own_spec(here, tmp_path)), name="job-theirs"))
    jobs = here.client.jobs
    jobs.submit(tmp_path / "data", tmp_path / "out", spec=tmp_path / "spec.yaml", name="theirs")
    status = jobs.wait("theirs", timeout_s=60)
    assert (status.state, "a deployment 'job-theirs' that is not this job's" in status.why) == ("FAILED", True)
    assert here.client.status()["deployments"]["job-theirs"]["state"] == "running"
    here.client.delete("job-theirs")


def test_a_job_that_is_stopped_writes_nothing_and_its_driver_ends(here: Site, tmp_path: Path) -> None:
    pictures(tmp_path / "data", 500)
    jobs = here.client.jobs
    name = jobs.submit(tmp_path / "data", tmp_path / "out.npz", deployment="sort", in_flight=1)
    seen(here.client, name, 5)
    status = jobs.stop(name)
    assert (status.state, status.done < 500) == ("STOPPED", True)
    eventually(lambda: jobs.status(name).driver_pid is None, what="the driver has ended")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    with pytest.raises(JobError, match="has STOPPED already"):
        jobs.stop(name)
    jobs.delete(name)
    assert name not in [one.name for one in jobs.list()]


def test_what_cannot_be_submitted_is_refused_in_a_line(here: Site, tmp_path: Path) -> None:
    pictures(tmp_path / "data", 1)
    jobs, data, out = here.client.jobs, tmp_path / "data", tmp_path / "out.npz"
    with pytest.raises(UnknownDeployment, match="no deployment 'none'; there is sort"):
        jobs.submit(data, out, deployment="none")
    with pytest.raises(JobError, match="give one of them"):
        jobs.submit(data, out)
    with pytest.raises(JobError, match="no dataset"):
        jobs.submit(tmp_path / "none", out, deployment="sort")
    with pytest.raises(JobError, match="no job 'none'"):
        jobs.status("none")


def test_a_script_is_a_job_that_succeeds_fails_or_is_stopped(here: Site, tmp_path: Path) -> None:
    jobs = here.client.jobs
    script = tmp_path / "script.py"
    script.write_text("import sys, os\nprint('heard', sys.argv[1:], os.getcwd())\nsys.exit(int(sys.argv[1]))\n")
    good = jobs.submit_script(script, ["0", "a b"], folder=tmp_path)
    bad = jobs.submit_script(script, ["3"], folder=tmp_path)
    assert jobs.wait(good, timeout_s=60).state == "SUCCEEDED"
    assert f"heard ['0', 'a b'] {tmp_path}" in jobs.logs(good)
    ended = jobs.wait(bad, timeout_s=60)
    assert (ended.state, ended.why) == (
        "FAILED",
        f"{script} ended with status 3; see: isthmus jobs logs {bad}",
    )
    script.write_text("import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)\n")
    long = jobs.submit_script(script, folder=tmp_path)
    said = eventually(lambda: [line for line in jobs.logs(long).splitlines() if line.startswith("pid")], within_s=60)
    assert jobs.stop(long).state == "STOPPED"
    assert not Path(f"/proc/{said[0].split()[1]}").exists()


def test_a_script_that_dies_with_its_driver_has_failed_and_does_not_run_twice(here: Site, tmp_path: Path) -> None:
    jobs, script = here.client.jobs, tmp_path / "script.py"
    script.write_text("import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)\n")
    name = jobs.submit_script(script, folder=tmp_path)
    (said,) = eventually(lambda: [line for line in jobs.logs(name).splitlines() if line[:3] == "pid"], within_s=60)
    driver = jobs.status(name).driver_pid
    assert driver is not None
    os.kill(driver, signal.SIGKILL)
    status = jobs.wait(name, timeout_s=60)
    assert (status.state, status.why) == (
        "FAILED",
        f"{script}: it was killed with its driver; submit it again under another name",
    )
    assert not Path(f"/proc/{said.split()[1]}").exists()
    assert jobs.logs(name).count("pid") == 1


def test_a_desk_that_was_renewed_leaves_drivers_at_work(here: Site, tmp_path: Path) -> None:
    pictures(tmp_path / "data", 1000)
    name = here.client.jobs.submit(tmp_path / "data", tmp_path / "out.npz", deployment="sort", in_flight=1)
    driver = seen(here.client, name, 5).driver_pid
    renew_desk(here.client.facts)
    status = seen(here.client, name, 6)
    assert (status.driver_pid, status.restarts) == (driver, 0)
    assert here.client.jobs.stop(name).state == "STOPPED"


def test_a_cluster_that_ends_takes_its_drivers_and_scripts_along(here: Site, tmp_path: Path) -> None:
    cluster, script = here.client._own, tmp_path / "script.py"
    assert cluster is not None
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    name = here.client.jobs.submit_script(script, folder=tmp_path)
    eventually(lambda: "begun" in here.client.jobs.logs(name), what="the script has begun", within_s=60)
    assert processes_naming(str(script))
    here.client.close()
    eventually(lambda: not processes_naming(cluster.folder), what="no driver is left")
    eventually(lambda: not processes_naming(str(script)), what="no script is left")
