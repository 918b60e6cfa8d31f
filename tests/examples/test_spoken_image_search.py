"""Photographs found by voice and by hand: how many, whole and cut, and that the loop says what the steps say."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from examples.spoken_image_search.__main__ import CODECS, EAR, EYE
from examples.spoken_image_search.pipeline import pipeline
from examples.spoken_image_search.questions import QUESTIONS, album
from examples.spoken_image_search.search import Found, ask, search
from examples.spoken_image_search.stages import ONE_MACHINE, Parts, parts, planned
from isthmus.zoo.listening import text, tokens
from isthmus.zoo.sound import read_wav
from nodes.backend import Array, load_backend
from nodes.functions.sound import log_mel
from nodes.functions.text import held
from partitioner.load import Model
from tests.contracts.backend_models import zoo_model

pytestmark = pytest.mark.slow
SENTENCES = ("Please open the window and the door.", "My brother has a new computer.", "A cat.")


def coffee() -> Array:
    return np.frombuffer(album()["coffee"], np.uint8)


@pytest.fixture(scope="module", name="spoken")
def _spoken(tmp_path_factory: pytest.TempPathFactory) -> Model:
    zoo_model("whisper_encoder")
    sample = {**ask("coffee", spoken=True), "photo": coffee()}
    folder = tmp_path_factory.mktemp("spoken")
    return planned(pipeline(folder, spoken=True).spec(folder, topology=ONE_MACHINE), sample, folder)


@pytest.fixture(scope="module", name="whole")
def _whole(spoken: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    made = parts(spoken, tmp_path_factory.mktemp("whole"))
    yield made
    made.close()


@pytest.fixture(scope="module", name="found")
def _found(whole: Parts) -> list[Found]:
    return search(whole.run, spoken=True)


def right(found: list[Found]) -> int:
    return sum(one.right for one in found)


def test_six_of_seven_spoken_questions_find_their_photograph(found: list[Found]) -> None:
    assert right(found) >= 6
    assert found[0].heard == "Show me a picture of a cat."


def test_the_score_of_a_pair_is_what_the_search_ranks_by(whole: Parts, found: list[Found]) -> None:
    (score,) = whole.run({**ask("cat", spoken=True), "photo": coffee()})["score"]
    assert score == pytest.approx(dict(found[0].scores)["coffee"], abs=1e-5)


@pytest.mark.parametrize("codecs", [{}, CODECS])
def test_cuts_change_no_answer(spoken: Model, found: list[Found], tmp_path: Path, codecs: dict[str, str]) -> None:
    made = parts(spoken, tmp_path, cuts=(EAR, EYE), codecs=codecs)
    again = search(made.run, spoken=True)
    made.close()
    assert [one.best for one in again] == [one.best for one in found]
    assert codecs or [one.heard for one in again] == [one.heard for one in found]
    assert set(made.sent) == {EAR, EYE}  # nothing else crosses
    assert made.sent[EAR] == len(album()) * 1500 * 384 * (2 if codecs else 4)


def test_seven_of_seven_are_found_by_hand_where_the_microphone_is_missing(tmp_path: Path) -> None:
    zoo_model("minilm")
    sample = {"query": held(["a cup"]), "photo": coffee()}
    spec = pipeline(tmp_path, spoken=False).spec(tmp_path, topology=ONE_MACHINE)
    made = parts(planned(spec, sample, tmp_path), tmp_path / "store", cuts=(EYE,))
    found = search(made.run, spoken=False)
    made.close()
    assert right(found) == len(QUESTIONS)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_loop_says_what_the_decoder_says_step_by_step(whole: Parts, tmp_path: Path, sentence: str) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (Debian, Ubuntu: apt-get install espeak-ng)")
    path = tmp_path / "said.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "120", "-w", str(path), sentence], check=True)
    encoder, decoder = (
        load_backend("onnxruntime").compile(zoo_model(f"whisper_{one}")) for one in ("encoder", "decoder")
    )
    stepped = text(list(tokens(encoder.run({"mel": log_mel(read_wav(path))}), decoder.run)))
    (heard,) = whole.run({"sound": np.fromfile(path, np.uint8), "photo": coffee()})["heard"]
    assert heard.decode() == stepped
