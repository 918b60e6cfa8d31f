"""Whoever controls may die: requests go on, and what comes back takes up where the journal ended. Real Ray."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from orchestrator import local_cluster
from orchestrator.client import Client
from orchestrator.errors import ClusterError
from orchestrator.local_cluster import LocalCluster
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually
from tests.orchestrator.small_site import WIDE, answer_of, site, two_layers

pytestmark = pytest.mark.slow
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


class Flow:
    """Requests one after the other, from a thread; whatever is not answered right is noted."""

    def __init__(self, client: Client) -> None:
        self.client, self.over = client, Event()
        self.answered, self.faults = 0, deque[str]()
        self.thread = Thread(target=self._ask)
        self.thread.start()

    def _ask(self) -> None:
        wanted = answer_of(FEED["x"], hidden=1024)
        while not self.over.is_set():
            try:
                outputs = self.client.infer("two", FEED, timeout_s=20)
            except Exception as fault:
                self.faults.append(f"{type(fault).__name__}: {fault}")
                self.over.wait(0.1)
                continue
            if not np.allclose(outputs["y"], wanted, atol=1e-3):
                self.faults.append("a wrong answer")
            self.answered += 1

    def goes_on(self, more: int = 20) -> None:
        before = self.answered
        eventually(lambda: self.answered >= before + more, what=f"{more} more answers", within_s=30)
        assert not self.faults

    def stop(self) -> None:
        self.over.set()
        self.thread.join()


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flow]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = two_layers(tmp_path, hidden=1024)
    inputs = (InputSpec(name="x", at="camera"),)
    spec = DeploymentSpec(name="two", model=path, topology=site(mbps=80), source="camera", inputs=inputs, digest="d")
    model = load(prepare(spec).path)
    times = {"first": 1e-4, "second": 2e-3}
    engine = EngineKey(node_class="here", backend="onnxruntime")
    with Client() as client:
        profile = Profile(model=model.sha256, engines={engine: EngineProfile(operator_s=times)}, message_s=1e-4)
        client.deploy(spec, profile=profile)
        flow = Flow(client)
        try:
            flow.goes_on(5)
            yield flow
        finally:
            flow.stop()


def pids(client: Client) -> dict[str, int]:
    return {node: facts["pid"] for node, facts in client.status()["workers"].items()}


def answers_again(client: Client) -> bool:
    try:
        return bool(client.status()["deployments"])
    except ClusterError:
        return False


def test_a_killed_controller_comes_back_with_its_deployments_and_touches_no_request(flow: Flow) -> None:
    before, workers = flow.client.status()["deployments"]["two"], pids(flow.client)
    os.kill(flow.client.facts["pid"], signal.SIGKILL)
    flow.goes_on()
    eventually(lambda: answers_again(flow.client), what="the controller is back", within_s=60)
    after = flow.client.status()["deployments"]["two"]
    assert (after["epoch"], after["state"], after["plan"]) == (before["epoch"], "running", before["plan"])
    assert pids(flow.client) == workers
    eventually(lambda: flow.client.status()["routers"], what="the router has joined again", within_s=60)
    flow.goes_on()


def test_while_ray_is_gone_requests_go_on_and_a_new_head_takes_over(flow: Flow) -> None:
    before, workers = flow.client.status()["deployments"]["two"], pids(flow.client)
    cluster = flow.client._own
    assert cluster is not None
    local_cluster.end_session(cluster.pid)
    gone_s = time.monotonic()
    eventually(lambda: not answers_again(flow.client), what="the controller is gone", within_s=60)
    eventually(lambda: time.monotonic() > gone_s + 8, what="the head is given up", within_s=30)
    flow.goes_on()
    head = revived(cluster)
    try:
        eventually(lambda: answers_again(flow.client), what="a new controller answers", within_s=90)
        after = flow.client.status()["deployments"]["two"]
        assert (after["epoch"], after["state"], after["plan"]) == (before["epoch"], "running", before["plan"])
        assert pids(flow.client) == workers
        flow.goes_on()
    finally:
        flow.stop()
        flow.client.close()
        local_cluster.end_session(head.pid)


def revived(cluster: LocalCluster) -> LocalCluster:
    port = int(cluster.address.rpartition(":")[2])
    return local_cluster.launch(cluster.folder, port, cluster.token, tied=False)
