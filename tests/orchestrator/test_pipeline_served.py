"""A pipeline of steps, deployed on real Ray: its pins hold, its branches meet, and what can't be read fails alone."""

from collections.abc import Iterator
from concurrent.futures import Future
from io import BytesIO

import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from isthmus import Pipeline
from isthmus.zoo import minilm
from nodes.backend import Array
from nodes.errors import BadInput
from nodes.functions.sound import RATE
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.errors import RequestFailed
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec
from partitioner.profile import EngineProfile, Profile
from tests.nodes.joining.test_shared_models import WIDTH, embedder
from tests.orchestrator.test_pipeline_spec import TOPOLOGY
from tests.orchestrator.test_sources_served import HERE

pytestmark = pytest.mark.slow
BIG = 10_001  # pixels a side: more than 100 megapixels


def jpeg(value: int, side: int = 16) -> Array:
    """A picture of one grey, as a file's bytes."""
    file = BytesIO()
    Image.new("RGB", (side, side), (value,) * 3).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.fixture(name="spec", scope="module")
def _spec(tmp_path_factory: pytest.TempPathFactory) -> DeploymentSpec:
    folder = tmp_path_factory.mktemp("grey")
    np.save(folder / "photo.npy", jpeg(100))
    made = Pipeline("grey")
    photo = made.source("photo", at="phone", dtype="uint8", samples="photo.npy")
    row = made.source("row", at="phone", dtype="float32", shape=[1, WIDTH])
    picture = made.function("picture", "decode_jpeg", photo, at="phone")
    frame = made.function("frame", "resize", picture, size=WIDTH)
    planes = made.function("planes", "normalise", frame, scale=255)
    told = made.model("told", embedder(folder), row, at="cloud")
    made.output("planes", planes)
    made.output("score", made.fusion("match", "cosine", told, row, at="cloud"))
    return made.spec(folder, topology=TOPOLOGY, forward_only=False)


def served(client: Client, spec: DeploymentSpec) -> Iterator[Client]:
    """The client, with the spec deployed by times that are given; not any more afterwards."""
    model = read_model(spec, prepare(spec).path)
    seconds = {operator.name: 1e-4 for operator in model.graph.operators}
    profile = Profile(model=model.sha256, engines={HERE: EngineProfile(operator_s=seconds)}, message_s=1e-4)
    client.deploy(spec, profile=profile)
    yield client
    client.delete(spec.name)


@pytest.fixture(name="grey", scope="module")
def _grey(shared_client: Client, spec: DeploymentSpec) -> Iterator[Client]:
    yield from served(shared_client, spec)


def asked(client: Client, photo: Array) -> "Future[Answer]":
    return client.submit("grey", {"photo": photo, "row": np.ones((1, WIDTH), np.float32)}, timeout_s=60)


def test_steps_run_where_they_are_pinned(grey: Client) -> None:
    plan = grey.plan("grey")
    at = {name: stage.node for stage in plan.stages for name in stage.operators}
    assert at["picture"] == "phone"
    assert {node for name, node in at.items() if name.startswith(("told", "match"))} == {"cloud"}


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (jpeg(100)[:-200], "damaged JPEG file of .* Truncated"),
        (np.zeros(0, np.uint8), "0 bytes that are not a JPEG file"),
        (np.frombuffer(b"GIF89a and so on", np.uint8), "not a JPEG file"),
        (jpeg(0, BIG), "pixels"),
    ],
)
def test_a_spoilt_item_fails_alone_with_its_reason_and_the_others_go_on(grey: Client, spoilt: Array, why: str) -> None:
    photos = [jpeg(40), spoilt, jpeg(80), spoilt, jpeg(120)]
    answers = [asked(grey, photo) for photo in photos]
    for at, grey_value in ((0, 40), (2, 80), (4, 120)):
        assert answers[at].result(timeout=90).outputs["planes"].mean() * 255 == pytest.approx(grey_value, abs=2)
    for at in (1, 3):
        with pytest.raises((BadInput, RequestFailed), match=why):
            answers[at].result(timeout=90)


@pytest.fixture(name="senses", scope="module")
def _senses(shared_client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A pipeline that takes sound at the phone, and words beside it in the cloud."""
    folder = tmp_path_factory.mktemp("senses")
    np.save(folder / "sound.npy", flac(1.0))
    made = Pipeline("senses")
    sound = made.source("sound", at="phone", dtype="uint8", samples="sound.npy")
    words = made.source("words", at="phone", dtype="string", shape=[1])
    samples = made.function("samples", "decode_sound", sound, at="phone")
    made.output("clip", made.function("clip", "clip_sound", samples, samples=RATE, at="cloud"))
    tokenizer = str(minilm.tokenizer())
    tokens = made.function("tokens", "tokenise", words, tokenizer=tokenizer, length=8, at="cloud")
    made.output("mask", tokens["mask"])
    spec = made.spec(folder, topology=TOPOLOGY, forward_only=False)
    yield from served(shared_client, spec)


def flac(seconds: float) -> Array:
    """So much of next to nothing, at 8 kHz, in pieces so that hours take no memory."""
    file = BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC") as writer:
        for _ in range(max(1, round(seconds / 60))):
            count = round(min(seconds, 60.0) * 8000)
            writer.write(np.full(count, 0.01, np.float32))
    return np.frombuffer(file.getvalue(), np.uint8)


def heard(client: Client, sound: Array, words: bytes) -> "Future[Answer]":
    feeds = {"sound": sound, "words": np.array([words], np.object_)}
    return client.submit("senses", feeds, timeout_s=60)


def test_hours_of_sound_and_words_that_are_no_utf_8_fail_alone_and_take_no_memory(senses: Client) -> None:
    fine, hours = flac(1.0), flac(2 * 3600.0)
    right = senses.infer("senses", {"sound": fine, "words": np.array(["a cup of café".encode()], np.object_)})
    workers = {node: psutil.Process(one["pid"]) for node, one in senses.status()["workers"].items()}
    before = {node: process.memory_info().rss for node, process in workers.items()}
    items = {
        "": (fine, "a cup of café".encode()),
        "7200.0 s of sound; at most 60 s": (hours, b"tea"),
        "not UTF-8": (fine, b"caf\xe9"),
    }
    asked = [(why, heard(senses, *given)) for _ in range(5) for why, given in items.items()]
    for why, answer in asked:
        if why:
            with pytest.raises((BadInput, RequestFailed), match=why):
                answer.result(timeout=90)
            continue
        for name, array in answer.result(timeout=90).outputs.items():
            np.testing.assert_array_equal(array, right[name])
    grown = {node: process.memory_info().rss - before[node] for node, process in workers.items()}
    assert max(grown.values()) < 100 << 20, grown  # two hours as float32 at 16 kHz take 461 MB
