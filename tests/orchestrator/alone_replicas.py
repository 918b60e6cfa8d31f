"""A stage on two nodes, of which one is killed under load, and one that gets a second node by its load. Real Ray."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.blueprint import pose
from orchestrator.client import Client
from orchestrator.model_file import prepare
from orchestrator.replicas import manned
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.plan import Plan
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.search.answer import answer
from partitioner.topology import Link, Topology
from tests.eventually import eventually
from tests.orchestrator.callers import Callers
from tests.orchestrator.small_site import site, two_layers

pytestmark = pytest.mark.slow
ENGINE = EngineKey(node_class="here", backend="onnxruntime")
TIMES = {"first": 1e-4, "second": 2e-3}


def twins(slowdown: float) -> Topology:
    """Camera, cloud and its twin."""
    plain = site(mbps=80, slowdown=2)
    cloud = replace(plain.node("cloud"), slowdown=slowdown)
    ends = (("camera", "cloud"), ("camera", "twin"), ("cloud", "twin"))
    there = [Link(source=a, target=b, bytes_per_s=1e7, propagation_s=1e-4) for a, b in ends]
    back = [replace(link, source=link.target, target=link.source) for link in there]
    return Topology((plain.node("camera"), cloud, replace(cloud, name="twin")), (*there, *back))


def wanted(folder: Path, slowdown: float, most: int) -> tuple[DeploymentSpec, Profile, Plan]:
    """The deployment, its seconds by decree, and the plan that cuts it between camera and cloud."""
    path = two_layers(folder, hidden=64)
    spec = DeploymentSpec(
        name="two", model=path, topology=twins(slowdown), source="camera",
        inputs=(InputSpec(name="x", at="camera"),), most_replicas=most, digest="d",
    )  # fmt: skip
    model = load(prepare(spec).path)
    profile = Profile(model=model.sha256, engines={ENGINE: EngineProfile(operator_s=TIMES)}, message_s=1e-4)
    engines = {node.name: (ENGINE,) for node in spec.topology.nodes}
    found = answer(pose(spec, model, profile, engines, topology=twins(1.0)))
    assert isinstance(found, Plan) and [stage.node for stage in found.stages] == ["camera", "cloud"]
    return spec, profile, found


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Client() as held:
        yield held


def two(client: Client) -> dict[str, Any]:
    return dict(client.status()["deployments"]["two"])


def crew(client: Client) -> list[str]:
    """Nodes that run the second stage in the epoch in use."""
    facts = two(client)
    stages = next(epoch["stages"] for epoch in facts["epochs"] if epoch["epoch"] == facts["epoch"])
    return [stage["node"] for stage in stages if stage["stage"] == "s2" and stage["state"] == "ready"]


def test_a_killed_replica_costs_no_request_and_no_epoch_and_comes_back(client: Client, tmp_path: Path) -> None:
    spec, profile, plan = wanted(tmp_path, 2.0, 1)
    client.deploy(spec, profile=profile, plan=manned(plan, {"s2": ("cloud", "twin")}))
    assert crew(client) == ["cloud", "twin"]
    callers = Callers(client, 3, hidden=64)
    try:
        callers.go_on(50)
        for victim in ("twin", "cloud"):
            before = two(client)["epoch"]
            callers.took_s.clear()
            os.kill(client.status()["workers"][victim]["pid"], signal.SIGKILL)
            callers.go_on(50)
            assert max(callers.took_s) < 2.0
            eventually(lambda: len(crew(client)) == 2, what=f"{victim} runs it again", within_s=60)
            assert two(client)["epoch"] == before + 1
            callers.go_on(50)
        reasons = [one["why"] for one in client.status()["history"] if one["what"] == "open"]
        assert any(why.endswith("can run stage s2 again") for why in reasons)
    finally:
        callers.stop()
    assert not callers.faults


def test_a_busy_stage_gets_its_second_node_under_load_and_gives_it_back(client: Client, tmp_path: Path) -> None:
    spec, profile, plan = wanted(tmp_path, 300.0, 2)
    client.deploy(spec, profile=profile, plan=plan)
    assert crew(client) == ["cloud"]
    callers = Callers(client, 6, hidden=64)
    try:
        eventually(lambda: crew(client) == ["cloud", "twin"], what="a second node", within_s=60)
        callers.go_on(50)
    finally:
        callers.stop()
    assert not callers.faults
    eventually(lambda: len(crew(client)) == 1, what="one node again", within_s=90)
    reasons = [one["why"] for one in client.status()["history"] if one["what"] == "open"]
    assert [why.partition(": load")[0] for why in reasons if why.startswith("autoscale")] == [
        "autoscale: stage s2 to cloud, twin",
        "autoscale: stage s2 to cloud",
    ]
