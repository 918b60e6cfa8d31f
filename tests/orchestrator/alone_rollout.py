"""New versions of a running pipeline under load: a good one takes over, a bad one goes, the old one returns."""

import os
import signal
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nodes.backend import Array
from orchestrator.client import Client
from orchestrator.errors import ClusterError, DeploymentFailed
from orchestrator.model_file import prepare
from orchestrator.rollout_terms import AB, SHADOW, RolloutTerms
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually
from tests.orchestrator.small_site import WIDE, answer_of, site, two_layers

pytestmark = pytest.mark.slow
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}
HIDDEN = 64
ENGINE = EngineKey(node_class="here", backend="onnxruntime")
SCALES = {"first": 1.0, "good": 1.01, "bad": 2.0}  # what each version's answers are multiplied by
QUICK = RolloutTerms(weights=(0.3,), min_requests=30, min_s=1.0, max_slowdown=5.0)


class Pipeline:
    """The deployment "two" in versions that differ in their weights, and callers that note which one answers."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.over, self.faults = Event(), deque[str]()
        self.answers: Counter[str] = Counter()
        self.threads = [Thread(target=self._ask, args=(f"user-{number}",)) for number in range(3)]
        self.by_user: dict[str, Counter[str]] = {f"user-{number}": Counter() for number in range(3)}

    def version(self, named: str) -> tuple[DeploymentSpec, Profile]:
        """The spec of a version, and the seconds of its operators by decree."""
        path = two_layers(self.folder, hidden=HIDDEN)
        model = onnx.load(path)
        weight = next(one for one in model.graph.initializer if one.name == "w2")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(SCALES[named]), "w2"))
        path = self.folder / f"{named}.onnx"
        onnx.save(model, path)
        inputs = (InputSpec(name="x", at="camera"),)
        spec = DeploymentSpec(
            name="two", model=path, topology=site(mbps=80), source="camera", inputs=inputs, digest="d"
        )
        times = {"first": 1e-4, "second": 2e-3}
        profile = Profile(model=load(prepare(spec).path).sha256, engines={ENGINE: EngineProfile(operator_s=times)})
        return spec, profile

    def try_out(self, named: str, terms: RolloutTerms = QUICK) -> None:
        spec, profile = self.version(named)
        self.client.rollout(spec, terms=terms, profile=profile)

    def of(self, answer: Array) -> str:
        """The version that gave this answer, "" if none did."""
        wanted = answer_of(FEED["x"], hidden=HIDDEN)
        fits = [named for named, scale in SCALES.items() if np.allclose(answer, scale * wanted, rtol=1e-3, atol=1e-5)]
        return fits[0] if len(fits) == 1 else ""

    def _ask(self, user: str) -> None:
        while not self.over.is_set():
            try:
                answer = self.client.answer("two", FEED, timeout_s=20, key=user)
            except Exception as fault:
                self.faults.append(f"{type(fault).__name__}: {fault}")
                return
            version = self.of(answer.outputs["y"])
            if not version or (version == "first") != (answer.version == 1):
                self.faults.append(
                    f"an answer of {version or 'no version, or of two'} says it is version {answer.version}"
                )
            self.answers[version] += 1
            self.by_user[user][version] += 1

    def state(self, number: int) -> str:
        return str(self.client.rollout_history("two")[number - 1]["state"])

    def why(self, number: int) -> str:
        return str(self.client.rollout_history("two")[number - 1]["steps"][-1]["why"])


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Client() as client:
        pipeline = Pipeline(client, tmp_path)
        spec, profile = pipeline.version("first")
        client.deploy(spec, profile=profile)
        for thread in pipeline.threads:
            thread.start()
        try:
            eventually(lambda: pipeline.answers["first"] > 5, what="the first version answers")
            yield pipeline
            assert not pipeline.faults
        finally:
            pipeline.over.set()
            for thread in pipeline.threads:
                thread.join()


def test_a_good_version_takes_over_under_load_and_rollback_brings_the_old_answers_back(pipeline: Pipeline) -> None:
    before = pipeline.client.status()["deployments"]["two"]["epoch"]
    pipeline.try_out("good", RolloutTerms(weights=(0.2, 0.6), min_requests=30, min_s=1.0, max_slowdown=5.0))
    eventually(lambda: pipeline.state(2) == "running", what="version 2 is promoted", within_s=60)
    assert "answers differ by 1.0" in pipeline.why(2)
    eventually(lambda: pipeline.client.status()["deployments"]["two"]["is_in_force"], what="routers have switched")
    assert pipeline.of(pipeline.client.infer("two", FEED)["y"]) == "good"
    assert pipeline.client.rollback("two")["epoch"] == before  # it stood by, nothing was loaded
    assert pipeline.of(pipeline.client.infer("two", FEED)["y"]) == "first"
    assert [pipeline.state(1), pipeline.state(2)] == ["running", "rolled back"]


def test_a_version_with_other_answers_is_rolled_back_by_itself_whether_it_answers_or_shadows(
    pipeline: Pipeline,
) -> None:
    pipeline.try_out("bad", RolloutTerms(mode=SHADOW, weights=(1.0,), min_requests=30, min_s=1.0))
    eventually(lambda: pipeline.state(2) == "rolled back", what="the shadow is rolled back", within_s=60)
    assert pipeline.answers["bad"] == 0
    eventually(lambda: pipeline.client.status()["deployments"]["two"]["rollout"] is None, what="the trial is over")
    pipeline.try_out("bad")
    eventually(lambda: pipeline.state(3) == "rolled back", what="the canary is rolled back", within_s=60)
    assert "its answers differ by 100" in pipeline.why(3)
    assert pipeline.answers["bad"] > 0
    asked = pipeline.answers["first"]
    eventually(lambda: pipeline.answers["first"] > asked + 20, what="the first version goes on")


def test_while_two_versions_are_tried_each_user_keeps_to_one_and_nothing_is_decided_alone(pipeline: Pipeline) -> None:
    terms = RolloutTerms(mode=AB, weights=(0.5,), promotes=False, min_requests=10, min_s=0.5, max_slowdown=5.0)
    pipeline.try_out("good", terms)
    with pytest.raises(DeploymentFailed, match="on trial already"):
        pipeline.try_out("bad")
    keys = [f"key-{number}" for number in range(20)]
    once, again = ([pipeline.of(pipeline.client.infer("two", FEED, key=key)["y"]) for key in keys] for _ in range(2))
    assert once == again
    assert set(once) == {"first", "good"}
    pipeline.client.promote("two")
    assert pipeline.of(pipeline.client.infer("two", FEED)["y"]) == "good"


def test_a_trial_outlives_its_controller_and_ends_as_it_would_have(pipeline: Pipeline) -> None:
    client = pipeline.client
    pipeline.try_out("good", RolloutTerms(weights=(0.3,), min_requests=10, min_s=0.5, max_slowdown=5.0, promotes=False))
    os.kill(client.facts["pid"], signal.SIGKILL)
    eventually(lambda: answers_again(client), what="the controller is back", within_s=60)
    assert client.status()["deployments"]["two"]["rollout"]["version"] == 2
    eventually(lambda: counted(client) > 10, what="the trial is counted again", within_s=60)
    client.promote("two")
    assert pipeline.of(client.infer("two", FEED)["y"]) == "good"
    client.rollback("two")
    assert pipeline.of(client.infer("two", FEED)["y"]) == "first"


def counted(client: Client) -> int:
    trial = client.status()["deployments"]["two"]["rollout"]
    return int(trial["new"]["answered"])


def answers_again(client: Client) -> bool:
    try:
        return bool(client.status()["deployments"])
    except ClusterError:
        return False
