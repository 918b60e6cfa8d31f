"""A spoken note: the stream that finds its phrases, and the note written down on real Ray while a worker is killed."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from examples.spoken_image_search.stages import parts, planned
from examples.voice_notes.__main__ import HIDDEN, _phrases, kill, pieces, tell
from examples.voice_notes.note import NOTE, SENTENCES, all_words, right_words
from examples.voice_notes.pipeline import EAR, TOPOLOGY, WRITER, ear, writer
from examples.voice_notes.stream import MOST_S, Stream, Written
from examples.voice_notes.tokens import SAYER, Speller, hearer, sayer
from isthmus.zoo import listening
from isthmus.zoo.silero import CHUNK, CONTEXT
from nodes.backend import Array
from nodes.errors import BadInput, Overloaded
from nodes.functions.sound import RATE
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.model_file import prepare, read_model
from orchestrator.spec import DeploymentSpec
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.contracts.backend_models import zoo_model

HERE = EngineKey(node_class="here", backend="onnxruntime")
Feeds = Mapping[str, Array]


def sound_of(*levels: tuple[float, int]) -> Array:
    """So many frames of each level, as a ramp in its last digits so that every sample is its own."""
    sound = np.concatenate([np.full(count * CHUNK, level, np.float32) for level, count in levels])
    return sound + np.arange(sound.size, dtype=np.float32) * 1e-7


def wav(sound: Array, rate: int = RATE, subtype: str = "FLOAT") -> Array:
    file = BytesIO()
    soundfile.write(file, sound, rate, format="WAV", subtype=subtype)
    return np.frombuffer(file.getvalue(), np.uint8)


class Played:
    """An ear that takes what is loud for speech, and a writer that says how many samples it got."""

    def __init__(self, *, writes: bool = True) -> None:
        self.rows: list[Array] = []
        self.phrases: list[Array] = []
        self.writes = writes

    def listen(self, feeds: Feeds) -> Feeds:
        self.rows.append(feeds["chunk"])
        return {"speech": (np.abs(feeds["chunk"]).mean(axis=1) > 0.1).astype(np.float32)}

    def write(self, feeds: Feeds) -> "Future[Answer]":
        self.phrases.append(feeds["sound"])
        future: Future[Answer] = Future()
        if self.writes:
            text = np.array([str(feeds["sound"].size).encode()], np.object_)
            future.set_result(Answer(outputs={"text": text}, latency_s=0.1, epoch=1, attempt=1))
        return future


def streamed(sound: Array, step: int) -> tuple[Played, list[Written], Stream]:
    played = Played()
    stream = Stream(played.listen, played.write)
    for begin in range(0, sound.size, step):
        stream.put(wav(sound[begin : begin + step]))
    stream.end()
    return played, list(stream), stream


NOISE = sound_of((0.0, 40), (0.5, 30), (0.0, 40), (0.5, 60), (0.0, 30), (0.5, 20))


@pytest.mark.parametrize("step", [100, CHUNK, 4096, 10_000, NOISE.size])
def test_phrases_are_the_same_however_the_sound_is_cut(step: int) -> None:
    played, written, _ = streamed(NOISE, step)
    whole, _, _ = streamed(NOISE, NOISE.size)
    assert len(played.phrases) == 3
    for one, other in zip(played.phrases, whole.phrases, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [one.text for one in written] == [str(phrase.size) for phrase in played.phrases]
    assert (written[0].begin_s, written[0].end_s) == pytest.approx((36 * 0.032, 74 * 0.032))
    rows = np.concatenate([row for rows in played.rows for row in rows[:, CONTEXT:]])[: NOISE.size]
    np.testing.assert_array_equal(rows, NOISE)  # all is heard once
    led = np.concatenate([rows[:, :CONTEXT] for rows in played.rows])
    np.testing.assert_array_equal(led[1], NOISE[CHUNK - CONTEXT : CHUNK])


def test_sound_that_belongs_to_no_phrase_is_let_go_of() -> None:
    played = Played()
    stream = Stream(played.listen, played.write)
    for _ in range(50):
        stream.put(wav(sound_of((0.0, 100))))
        assert stream._sound.size < 40 * CHUNK


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (wav(np.zeros(0, np.float32)), "without a sample"),
        (np.zeros(0, np.uint8), "no sound file"),
        (wav(np.full(4000, np.nan, np.float32)), "no numbers"),
        (wav(np.ones(4000, np.float32)), "clipped"),
        (wav(np.zeros(RATE, np.float32))[:3000], "cut short"),
        (wav(np.zeros(4000, np.float32), rate=400_000), "400,000 Hz"),
        (wav(np.zeros(70 * 100, np.float32), rate=100), r"70\.0 s of sound"),
    ],
)
def test_a_spoilt_piece_is_left_out_with_its_reason_and_the_stream_goes_on(spoilt: Array, why: str) -> None:
    played = Played()
    stream = Stream(played.listen, played.write)
    half = NOISE.size // 2 // CHUNK * CHUNK
    stream.put(wav(NOISE[:half]))
    with pytest.raises(BadInput, match=why):
        stream.put(spoilt)
    stream.put(wav(NOISE[half:]))
    stream.end()
    assert len(list(stream)) == 3
    assert [phrase.size for phrase in played.phrases] == [phrase.size for phrase in streamed(NOISE, 4096)[0].phrases]


def test_other_rates_are_brought_to_the_ear_s() -> None:
    played = Played()
    stream = Stream(played.listen, played.write)
    stream.put(wav(sound_of((0.0, 60), (0.5, 60), (0.0, 60)), rate=2 * RATE))
    stream.end()
    (written,) = stream
    assert written.end_s - written.begin_s == pytest.approx((30 + 8) * 0.032, abs=0.07)


def test_what_is_not_written_down_is_kept_up_to_a_bound() -> None:
    played = Played(writes=False)
    stream = Stream(played.listen, played.write)
    minute = wav(sound_of((0.5, 1800), (0.0, 20)))
    with pytest.raises(Overloaded, match="not written down yet"):
        for _ in range(10):
            stream.put(minute)
    assert sum(phrase.size for phrase in played.phrases) <= (MOST_S + 120) * RATE


def test_a_reader_that_waits_ends_with_the_stream() -> None:
    played, found = Played(), list[Written]()
    stream = Stream(played.listen, played.write)
    taker = threading.Thread(target=lambda: found.extend(stream))
    taker.start()
    stream.put(wav(NOISE))
    stream.end()
    taker.join(timeout=20)
    assert not taker.is_alive()
    assert len(found) == 3


@pytest.fixture(name="spec", scope="module")
def _spec(tmp_path_factory: pytest.TempPathFactory) -> DeploymentSpec:
    zoo_model("whisper_encoder")
    samples = soundfile.read(NOTE, dtype="float32")[0]
    return writer(tmp_path_factory.mktemp("writer"), samples[: 3 * RATE])


@pytest.mark.slow
def test_a_raw_cut_changes_no_word_and_nine_of_ten_are_right(spec: DeploymentSpec, tmp_path: Path) -> None:
    samples = soundfile.read(NOTE, dtype="float32")[0]
    model = planned(spec, {"sound": samples[: 3 * RATE]}, tmp_path)
    said = _phrases(samples)
    assert len(said) == len(SENTENCES)
    texts: dict[tuple[str, ...], list[str]] = {}
    for cuts in ((), (HIDDEN,)):
        made = parts(model, tmp_path / "store", cuts=cuts)
        texts[cuts] = [made.run({"sound": samples[begin:end]})["text"][0].decode() for begin, end in said]
        made.close()
    assert texts[()] == texts[HIDDEN,]
    assert right_words(texts[()]) >= 0.9 * all_words()


@pytest.fixture(name="noting")
def _noting(shared_client: Client, spec: DeploymentSpec, tmp_path: Path) -> Iterator[Client]:
    """Both deployed, with times that have the writer in the cloud."""
    for one in (ear(tmp_path), spec):
        model = read_model(one, prepare(one).path)
        each_s = 1e-5 if one.name == EAR else 5e-3
        seconds = {operator.name: each_s for operator in model.graph.operators}
        profile = Profile(model=model.sha256, engines={HERE: EngineProfile(operator_s=seconds)}, message_s=1e-4)
        shared_client.deploy(one, profile=profile)
    yield shared_client
    for name in (EAR, WRITER):
        shared_client.delete(name)


@pytest.fixture(name="spelling")
def _spelling(shared_client: Client, tmp_path: Path) -> Iterator[Client]:
    """Both deployments of the speller, with times that have all but the numbers in the cloud."""
    zoo_model("whisper_encoder")
    specs = (hearer(tmp_path, phrase(), TOPOLOGY), sayer(tmp_path, TOPOLOGY))
    for one in specs:
        model = read_model(one, prepare(one).path)
        seconds = {operator.name: 5e-3 for operator in model.graph.operators}
        profile = Profile(model=model.sha256, engines={HERE: EngineProfile(operator_s=seconds)}, message_s=1e-4)
        shared_client.deploy(one, profile=profile)
    yield shared_client
    for one in specs:
        shared_client.delete(one.name)


def phrase() -> Array:
    """The note's first sentence."""
    return soundfile.read(NOTE, dtype="float32")[0][RATE // 2 : 4 * RATE]


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [None, 0, 4])
def test_a_phrase_comes_token_by_token_and_is_the_same_when_the_cloud_dies_meanwhile(
    spelling: Client, dies_at: int | None
) -> None:
    assert {stage.node for stage in spelling.plan(SAYER).stages} == {"cloud"}
    told = []
    for at, token in enumerate(Speller(spelling).tokens(phrase())):
        told.append(token)
        if at == dies_at:
            kill(spelling, "cloud")
    assert listening.text(told) == SENTENCES[0]


@pytest.mark.slow
def test_no_word_is_lost_or_doubled_when_the_writer_is_killed(noting: Client) -> None:
    assert {stage.node for stage in noting.plan(WRITER).stages} == {"cloud"}
    told = tell(noting, paced=False, meanwhile=partial(kill, noting, "cloud"))
    assert len(told.phrases) == len(SENTENCES)
    assert [one.begin_s for one in told.phrases] == sorted(one.begin_s for one in told.phrases)
    assert right_words(told.texts) >= 0.9 * all_words()
    assert len(pieces()) * 0.256 > told.phrases[-1].end_s
