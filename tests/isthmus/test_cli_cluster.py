"""The verbs against a local cluster that stays: each a process of its own, as in a terminal."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.client import Client
from tests.isthmus.foreground import environment
from tests.isthmus.given import CAMERA, model_file, spec_file, topology_file

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Terminal:
    """Runs verbs with the shared cluster's home, in a folder where "classify" was deployed from."""

    home: Path
    folder: Path

    def type(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "isthmus", *map(str, arguments)]
        run = subprocess.run(
            command, env=environment(self.home), capture_output=True, text=True, timeout=120, check=False
        )
        print(command, run.stdout, run.stderr)  # noqa: T201 (shown when a test fails)
        return run

    def json(self, *arguments: object) -> Any:
        done = self.type(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def input(self, **arrays: "np.ndarray[Any, Any]") -> Path:
        np.savez(self.folder / "input.npz", allow_pickle=False, **arrays)
        return self.folder / "input.npz"


@pytest.fixture(scope="module")
def terminal(shared_client: Client, cluster_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("site")
    terminal = Terminal(cluster_home, folder)
    spec = spec_file(folder, model_file(folder), topology_file(folder))
    deployed = terminal.json("deploy", spec)
    assert (deployed["name"], deployed["epoch"]) == ("classify", 1)
    yield terminal
    assert terminal.json("delete", "classify") == {"deleted": "classify"}


def test_status_tells_what_runs_where(terminal: Terminal) -> None:
    status = terminal.json("status")
    assert status["deployments"]["classify"]["state"] == "running"
    assert {"camera", "cloud"} <= set(status["workers"])


def test_a_traced_answer_tells_outputs_and_hops(terminal: Terminal) -> None:
    answer = terminal.json("infer", "classify", "--input", terminal.input(x=np.zeros((1, 8), np.float32)), "--trace")
    assert answer["outputs"]["y"] == {"dtype": "float32", "shape": [1, 4], "data": [[0.0] * 4]}
    assert [set(hop) for hop in answer["hops"]] == [{"stage", "code", "queue_s", "decode_s", "compute_s", "encode_s"}]


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, "classify: x is missing"),
        ({"x": np.zeros((1, 8), np.float32), "z": np.zeros(1)}, "classify: z is not an input"),
        ({"x": np.zeros((1, 8), np.int64)}, "classify: x is int64, wants float32"),
        ({"x": np.zeros((2, 8), np.float32)}, "classify: x has shape [2, 8], wants [1, 8]"),
    ],
    ids=["missing", "surplus", "dtype", "shape"],
)
def test_input_that_does_not_fit_is_refused(terminal: Terminal, arrays: dict[str, Any], told: str) -> None:
    refused = terminal.type("infer", "classify", "--input", terminal.input(**arrays))
    assert refused.returncode == 1
    assert refused.stderr == f"isthmus: {told} (it takes x: float32[1, 8])\n"


def test_logs_tell_of_the_stage(terminal: Terminal) -> None:
    assert any("stage ready" in json.dumps(line) for line in terminal.json("logs", "classify"))


def test_an_unknown_deployment_is_named_with_those_there_are(terminal: Terminal) -> None:
    refused = terminal.type("delete", "other")
    assert (refused.returncode, refused.stderr) == (1, "isthmus: no deployment 'other'; there is classify\n")


def test_a_deployment_that_fails_leaves_the_cluster_and_what_runs_alone(terminal: Terminal, tmp_path: Path) -> None:
    small = topology_file(tmp_path, nodes=[CAMERA | {"memory_mb": 0.0001}], links=[])
    refused = terminal.type("deploy", spec_file(tmp_path, model_file(tmp_path), small, name="tight"))
    assert refused.returncode == 1
    assert refused.stderr.startswith("isthmus: tight: no plan fits: memory: ")
    assert terminal.json("status")["deployments"]["classify"]["state"] == "running"


def test_a_job_is_submitted_told_of_and_deleted(terminal: Terminal) -> None:
    data, out = terminal.input(x=np.zeros((3, 8), np.float32)), terminal.folder / "answers.jsonl"
    words = ("jobs", "submit", data, "--deployment", "classify", "--output", out, "--name", "three")
    ended = terminal.json(*words, "--wait")
    assert (ended["state"], ended["done"], ended["failures"]) == ("SUCCEEDED", 3, [])
    assert [json.loads(line)["outputs"]["y"] for line in out.read_text().splitlines()] == [[[0.0] * 4]] * 3
    assert [job["name"] for job in terminal.json("jobs", "list")] == ["three"]
    assert "three SUCCEEDED" in terminal.type("jobs", "list").stdout.replace("  ", " ")
    assert "job three: SUCCEEDED, 3 of 3 items" in terminal.type("jobs", "status", "three").stdout
    assert "job three: SUCCEEDED 3 items" in terminal.type("jobs", "logs", "three").stdout
    again = terminal.type(*words)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "answers.jsonl exists; give another output" in again.stderr
    stopped = terminal.type("jobs", "stop", "three")
    assert stopped.stderr == "isthmus: job 'three' has SUCCEEDED already; there is nothing to stop\n"
    assert terminal.json("jobs", "delete", "three") == {"deleted": "three"}
    assert terminal.type("jobs", "status", "three").stderr == "isthmus: no job 'three'; there are none\n"
