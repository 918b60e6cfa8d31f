"""Two seconds of sound as vectors and as speech: against the source models, window by window and chunk by chunk."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from examples.spoken_image_search.questions import clip
from isthmus.zoo import hearing
from isthmus.zoo.listening import speech
from isthmus.zoo.packages import file_in
from nodes.backend import Session, load_backend
from nodes.functions import function
from tests.contracts.backend_models import zoo_model

SILENCE = np.zeros(hearing.SHAPE, np.float32)


@pytest.fixture(scope="module", name="said")
def _said() -> NDArray[np.float32]:
    """Two seconds of "Show me a picture of a cat", of which the first eighth is silent."""
    (sound,) = function("decode_sound").run({}, np.frombuffer(clip("cat"), np.uint8))
    said = SILENCE.copy()
    said[0, 4000:] = sound[: hearing.SAMPLES - 4000]
    return said


def session(name: str) -> Session:
    return load_backend("onnxruntime").compile(zoo_model(name))


def source(name: str, given: NDArray[np.float32]) -> NDArray[Any]:
    path = file_in("livekit", f"wakeword/resources/{name}.onnx")
    made = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(made.run(None, {made.get_inputs()[0].name: given})[0])


def test_the_spectrogram_is_the_source_models_scaled_as_the_embedding_takes_it(said: NDArray[np.float32]) -> None:
    made = session("hear_mel").run({"sound": said})["mel"]
    assert made.shape == (hearing.FRAMES, hearing.BANDS)
    np.testing.assert_allclose(made, source("melspectrogram", said)[0, 0] / 10 + 2, atol=1e-4)


@pytest.mark.parametrize("hertz", [500, 1000, 2000, 3000])
def test_a_tone_is_loudest_in_its_band(hertz: int) -> None:
    """32 bands from 60 to 3800 Hz (Lin et al., arXiv:2002.01322), in even steps on Slaney's mel scale."""
    tone = np.sin(2 * np.pi * hertz * np.arange(hearing.SAMPLES) / 16_000, dtype=np.float32)[np.newaxis]
    mels = [15 * one / 1000 if one < 1000 else 15 + 27 * np.log(one / 1000) / np.log(6.4) for one in (60, hertz, 3800)]
    band = (mels[1] - mels[0]) / (mels[2] - mels[0]) * (hearing.BANDS + 1) - 1
    made = session("hear_mel").run({"sound": tone})["mel"][50]
    assert int(made.argmax()) == pytest.approx(band, abs=1)


def test_all_windows_at_once_are_the_vectors_that_each_gives_alone(said: NDArray[np.float32]) -> None:
    mel = session("hear_mel").run({"sound": said})["mel"]
    made = session("hear_embed").run({"mel": mel})["vectors"]
    assert made.shape == (hearing.WINDOWS, hearing.WIDTH)
    for at in (0, 7, hearing.WINDOWS - 1):
        window = mel[at * hearing.STEP :][np.newaxis, : hearing.WINDOW, :, np.newaxis]
        np.testing.assert_allclose(made[at], source("embedding_model", window).reshape(-1), rtol=1e-3, atol=1e-3)


def test_the_embedding_has_the_parameters_of_the_published_one() -> None:
    model = onnx.load(zoo_model("hear_embed"))
    weights = (tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    assert sum(int(np.prod(tensor.dims)) for tensor in weights) == pytest.approx(330_000, rel=0.02)


def test_a_clip_at_once_is_heard_as_chunk_by_chunk(said: NDArray[np.float32]) -> None:
    whole = session("hear_speech").run({"sound": said})
    stepped = speech(said[0], session("silero").run)
    np.testing.assert_allclose(whole["speech"], stepped, atol=1e-4)
    assert whole["share"].tolist() == pytest.approx([(stepped > 0.5).mean()])
    assert whole["share"][0] > 0.5


def test_silence_is_no_speech() -> None:
    assert session("hear_speech").run({"sound": SILENCE})["share"].tolist() == [0]
