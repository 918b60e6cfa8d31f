"""Whoever controls may die: requests go on, and what comes back takes up where the journal ended. Real Ray."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

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
from tests.orchestrator.callers import Callers
from tests.orchestrator.small_site import site, two_layers

pytestmark = pytest.mark.slow


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callers]:
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
        flow = Callers(client, 1, hidden=1024)
        try:
            flow.go_on(5)
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


def test_a_killed_controller_comes_back_with_its_deployments_and_touches_no_request(flow: Callers) -> None:
    before, workers = flow.client.status()["deployments"]["two"], pids(flow.client)
    os.kill(flow.client.facts["pid"], signal.SIGKILL)
    flow.go_on()
    eventually(lambda: answers_again(flow.client), what="the controller is back", within_s=60)
    after = flow.client.status()["deployments"]["two"]
    assert (after["epoch"], after["state"], after["plan"]) == (before["epoch"], "running", before["plan"])
    assert pids(flow.client) == workers
    eventually(lambda: flow.client.status()["routers"], what="the router has joined again", within_s=60)
    flow.go_on()


def test_a_controller_that_hangs_is_named_and_touches_no_request(flow: Callers) -> None:
    pid = flow.client.facts["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ClusterError, match=r"the controller does not answer within 0\.5 s"):
            flow.client.status(timeout_s=0.5)
        flow.go_on()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert flow.client.status(timeout_s=30)["deployments"]["two"]["state"] == "running"


def test_while_ray_is_gone_requests_go_on_and_a_new_head_takes_over(flow: Callers) -> None:
    before, workers = flow.client.status()["deployments"]["two"], pids(flow.client)
    cluster = flow.client._own
    assert cluster is not None
    local_cluster.end_session(cluster.pid)
    gone_s = time.monotonic()
    eventually(lambda: not answers_again(flow.client), what="the controller is gone", within_s=60)
    eventually(lambda: time.monotonic() > gone_s + 8, what="the head is given up", within_s=30)
    flow.go_on()
    head = revived(cluster)
    try:
        eventually(lambda: answers_again(flow.client), what="a new controller answers", within_s=90)
        after = flow.client.status()["deployments"]["two"]
        assert (after["epoch"], after["state"], after["plan"]) == (before["epoch"], "running", before["plan"])
        assert pids(flow.client) == workers
        flow.go_on()
    finally:
        flow.stop()
        flow.client.close()
        local_cluster.end_session(head.pid)


def revived(cluster: LocalCluster) -> LocalCluster:
    port = int(cluster.address.rpartition(":")[2])
    return local_cluster.launch(cluster.folder, port, cluster.token, tied=False)
