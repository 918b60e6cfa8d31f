"""`isthmus select --address`: a Ray head with one host, a node of which it is, and one whose worker stands alone."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.local_cluster import end_session, worker_pids
from tests.eventually import eventually
from tests.isthmus.foreground import environment
from tests.isthmus.given import CAMERA, UPLINK, model_file, topology_file
from tests.nodes.workers import start

pytestmark = [pytest.mark.slow, pytest.mark.alone]
ASKED = ("--backends", "onnxruntime", "--variants", "float32", "--batches", "1", "--nodes", "camera,board")


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray head whose host is the node camera."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    folder = tempfile.mkdtemp(prefix="isthmus-", dir="/tmp")  # short, for Ray's sockets
    command += [f"--port={port}", f"--temp-dir={folder}", "--num-cpus=0"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=200000000"]
    environ = environment(tmp_path / "home") | {
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
    }
    log = tmp_path / "ray.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--labels=isthmus-node=camera"], env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        eventually(lambda: "--block" in log.read_text(), within_s=60.0, what=f"Ray ({log})")
        yield f"127.0.0.1:{port}"
    finally:
        for pid in worker_pids(str(tmp_path)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end_session(process.pid)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def select(home: Path, *arguments: object) -> Any:
    command = [sys.executable, "-m", "isthmus", "select", *map(str, arguments), "--json"]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nodes_of_a_cluster_measure_themselves_and_a_second_time_all_is_known(head: str, tmp_path: Path) -> None:
    board = start(tmp_path, node="board")
    try:
        nodes = [CAMERA, CAMERA | {"name": "board", "tier": "edge", "address": board.address}]
        topology = topology_file(tmp_path, nodes=nodes, links=[UPLINK | {"to": "board"}])
        asked = (model_file(tmp_path), "--address", head, "-T", topology, *ASKED)
        told = select(tmp_path / "home", *asked)
        assert [(one["node"], one["state"]) for one in sorted(told["rows"], key=lambda one: one["node"])] == [
            ("board", "ran"),
            ("camera", "ran"),
        ]
        assert select(tmp_path / "home", *asked)["resumed"] == 2
        found = select(tmp_path / "home", *asked[:3], *ASKED[:-1], "camera")  # by its label, without a topology
        assert ([one["node"] for one in found["rows"]], found["resumed"]) == (["camera"], 1)
    finally:
        board.end()
