"""The examples' deployments on real Ray, a stage on every node, while each node's worker is killed in turn."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.spoken_image_search.deployed import spec_of as search_spec
from examples.spoken_image_search.pipeline import pipeline as search_pipeline
from examples.spoken_image_search.questions import QUESTIONS, album
from examples.spoken_image_search.search import ask
from examples.spoken_image_search.stages import ONE_MACHINE, parts, planned
from examples.street_watch.deployed import spec_of as watch_spec
from examples.street_watch.situations import SITUATIONS
from examples.street_watch.watch import event_of, given
from nodes.backend import Array
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec
from partitioner.profile import EngineProfile, Profile
from tests.contracts.backend_models import zoo_model
from tests.eventually import eventually
from tests.orchestrator.test_sources_served import HERE

pytestmark = pytest.mark.slow
Feeds = Mapping[str, Array]
SEARCHED, WATCHED = 5, 8  # items
SEARCH_AT = {"phone": ("samples", "mel"), "camera": ("picture", "frame", "pixels", "look"), "cloud": ("hear", "say")}
WATCH_AT = {
    "camera": ("picture", "small", "pixels", "detect", "boxes", "stretch", "orient", "upright", "line"),
    "microphone": ("samples", "clip", "speech", "mel"),
    "mec": ("letters",),
    "cloud": ("match", "head"),
}


@dataclass(frozen=True, slots=True)
class Example:
    """A deployment with a stage on each of `at`, its items in order, and what is right of an answer."""

    spec: DeploymentSpec
    at: Mapping[str, Sequence[str]]
    camera_gives: str
    items: Sequence[Feeds]
    told: Callable[[int, Feeds], object]
    right: Sequence[object]


def search(folder: Path) -> Example:
    """Pairs of a question and a photograph; what is told of each is what it tells in one process."""
    zoo_model("whisper_encoder")
    asked = list(QUESTIONS)
    items = [
        {**ask(asked[at % len(asked)], spoken=True), "photo": np.frombuffer(data, np.uint8)}
        for at, data in enumerate(list(album().values())[:SEARCHED])
    ]
    spec = search_pipeline(folder, spoken=True).spec(folder, topology=ONE_MACHINE)
    whole = parts(planned(spec, items[0], folder), folder / "store")

    def told(_number: int, outputs: Feeds) -> object:
        return outputs["heard"][0].decode(), [one.decode() for one in outputs["seen_labels"].ravel()]

    right = [told(at, whole.run(item)) for at, item in enumerate(items)]
    whole.close()
    return Example(search_spec(folder), SEARCH_AT, "photo", items, told, right)


def watch(folder: Path) -> Example:
    """Labelled situations, all of which the watch gets right."""
    names = list(SITUATIONS)[:WATCHED]

    def told(number: int, outputs: Feeds) -> object:
        return event_of(names[number], outputs).label

    right = [(one.word, one.keyword, one.decision) for one in (SITUATIONS[name] for name in names)]
    return Example(watch_spec(folder), WATCH_AT, "frame", [given(name) for name in names], told, right)


@pytest.fixture(name="example", scope="module", params=[search, watch], ids=["search", "watch"])
def _example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    make: Callable[[Path], Example] = request.param
    return make(tmp_path_factory.mktemp("example"))


@pytest.fixture(name="deployed")
def _deployed(shared_client: Client, example: Example) -> Iterator[Client]:
    pins = tuple((step, node) for node, steps in example.at.items() for step in steps)
    spec = replace(example.spec, pinned=pins)
    model = read_model(spec, prepare(spec).path)
    seconds = {operator.name: 0.0 if operator.name.endswith(".source") else 2e-3 for operator in model.graph.operators}
    profile = Profile(model=model.sha256, engines={HERE: EngineProfile(operator_s=seconds)}, message_s=1e-4)
    shared_client.deploy(spec, profile=profile)
    yield shared_client
    shared_client.delete(spec.name)


def test_every_item_is_answered_rightly_once_and_in_order_whichever_stage_dies(
    deployed: Client, example: Example
) -> None:
    name = example.spec.name
    assert {stage.node for stage in deployed.plan(name).stages} == set(example.at)
    for node in example.at:
        told, attempts = killed(deployed, example, node)
        assert told == list(example.right), node
        assert max(attempts) > 1, node  # it was in mid-run


def killed(client: Client, example: Example, node: str) -> tuple[list[object], list[int]]:
    """What is told of all items, in their order, and in how many attempts; the node's worker dies after the first."""
    name, given_there = example.spec.name, example.camera_gives
    with client.source(name, "camera") as camera:
        asked: list[Future[Answer]] = []
        for item in example.items:
            seen = camera.put({given_there: item[given_there]})
            inputs: dict[str, Any] = {**item, given_there: seen}
            asked.append(client.submit(name, inputs, timeout_s=240))
        answers = [asked[0].result(timeout=250)]
        os.kill(pid := client.status()["workers"][node]["pid"], signal.SIGKILL)
        answers += [one.result(timeout=250) for one in asked[1:]]
    eventually(lambda: client.status()["workers"].get(node, {}).get("pid") not in (None, pid), within_s=60)
    told = [example.told(number, answer.outputs) for number, answer in enumerate(answers)]
    return told, [answer.attempt for answer in answers]
