"""Scripts on a Ray cluster that has its dashboard: Ray Jobs run them, and they outlive their drivers."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import local_cluster
from orchestrator.client import Client
from orchestrator.jobs.errors import UnknownJob
from tests.eventually import eventually

pytestmark = pytest.mark.slow
HEAD = "from ray.scripts.scripts import main; main()"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a head as an owner starts it, but for its ports, which are free ones."""
    home, short = tmp_path_factory.mktemp("home"), tempfile.mkdtemp(prefix="ray-", dir=local_cluster._short_folder())
    port, board = local_cluster._free_port(), local_cluster._free_port()
    options = [
        f"--port={port}",
        f"--dashboard-port={board}",
        f"--dashboard-agent-listen-port={local_cluster._free_port()}",
    ]
    options += ["--node-ip-address=127.0.0.1", "--include-dashboard=true", f"--temp-dir={short}", "--num-cpus=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with (home / "log").open("wb") as log:
            command = [sys.executable, "-c", HEAD, "start", "--head", "--block", *options]
            head = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            eventually(lambda: "--block" in (home / "log").read_text(), what="the head is up", within_s=90)
            with Client(f"127.0.0.1:{port}") as found:
                yield found
                found.shutdown()
        finally:
            local_cluster.end_session(head.pid)
            head.wait()
            shutil.rmtree(short, ignore_errors=True)


def test_ray_jobs_run_a_script_which_goes_on_when_its_driver_is_killed(client: Client, tmp_path: Path) -> None:
    jobs, script, over = client.jobs, tmp_path / "script.py", tmp_path / "over"
    script.write_text(
        "import os, pathlib, sys, time\nprint('heard', sys.argv[1:], os.getcwd(), flush=True)\n"
        f"while not pathlib.Path({str(over)!r}).exists():\n    time.sleep(0.05)\n"
    )
    name = jobs.submit_script(script, ["a b"], folder=tmp_path, name="night")
    heard = f"heard ['a b'] {tmp_path}"
    eventually(lambda: heard in jobs.logs(name), what="the script has begun", within_s=120)
    driver = jobs.status(name).driver_pid
    assert driver is not None
    os.kill(driver, signal.SIGKILL)
    status = eventually(lambda: found if (found := jobs.status(name)).restarts else None, within_s=60)
    assert status.state == "RUNNING"
    over.touch()
    status = jobs.wait(name, timeout_s=60)
    assert (status.state, status.why) == ("SUCCEEDED", "its script ended with status 0")
    jobs.delete(name)
    with pytest.raises(UnknownJob):
        jobs.status(name)


def test_ray_jobs_stop_a_script_and_tell_why_one_failed(client: Client, tmp_path: Path) -> None:
    jobs, script = client.jobs, tmp_path / "script.py"
    script.write_text(
        "import sys, time\nprint('begun', flush=True)\ntime.sleep(600 * (len(sys.argv) < 2))\nsys.exit(3)\n"
    )
    bad, long = jobs.submit_script(script, ["now"], folder=tmp_path), jobs.submit_script(script, folder=tmp_path)
    status = jobs.wait(bad, timeout_s=120)
    assert status.state == "FAILED" and "exit code 3" in status.why, status
    eventually(lambda: "begun" in jobs.logs(long), what="the script has begun", within_s=120)
    assert jobs.stop(long, timeout_s=60).state == "STOPPED"
