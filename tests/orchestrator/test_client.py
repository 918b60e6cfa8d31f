"""The client on a local cluster: real Ray, real workers, emulated links."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from isthmus.zoo import build
from isthmus.zoo.errors import ZooError
from nodes.backend import Array, load_backend
from nodes.errors import BadInput, NodesError
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.errors import DeploymentFailed, JournalError, OrchestratorError, UnknownDeployment
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.errors import InvalidModel
from partitioner.load import load
from partitioner.plan import Plan
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Topology
from simulations.twin import read_run, services_of, twin
from tests.eventually import eventually
from tests.nodes.onnx_models import info, model_of, node, saved
from tests.orchestrator.small_site import WIDE, answer_of, site, two_layers

pytestmark = pytest.mark.slow
HERE = EngineKey(node_class="here", backend="onnxruntime")
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


def named(name: str, path: Path, topology: Topology, *, given: str = "x", private: bool = False) -> DeploymentSpec:
    inputs = (InputSpec(name=given, at="camera", private=private),)
    digest = f"{path} {topology}"
    return DeploymentSpec(name=name, model=path, topology=topology, source="camera", inputs=inputs, digest=digest)


def decreed(spec: DeploymentSpec, each_s: float | None = None) -> Profile:
    """A profile nobody measured: the first of two operators is cheap, or all take the same."""
    model = load(prepare(spec).path)
    names = [operator.name for operator in model.graph.operators]
    seconds = dict(zip(names, (1e-4, 2e-3), strict=True)) if each_s is None else dict.fromkeys(names, each_s)
    return Profile(model=model.sha256, engines={HERE: EngineProfile(operator_s=seconds)}, message_s=1e-4)


@pytest.fixture
def deployed(shared_client: Client, tmp_path: Path) -> Iterator[Client]:
    """The client, with "two" split over camera and cloud; gone afterwards."""
    spec = named("two", two_layers(tmp_path, hidden=1024), site(mbps=80))
    status = shared_client.deploy(spec, profile=decreed(spec))
    assert [stage["node"] for stage in status["plan"]["stages"]] == ["camera", "cloud"]
    yield shared_client
    shared_client.delete("two")


def test_a_profile_measures_batches_and_segments_on_every_node(shared_client: Client, tmp_path: Path) -> None:
    spec = named("measured", two_layers(tmp_path, hidden=1024), site(mbps=80))
    profile, plan = shared_client.profile(spec, segments=3, batches=(2, 4))
    (engine,) = profile.engines.values()
    assert list(engine.batch_s) == [2, 4] and min(engine.batch_s.values()) > 0
    assert len(engine.segment_s) >= 3
    assert isinstance(plan, Plan)
    with pytest.raises(InvalidModel, match="takes 1 rows at once"):
        shared_client.profile(spec, batches=(0,))


@contextmanager
def requests_flow(client: Client, answers: "deque[Answer]") -> Iterator[None]:
    """Two requests under way at any time, every one of which must be answered; the answers in order."""
    over = Event()
    faults: list[BaseException] = []

    def ask() -> None:
        waiting: deque[Future[Answer]] = deque()
        while not over.is_set() or waiting:
            while len(waiting) < 2 and not over.is_set():
                waiting.append(client.submit("two", FEED, timeout_s=60))
            try:
                answers.append(waiting.popleft().result(timeout=90))
            except (OrchestratorError, NodesError, TimeoutError) as fault:
                faults.append(fault)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert faults == []


@cache
def expected(hidden: int) -> Array:
    return answer_of(FEED["x"], hidden=hidden)


def close_to(outputs: dict[str, Array], hidden: int = 1024) -> bool:
    return bool(np.allclose(outputs["y"], expected(hidden), atol=1e-3))


def pid_of(client: Client, node: str) -> int | None:
    worker = client.status()["workers"].get(node)
    return None if worker is None else int(worker["pid"])


def test_a_split_efficientnet_answers_as_the_whole(shared_client: Client) -> None:
    try:
        path = build("efficientnet_lite0")
    except ZooError as missing:
        pytest.skip(str(missing))
    spec = named("classify", path, site(mbps=80, slowdown=3), given="input", private=True)
    status = shared_client.deploy(spec, profile=decreed(spec, 1e-4))
    feed = {"input": np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)}
    split = shared_client.infer("classify", feed)
    whole = load_backend("onnxruntime").compile(prepare(spec).path).run(feed)
    shared_client.delete("classify")
    assert [stage["node"] for stage in status["plan"]["stages"]] == ["camera", "cloud"]
    assert all(np.allclose(split[name], array, atol=1e-4) for name, array in whole.items())


def test_input_that_does_not_fit_is_refused_before_it_is_sent(deployed: Client) -> None:
    feeds = {"x": np.zeros((1, 3), np.float64), "z": np.zeros(1)}
    with pytest.raises(BadInput) as refused:
        deployed.infer("two", feeds)
    for fault in ("x is float64, wants float32", "x has shape [1, 3], wants [1, 4096]", "z is not an input"):
        assert fault in str(refused.value)
    with pytest.raises(BadInput, match="two: x is missing"):
        deployed.infer("two", {})


def test_a_recorded_run_can_have_its_twin(deployed: Client, tmp_path: Path) -> None:
    before = time.time()
    for _ in range(25):
        deployed.answer("two", FEED, trace=True)
    deployed.answer("two", FEED)
    assert deployed.record(tmp_path / "run", since_s=before) == 26
    run = read_run(tmp_path / "run")
    assert len(run.answers) == 26
    (found,) = twin(run, services_of(run))
    assert (found.deployment, found.requests) == ("two", 26)
    with pytest.raises(FileExistsError):
        deployed.record(tmp_path / "run")


def test_a_run_whose_journal_lies_elsewhere_leaves_no_folder(
    deployed: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed, "status", lambda: {"journal": {"path": str(tmp_path / "elsewhere.sqlite")}})
    with pytest.raises(JournalError, match="no such file on this machine; copy it where its controller runs"):
        deployed.record(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_not_deployed_is_unknown(deployed: Client) -> None:
    with pytest.raises(UnknownDeployment, match="no deployment 'three'; there is two"):
        deployed.infer("three", FEED)


def test_a_killed_worker_is_brought_back_and_no_request_is_lost(deployed: Client) -> None:
    before = pid_of(deployed, "cloud")
    assert before is not None
    answers: deque[Answer] = deque()
    with requests_flow(deployed, answers):
        eventually(lambda: len(answers) > 3, what="requests flow")
        os.kill(before, signal.SIGKILL)
        eventually(lambda: pid_of(deployed, "cloud") not in (None, before), within_s=40, what="a new worker")
        seen = len(answers)
        eventually(lambda: len(answers) > seen + 5, within_s=40, what="requests flow again")
    assert all(close_to(answer.outputs) for answer in answers)


def test_a_changed_spec_switches_without_losing_a_request(deployed: Client, tmp_path: Path) -> None:
    changed = named("two", two_layers(tmp_path, hidden=512), site(mbps=80))
    answers: deque[Answer] = deque()
    with requests_flow(deployed, answers):
        eventually(lambda: len(answers) > 3, what="requests flow")
        epoch = deployed.deploy(changed, profile=decreed(changed))["epoch"]
        eventually(lambda: answers[-1].epoch == epoch, what="answers of the new epoch")
    assert all(close_to(answer.outputs, 512 if answer.epoch == epoch else 1024) for answer in answers)


def test_a_change_that_cannot_be_leaves_the_old_epoch_running(deployed: Client, tmp_path: Path) -> None:
    odd = model_of([node("Det", ["x"], ["y"], "odd")], [info("x", 2, 3, 3)], [info("y", 2)])
    nodes = tuple(replace(each, backends=("openvino",)) for each in site().nodes)
    openvino_only = named("two", saved(odd, tmp_path), replace(site(), nodes=nodes))
    tight = named("two", two_layers(tmp_path, hidden=512), site(memory_bytes=1000))
    epoch = deployed.status()["deployments"]["two"]["epoch"]
    with pytest.raises(DeploymentFailed, match="two: no plan fits: memory"):
        deployed.deploy(tight, profile=decreed(tight))
    if "missing" not in deployed.status()["workers"]["cloud"]["engines"]["openvino"]:
        with pytest.raises(NodesError, match="openvino does not support operator Det, and no other backend of camera"):
            deployed.deploy(openvino_only)
    assert deployed.status()["deployments"]["two"]["epoch"] == epoch
    assert close_to(deployed.infer("two", FEED))


def test_a_link_that_drops_moves_the_split_and_its_return_moves_it_back(deployed: Client, tmp_path: Path) -> None:
    path = two_layers(tmp_path, hidden=2304)  # 9 KB: enough to tell goodput by
    wider = named("two", path, site(mbps=80), private=True)  # or all on the cloud would do as well
    deployed.deploy(wider, profile=decreed(wider))
    answers: deque[Answer] = deque()

    def nodes() -> list[str]:
        return [stage.node for stage in deployed.plan("two").stages]

    with requests_flow(deployed, answers):
        deployed.shape(*site(mbps=0.8).links)
        eventually(lambda: nodes() == ["camera"], within_s=60, what="everything on the camera")
        deployed.shape(*site(mbps=80).links)
        eventually(lambda: nodes() == ["camera", "cloud"], within_s=60, what="the split is back")
    assert all(close_to(answer.outputs, 2304) for answer in answers)
