"""`isthmus gateway` in front of a real cluster: what is deployed can be asked, what is deleted can't, and it goes on
while the controller is away.
"""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.client import Client
from tests.eventually import eventually
from tests.isthmus.conftest import Isthmus
from tests.isthmus.foreground import Foreground
from tests.isthmus.given import model_file, spec_file, topology_file

pytestmark = pytest.mark.slow
ROW = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [0.0] * 8}


class Door:
    """A gateway's REST."""

    def __init__(self, port: int, metrics: int) -> None:
        self.base, self._metrics = f"http://127.0.0.1:{port}", metrics

    def figure(self, line: str) -> float:
        """The value of a line of its metrics; 0 if there is none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=30) as response:
            told = dict(one.rsplit(" ", 1) for one in response.read().decode().splitlines() if one[0] != "#")
        return float(told.get(line, 0.0))

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"{self.base}{path}", data, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def infer(self) -> tuple[int, Any]:
        return self.ask("/v2/models/classify/infer", {"inputs": [ROW]})

    def is_ready(self) -> bool:
        return self.ask("/v2/models/classify/ready")[0] == 200


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder for specs, empty at first."""
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def door(shared_client: Client, cluster_home: Path, repository: Path) -> Iterator[Door]:
    doors = [part for name in ("grpc", "http", "metrics") for part in (f"--{name}", "127.0.0.1:0")]
    command = Foreground(cluster_home, "gateway", *doors, "--repository", repository, "--json")
    try:
        command.until_says("}")
        told = json.loads(command.said.read_text())
        assert told["pid"] == command.process.pid
        yield Door(told["http"], told["metrics"])
        assert command.end(signal.SIGTERM) == 0, command.complained.read_text()
        eventually(lambda: told["router"] not in shared_client.status()["routers"], what="it takes leave")
    finally:
        command.kill_all()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return spec_file(tmp_path, model_file(tmp_path), topology_file(tmp_path))


def test_models_come_and_go_with_their_deployments(door: Door, shared_client: Client, spec: Path) -> None:
    assert door.ask("/v2/health/ready")[0] == 200
    assert door.infer() == (404, {"error": "no model 'classify'; there is none"})
    shared_client.deploy(spec)
    try:
        eventually(door.is_ready, what="the model is ready")
        status, answer = door.infer()
        assert (status, answer["model_version"]) == (200, "1")
        outputs = {one["name"]: one for one in answer["outputs"]}
        assert outputs["y"] == {"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}
        told = door.ask("/v2/models/classify")[1]
        assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 8]}]
        assert {"name": "y", "datatype": "FP32", "shape": [1, 4]} in told["outputs"]
        assert {one["name"] for one in told["outputs"]} == set(outputs)
    finally:
        shared_client.delete("classify")
    eventually(lambda: door.infer()[0] == 404, what="the model is gone")


def test_a_deployment_that_was_deleted_and_is_there_anew_is_joined_anew(
    door: Door, shared_client: Client, spec: Path
) -> None:
    shared_client.deploy(spec)
    try:
        eventually(door.is_ready, what="the model is ready")
        for _ in range(3):  # within one look or across two
            shared_client.delete("classify")
            shared_client.deploy(spec)
        eventually(door.is_ready, what="the model is ready again")
        eventually(lambda: door.infer()[0] == 200, what="it answers")
    finally:
        shared_client.delete("classify")


def test_clients_load_and_unload_models_of_the_repository(door: Door, repository: Path) -> None:
    at = "/v2/repository/models/classify"
    assert door.ask(f"{at}/load", {})[1] == {"error": "no spec of model 'classify'; there is none"}
    spec = spec_file(repository, model_file(repository), topology_file(repository))
    (one,) = door.ask("/v2/repository/index", {})[1]
    assert (one["name"], one["state"], one["reason"]) == ("classify", "UNAVAILABLE", "unloaded")
    try:
        assert door.ask(f"{at}/load", {}) == (200, {})
        assert door.infer()[0] == 200
        (one,) = door.ask("/v2/repository/index", {})[1]
        assert (one["name"], one["state"]) == ("classify", "READY")
        assert "parameters config are not known" in door.ask(f"{at}/load", {"parameters": {"config": "{}"}})[1]["error"]
        spec.write_text(spec.read_text() + "\nnonsense: 1\n")
        status, told = door.ask(f"{at}/load", {})
        assert (status, "nonsense" in told["error"]) == (400, True)
        assert door.infer()[0] == 200  # what ran runs on
    finally:
        assert door.ask(f"{at}/unload", {}) == (200, {})
    assert door.infer()[0] == 404
    assert door.ask(f"{at}/unload", {})[0] == 404


def test_requests_go_on_while_the_controller_is_away(door: Door, shared_client: Client, spec: Path) -> None:
    shared_client.deploy(spec)
    try:
        eventually(door.is_ready, what="the model is ready")
        before = shared_client.facts["pid"]
        os.kill(before, signal.SIGKILL)
        assert [door.infer()[0] for _ in range(20)] == [200] * 20
        eventually(lambda: shared_client.status()["routers"], within_s=60, what="a controller is back, with routers")
        assert door.infer()[0] == 200
    finally:
        shared_client.delete("classify")


def test_a_worker_that_dies_is_seen_and_its_stages_come_back(door: Door, shared_client: Client, spec: Path) -> None:
    status = shared_client.deploy(spec)
    try:
        eventually(door.is_ready, what="the model is ready")
        node = next(stage["node"] for epoch in status["epochs"] for stage in epoch["stages"])
        os.kill(shared_client.status()["workers"][node]["pid"], signal.SIGKILL)
        assert door.infer()[0] == 200  # sent again, within its budget
        assert door.figure('nv_inference_request_success{model="classify",version="1"}') == 1
        assert door.figure('isthmus_router_requests_total{outcome="answered"}') == 1
        assert np.isfinite(door.infer()[1]["outputs"][0]["data"]).all()
    finally:
        shared_client.delete("classify")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing runs on this machine; start with: isthmus deploy SPEC, or give --address HOST:PORT"),
        (("--repository", "absent"), "--repository absent: no such folder"),
        (("--otlp", "collector"), "--otlp 'collector' is not HOST:PORT"),
    ],
)
def test_what_can_not_be_opened_is_said(isthmus: Isthmus, arguments: tuple[str, ...], said: str) -> None:
    ended = isthmus("gateway", *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.line
