"""A cluster goes from one version of the code to the next under load, between two code trees. Real Ray, real workers.

`installed` is where every new process finds the code, as site-packages would be: a link to a copy of this tree that
tells another version and speaks the wire before, later to a broken one, then to this one.
"""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from nodes.backend import Array
from nodes.code_version import code_version
from nodes.headers import VERSION
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.errors import ClusterError
from orchestrator.model_file import prepare
from orchestrator.recording import read_recording
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually, processes_naming
from tests.orchestrator.small_site import WIDE, answer_of, site, two_layers

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("partitioner", "policies", "nodes", "orchestrator", "simulations", "isthmus")
BEFORE = f"0.0.9+wire{VERSION - 1}"
RATE_S = 0.02


def feed_of(scale: float) -> Array:
    """What is asked, of that size."""
    return np.linspace(-scale, scale, WIDE, dtype=np.float32)[None]


class Load:
    """A request every RATE_S, whatever becomes of those before it; each is another one."""

    def __init__(self, client: Client) -> None:
        self.client, self.over = client, Event()
        self.asked: list[tuple[float, Future[Answer]]] = []
        self.thread = Thread(target=self._ask)

    def _ask(self) -> None:
        while not self.over.wait(RATE_S):
            scale = 1.0 + len(self.asked) % 7
            self.asked.append((scale, self.client.submit("two", {"x": feed_of(scale)}, timeout_s=30, trace=True)))

    def goes_on(self, more: int = 25) -> None:
        until = len(self.asked) + more
        eventually(lambda: len(self.asked) >= until and self.asked[until - 1][1].done(), what="answers", within_s=30)

    def check(self) -> set[str]:
        """Every answer is there and right; the versions of the code that made them."""
        self.over.set()
        self.thread.join()
        answers = [(scale, future.result(timeout=30)) for scale, future in self.asked]
        wanted = answer_of(feed_of(1.0), hidden=1024)  # the model is linear
        for scale, answer in answers:
            assert np.allclose(answer.outputs["y"], np.multiply(wanted, scale), atol=1e-3 * scale)
        return {hop.code for _, answer in answers for hop in answer.hops}


def tree(folder: Path, version: str, wire: int) -> Path:
    """A copy of the packages that tells this version and speaks this wire as its newest."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    headers = folder / "nodes" / "headers.py"
    text, changed = re.subn(r"^VERSION = \d+$", f"VERSION = {wire}", headers.read_text(), flags=re.MULTILINE)
    assert changed == 1
    headers.write_text(text)
    told = folder / f"isthmus-{version}.dist-info" / "METADATA"
    told.parent.mkdir()
    told.write_text(f"Metadata-Version: 2.1\nName: isthmus\nVersion: {version}\n")
    return folder


class Installed:
    """What new processes import."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.link = folder, folder / "installed"

    def put(self, code: Path) -> None:
        """Replace what is installed, while processes run that loaded what was."""
        new = self.folder / "installing"
        new.symlink_to(code, target_is_directory=True)
        new.replace(self.link)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Installed(tmp_path)
    made.put(tree(tmp_path / "old", "0.0.9", VERSION - 1))
    monkeypatch.setenv("PYTHONPATH", str(made.link))
    monkeypatch.chdir(tmp_path)  # Ray has its workers import from where the driver stands
    return made


@pytest.fixture
def under_load(installed: Installed, tmp_path: Path) -> Iterator[Load]:
    path = two_layers(tmp_path, hidden=1024)
    inputs = (InputSpec(name="x", at="camera"),)
    spec = DeploymentSpec(name="two", model=path, topology=site(mbps=80), source="camera", inputs=inputs, digest="d")
    engine = EngineProfile(operator_s={"first": 1e-4, "second": 2e-3})
    key = EngineKey(node_class="here", backend="onnxruntime")
    with Client() as client:
        model = load(prepare(spec).path)
        client.deploy(spec, profile=Profile(model=model.sha256, engines={key: engine}, message_s=1e-4))
        client.join("two")
        found = Load(client)
        found.thread.start()
        try:
            found.goes_on()
            yield found
        finally:
            found.over.set()
            found.thread.join()


def codes(client: Client) -> set[str]:
    status = client.status()
    return {status["controller"]["code"], *(facts["code"] for facts in status["workers"].values())}


def pids(client: Client) -> dict[str, int]:
    return {node: facts["pid"] for node, facts in client.status()["workers"].items()}


def writers(client: Client) -> list[str]:
    journal = Path(client.facts["folder"]) / "journal.sqlite"
    return list(dict.fromkeys(record.code_version for record in read_recording(journal).records))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_under_load_a_cluster_goes_from_one_version_to_the_next_and_loses_nothing(
    under_load: Load, installed: Installed, tmp_path: Path
) -> None:
    client, said = under_load.client, list[str]()
    assert codes(client) == {BEFORE}
    workers, plan = pids(client), client.plan("two")
    broken = tree(tmp_path / "broken", "0.0.10", VERSION)
    (broken / "nodes" / "host.py").write_text("raise RuntimeError('a bad release')\n")
    installed.put(broken)
    with pytest.raises(ClusterError, match=r"worker of node \w+ died at its start: .*a bad release"):
        client.upgrade(say=said.append)
    under_load.goes_on()
    assert (said, pids(client), codes(client)) == ([], workers, {BEFORE})

    installed.put(ROOT)
    done = client.upgrade(say=said.append)
    assert (set(done.workers), done.by_hand, done.controller) == ({"camera", "cloud"}, (), True)
    assert sorted(line.partition(":")[0] for line in said) == ["controller", "node camera", "node cloud"]
    assert all(f"{BEFORE} → {code_version()}" in line for line in said)
    assert codes(client) == {code_version()}
    eventually(lambda: not any(map(is_alive, workers.values())), what="the old workers are gone")
    under_load.goes_on()
    assert under_load.check() == {"", code_version()}  # the version before doesn't tell what it is
    assert [stage.node for stage in client.plan("two").stages] == [stage.node for stage in plan.stages]
    eventually(lambda: writers(client) == [BEFORE, code_version()], what="both have written the journal", within_s=30)
    assert client.upgrade(say=said.append).workers == ()
    assert said[-1] == f"everything runs {code_version()} already"


def workers_of(installed: Installed) -> list[int]:
    """Process ids of this cluster's workers, of whatever controller."""
    return [pid for pid, line in processes_naming(str(installed.folder)).items() if "nodes.worker" in line]


def serves_again(client: Client) -> bool:
    try:
        return bool(client.status()["deployments"])
    except ClusterError:
        return False


def test_a_controller_that_dies_midway_costs_nothing_and_the_upgrade_goes_on_when_asked_again(
    under_load: Load, installed: Installed
) -> None:
    client, before = under_load.client, set(workers_of(installed))
    controller = client.status()["controller"]["pid"]
    installed.put(ROOT)
    with ThreadPoolExecutor(1) as asking:
        midway = asking.submit(client.upgrade)
        eventually(lambda: set(workers_of(installed)) - before, what="a worker beside another one", every_s=0.005)
        os.kill(controller, signal.SIGKILL)
        with pytest.raises(ClusterError, match="the controller is"):
            midway.result(timeout=60)
    eventually(lambda: serves_again(client), what="a controller that goes on by the journal", within_s=60)
    under_load.goes_on()
    client.upgrade()
    assert codes(client) == {code_version()}
    eventually(lambda: not before & set(workers_of(installed)), what="the old workers are gone", within_s=120)
    under_load.goes_on()
    assert under_load.check() == {"", code_version()}
