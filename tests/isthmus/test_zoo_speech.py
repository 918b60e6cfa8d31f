"""The zoo's ears: Whisper in two halves and Silero VAD, on sentences that espeak-ng says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from isthmus import load_model, zoo
from isthmus.zoo import whisper
from isthmus.zoo.listening import PLAIN, START, chunks, likeliest, speech, text, tokens, transcribe
from isthmus.zoo.packages import file_in
from isthmus.zoo.sound import read_wav
from nodes.backend import Session, load_backend
from nodes.functions.sound import log_mel
from nodes.normalise import normalise
from tests.contracts.backend_models import halves, zoo_model

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/zoo.md").read_text()
SENTENCES = (
    "Please open the window and the door.",
    "I would like to drink a cup of coffee.",
    "Two people are walking in the garden.",
    "My brother has a new computer.",
    "There is a beautiful temple in the mountains.",
    "The children are playing in the park.",
)
SECOND = np.zeros(16_000, np.float32)  # of silence

Say = Callable[[str], NDArray[np.float32]]
Feeds = dict[str, NDArray[Any]]


@pytest.fixture(scope="module", name="say")
def _say(tmp_path_factory: pytest.TempPathFactory) -> Say:
    """Says a sentence: its sound at 16 kHz."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (Debian, Ubuntu: apt-get install espeak-ng)")
    path = tmp_path_factory.mktemp("said") / "said.wav"

    def say(sentence: str) -> NDArray[np.float32]:
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "120", "-w", str(path), sentence], check=True)
        return read_wav(path)

    return say


def session(name: str) -> Session:
    return load_backend("onnxruntime").compile(zoo_model(name))


@pytest.fixture(scope="module", name="encoder")
def _encoder() -> Session:
    return session("whisper_encoder")


@pytest.fixture(scope="module", name="decoder")
def _decoder() -> Session:
    return session("whisper_decoder")


@pytest.fixture(scope="module", name="whole")
def _whole() -> Session:
    return session("whisper")


@pytest.fixture(scope="module", name="cross")
def _cross(encoder: Session, say: Say) -> Feeds:
    """What the decoder attends to of the first sentence."""
    return encoder.run({"mel": log_mel(say(SENTENCES[0]))})


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z']+", sentence.lower())


def nothing_kept(batch: int = 1) -> Feeds:
    return {name: np.zeros((batch, *shape[1:]), np.float32) for name, shape in whisper.KEPT_SHAPES.items()}


def stepped(decoder: Session, cross: Feeds, row: list[int]) -> tuple[list[NDArray[Any]], Feeds]:
    """The logits after each token of a row, one step at a time, and what is kept in the end."""
    kept, logits = nothing_kept(), []
    for position, token in enumerate(row):
        made = decoder.run({"token": np.array([[token]]), "position": np.array([position]), **cross, **kept})
        kept = {name: made[output] for output, name in whisper.STATE.items()}
        logits.append(made["logits"])
    return logits, kept


@pytest.mark.slow
def test_whisper_writes_what_is_said(encoder: Session, decoder: Session, say: Say) -> None:
    written = [transcribe(say(sentence), encoder.run, decoder.run) for sentence in SENTENCES]
    right = [words(one) == words(sentence) for one, sentence in zip(written, SENTENCES, strict=True)]
    assert sum(right) >= 5, written


@pytest.mark.slow
def test_steps_that_keep_keys_and_values_give_the_logits_of_the_whole_row(
    decoder: Session, whole: Session, cross: Feeds, say: Say
) -> None:
    row = [START, PLAIN, *tokens(cross, decoder.run)]
    by_step, _ = stepped(decoder, cross, row)
    padded = np.zeros((1, whisper.LENGTH), np.int64)
    padded[0, : len(row)] = row
    for place in (0, 1, len(row) // 2, len(row) - 1):
        feeds = {"mel": log_mel(say(SENTENCES[0])), "tokens": padded, "asked": np.array([place])}
        np.testing.assert_allclose(by_step[place], whole.run(feeds)["logits"], atol=1e-3)


def test_a_step_keeps_the_rows_before_it_and_sees_none_after(decoder: Session, cross: Feeds) -> None:
    (*_, want), kept = stepped(decoder, cross, [START, PLAIN, 2])
    littered = {name: array.copy() for name, array in kept.items()}
    for name, array in littered.items():
        np.moveaxis(array, -1 if "keys" in name else -2, 0)[2:] = 9.0
    made = decoder.run({"token": np.array([[2]]), "position": np.array([2]), **cross, **littered})
    np.testing.assert_array_equal(made["logits"], want)
    for output, name in whisper.STATE.items():
        axis = -1 if "keys" in name else -2
        now, then = np.moveaxis(made[output], axis, 0), np.moveaxis(kept[name], axis, 0)
        np.testing.assert_array_equal(now[:3], then[:3])
        assert (now[3:] == 9.0).all()


@pytest.mark.slow
def test_rows_of_a_batch_may_be_at_positions_of_their_own(decoder: Session, cross: Feeds) -> None:
    shapes = {name: (2, *shape[1:]) for name, shape in whisper.STEP_SHAPES.items()}
    model = normalise(whisper.decoder(), shapes=shapes).proto.SerializeToString()
    (first, second), kept = stepped(decoder, cross, [START, PLAIN])
    twice = {name: np.concatenate([array, array]) for name, array in cross.items()}
    rows = {name: np.concatenate([np.zeros_like(array), array]) for name, array in kept.items()}
    feeds = {"token": np.array([[START], [PLAIN]]), "position": np.array([0, 1]), **twice, **rows}
    made = load_backend("onnxruntime").compile(model).run(feeds)["logits"]
    np.testing.assert_allclose(made, np.concatenate([first, second]), atol=1e-3)


def test_an_answer_starts_with_no_blank_and_holds_nothing_that_is_never_said() -> None:
    zoo_model("whisper_encoder")
    logits = np.zeros(whisper.VOCABULARY, np.float32)
    logits[[START, 220, 2159]] = 3.0, 2.0, 1.0
    assert [likeliest(logits, first=first) for first in (True, False)] == [2159, 220]


def test_an_answer_ends_when_the_decoder_can_keep_no_more() -> None:
    def chatters(feeds: Mapping[str, NDArray[Any]]) -> Feeds:
        logits = np.zeros((1, whisper.VOCABULARY), np.float32)
        logits[0, 100 + feeds["position"][0]] = 1.0
        return {"logits": logits, **{output: feeds[name] for output, name in whisper.STATE.items()}}

    assert list(tokens({}, chatters)) == list(range(101, 100 + whisper.CAPACITY))


@pytest.mark.slow
def test_sound_and_tokens_alone_cross_a_cut_between_encoder_and_decoder(whole: Session, say: Say) -> None:
    model = load_model(zoo_model("whisper"))
    at = model.graph.activations["sound"].producer
    assert at is not None
    front, back, live = halves(model, at + 1)
    assert set(live) == {"sound", "tokens", "asked"}
    row = np.zeros((1, whisper.LENGTH), np.int64)
    row[0, :2] = START, PLAIN
    feeds = {"mel": log_mel(say(SENTENCES[0])), "tokens": row, "asked": np.array([1])}
    want = whole.run(feeds)["logits"]
    engine = load_backend("onnxruntime")
    crossing = engine.compile(front).run({"mel": feeds["mel"]}) | {name: feeds[name] for name in ("tokens", "asked")}
    made = engine.compile(back).run(crossing)
    np.testing.assert_allclose(made["logits"], want, atol=1e-3)


@pytest.mark.parametrize("name", ["silero", "whisper", "whisper_decoder", "whisper_encoder"])
def test_planning_reads_the_speech_models_without_control_flow_or_open_shapes(name: str) -> None:
    model = load_model(zoo_model(name))
    assert not {one.op_type for one in model.graph.operators} & {"If", "Loop", "Scan", "Shape"}
    assert not any(one.dynamic for one in model.graph.activations.values())


@pytest.mark.parametrize(
    ("ids", "spelled"),
    [
        ([15496, 995], "Hello world"),
        ([2634], "é"),
        ([126, 105, 126, 255], "¬\xad"),
        ([START, PLAIN, 15496, 50256], "Hello"),
        ([], ""),
    ],
)
def test_tokens_spell_as_in_the_published_vocabulary(ids: list[int], spelled: str) -> None:
    zoo_model("whisper_encoder")
    assert text(ids) == spelled


@pytest.fixture(scope="module", name="vad")
def _vad() -> Session:
    return session("silero")


def test_speech_is_told_from_silence(vad: Session, say: Say) -> None:
    sound = np.concatenate([SECOND, say(SENTENCES[0]), SECOND])
    found = speech(sound, vad.run)
    loudness = np.sqrt([np.mean(chunk**2) for chunk in chunks(sound)])
    loud = loudness > 0.2 * loudness.max()
    assert (found[loud] > 0.5).mean() > 0.95
    assert found[:31].max() < 0.2
    assert found[-31:].max() < 0.2


def test_state_carried_from_chunk_to_chunk_gives_what_the_package_s_sequence_gives(vad: Session, say: Say) -> None:
    said = say(SENTENCES[1])
    said = said[: said.size // 512 * 512]
    rows = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.zeros(64, np.float32), said]), 576)[::512]
    package = onnxruntime.InferenceSession(file_in("silero_vad", "data/silero_vad_16k_sequence.onnx"))
    state = np.zeros((1, 1, 128), np.float32)
    (want,) = package.run(["speech_probs"], {"input": rows, "h": state, "c": state})
    np.testing.assert_allclose(speech(said, vad.run), want, atol=1e-5)


def test_a_last_chunk_is_filled_up_with_silence(vad: Session) -> None:
    assert speech(SECOND[:0], vad.run).shape == (0,)
    assert speech(SECOND[:513], vad.run).shape == (2,)


def test_the_document_lists_the_models_there_are() -> None:
    rows = re.findall(r"^\| (`.*?) \| .* \| .* \|$", DOCUMENT.partition("## Speech")[0], re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(zoo.NAMES)


@pytest.mark.slow
def test_the_document_s_example_writes_what_its_command_says(say: Say, tmp_path: Path) -> None:
    command = next(shlex.split(line[2:]) for line in DOCUMENT.splitlines() if line.startswith("$ espeak-ng"))
    (example,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.M | re.S)
    subprocess.run(command, cwd=tmp_path, check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    counted, written = done.stdout.splitlines()
    assert re.fullmatch(r"speech in 2\.\d of 3\.\d s", counted)
    assert words(written) == words(command[-1])
