"""What speech models are fed and made from: WAV files, log-mel spectrograms, CTranslate2's files."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.zoo.ctranslate import read_variables
from isthmus.zoo.errors import ZooError
from isthmus.zoo.sound import read_wav
from nodes.functions.sound import log_mel, triangles


def tone(hertz: float, rate: int = 16_000, seconds: float = 1.0) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def wav(path: Path, channels: list[NDArray[np.float32]], rate: int, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((np.stack(channels, axis=1) * 2 ** (8 * width - 1) * 0.9).astype(f"<i{width}").tobytes())
    return path


def test_a_wav_file_is_read_at_16_khz_in_one_channel(tmp_path: Path) -> None:
    given = tone(440, rate=22_050)
    read = read_wav(wav(tmp_path / "a.wav", [given, given * 0], 22_050))
    middle = slice(1000, -1000)  # the filter needs some samples at both ends
    np.testing.assert_allclose(read[middle], 0.45 * tone(440)[middle], atol=2e-3)


@pytest.mark.parametrize(("content", "told"), [(b"RIFF", "not a WAV file"), (None, "32 bits; convert it to 16-bit")])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = wav(tmp_path / "a.wav", [tone(440)], 16_000, width=4)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ZooError, match=told) as caught:
        read_wav(path)
    assert "\n" not in str(caught.value)


def test_bands_are_those_that_whisper_was_trained_with() -> None:
    """The first figures of the filter bank that OpenAI publishes beside the weights."""
    np.testing.assert_allclose(triangles()[1, :2], [0.02486259, 0.00199082], rtol=1e-5)
    assert triangles().shape == (201, 80)


@pytest.mark.parametrize("hertz", [320, 1000, 4000])
def test_a_tone_is_loudest_in_the_band_around_it(hertz: float) -> None:
    spectrogram = log_mel(tone(hertz))
    assert spectrogram.shape == (1, 80, 3000)
    assert spectrogram[0, :, 50].argmax() == triangles()[round(hertz / 40)].argmax()


def test_what_lies_80_db_below_the_loudest_is_cut_off() -> None:
    spectrogram = log_mel(tone(1000))
    assert spectrogram.max() - spectrogram.min() == pytest.approx(2.0)
    assert (log_mel(tone(1000)[:0]) == -1.5).all()


def named(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def ctranslate(path: Path, *, version: int = 6, dtype: int = 4, size: int = 2) -> Path:
    values = np.arange(2, dtype="<f2").tobytes()
    variable = named("w") + struct.pack("<BIIBI", 2, 1, size, dtype, len(values)) + values
    head = struct.pack("<I", version) + named("WhisperSpec") + struct.pack("<II", 3, 1)
    path.write_bytes(head + variable + struct.pack("<I", 1) + named("tied") + named("w"))
    return path


def test_a_ctranslate2_file_is_read_with_its_aliases(tmp_path: Path) -> None:
    found = read_variables(ctranslate(tmp_path / "model.bin"), "WhisperSpec")
    assert found["w"].tolist() == [[0.0, 1.0]]
    assert found["tied"] is found["w"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 5}, "version 5 of WhisperSpec, not 6 of WhisperSpec"),
        ({"dtype": 9}, "type 9"),
        ({"size": 3}, r"'w' of shape \[1, 3\] has 4 bytes"),
    ],
)
def test_a_ctranslate2_file_that_is_not_understood_is_refused(
    tmp_path: Path, change: dict[str, int], told: str
) -> None:
    with pytest.raises(ZooError, match=told) as caught:
        read_variables(ctranslate(tmp_path / "model.bin", **change), "WhisperSpec")
    assert "\n" not in str(caught.value)


def test_a_ctranslate2_file_that_ends_anywhere_too_early_is_refused(tmp_path: Path) -> None:
    path = ctranslate(tmp_path / "model.bin")
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ZooError, match=r"not a CTranslate2 model .*(are missing|requires a buffer)"):
            read_variables(path, "WhisperSpec")
