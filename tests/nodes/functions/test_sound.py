"""Sound files and what is made of them."""

import struct
from io import BytesIO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from nodes.errors import BadInput
from tests.nodes.functions.called import called


def tone(hz: float = 440.0, seconds: float = 1.0, rate: int = 16_000, height: float = 0.5) -> NDArray[np.float32]:
    times = np.arange(round(seconds * rate)) / rate
    return (height * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def file_of(sound: NDArray[np.float32], rate: int = 16_000, kind: str = "WAV") -> NDArray[np.uint8]:
    file = BytesIO()
    soundfile.write(file, sound, rate, format=kind)
    return np.frombuffer(file.getvalue(), np.uint8)


def loudest_hz(sound: NDArray[np.float32], rate: int) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate / sound.size)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_file_is_decoded(kind: str) -> None:
    (sound,) = called("decode_sound", file_of(tone(), kind=kind))
    np.testing.assert_allclose(sound, tone(), atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_brought_to_the_one_wanted(rate: int) -> None:
    (sound,) = called("decode_sound", file_of(tone(rate=rate), rate))
    assert abs(sound.size - 16_000) <= 1
    assert loudest_hz(sound, 16_000) == pytest.approx(440, abs=1)


def test_what_a_lower_rate_cannot_hold_is_gone() -> None:
    (sound,) = called("resample", tone(7_000, rate=48_000), **{"from": 48_000, "to": 8_000})
    assert np.abs(sound[200:-200]).max() < 1e-3  # rather than a tone at 1 kHz


def test_channels_are_averaged() -> None:
    both = np.stack([tone(), np.zeros_like(tone())], axis=1)
    (sound,) = called("decode_sound", file_of(both))
    np.testing.assert_allclose(sound, tone() / 2, atol=1e-4)


def test_a_long_file_is_refused_by_what_its_head_says() -> None:
    data = file_of(tone(seconds=3))
    with pytest.raises(BadInput, match=r"3\.0 s of sound; at most 2 s"):
        called("decode_sound", data, most_s=2)


def test_two_hours_are_refused_without_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    soundfile.write(file, np.zeros(2 * 3600 * 1000, np.int16), 1000, format="FLAC")
    monkeypatch.setattr(soundfile.SoundFile, "blocks", None)
    with pytest.raises(BadInput, match=r"7200\.0 s of sound; at most 60 s"):
        called("decode_sound", np.frombuffer(file.getvalue(), np.uint8))


@pytest.mark.parametrize(("channels", "rate"), [(9, 16_000), (1, 400_000)])
def test_a_small_file_that_holds_too_much_is_refused(channels: int, rate: int) -> None:
    file = BytesIO()
    soundfile.write(file, np.zeros((100, channels), np.float32), rate, format="WAV")
    with pytest.raises(BadInput, match=r"channels at .* Hz; at most 8 at 192,000 Hz"):
        called("decode_sound", np.frombuffer(file.getvalue(), np.uint8))


@pytest.mark.parametrize("sample", [np.nan, np.inf, 1e38])
def test_samples_that_are_no_numbers_are_refused(sample: float) -> None:
    file = BytesIO()
    soundfile.write(file, np.array([0.1, sample, 0.1], np.float32), 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(BadInput, match="no numbers, or beyond all measure"):
        called("decode_sound", np.frombuffer(file.getvalue(), np.uint8))


def test_a_file_cut_short_is_refused() -> None:
    with pytest.raises(BadInput, match=r"cut short: 20000 of 32044 bytes"):
        called("decode_sound", file_of(tone())[:20_000])


def test_a_file_from_a_pipe_states_no_length_and_is_taken() -> None:
    data = file_of(tone()).copy()
    data[4:8] = np.frombuffer(struct.pack("<I", 0x7FFFF024), np.uint8)
    data[40:44] = np.frombuffer(struct.pack("<I", 0x7FFFF000), np.uint8)
    assert called("decode_sound", data)[0].size == 16_000


def test_no_sample_is_refused() -> None:
    with pytest.raises(BadInput, match="without a sample"):
        called("decode_sound", file_of(tone(seconds=0)))
    with pytest.raises(BadInput, match="without a sample"):
        called("log_mel", tone(seconds=0))


def test_clipped_sound_is_refused_and_loud_sound_is_not() -> None:
    loud = np.clip(tone(height=0.99), -1, 1)
    assert called("decode_sound", file_of(loud))[0].size
    with pytest.raises(BadInput, match=r"clipped sound: \d\d% of its samples"):
        called("decode_sound", file_of(np.clip(tone(height=4.0), -1, 1)))


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(BadInput, match="100 bytes that are no sound file"):
        called("decode_sound", np.zeros(100, np.uint8))
    with pytest.raises(BadInput, match="no numbers"):
        called("log_mel", np.full(16_000, np.nan, np.float32))
    with pytest.raises(BadInput, match=r"not float32 \[1, 16000\]"):
        called("log_mel", tone()[None])


def test_a_tone_is_loudest_in_the_band_that_holds_it() -> None:
    (mel,) = called("log_mel", tone(1000.0))
    bands = mel[0, :, 10:90].mean(axis=1)
    assert bands.argmax() == pytest.approx(80 * 15 / 45.2 - 1, abs=1)  # 15 of the 45.2 mels up to 8 kHz
    assert mel[0, :, 200:].max() < bands.max() - 1  # silence after its end


def test_a_clip_is_as_long_as_it_must_be() -> None:
    (short,), (long,) = (called("clip_sound", tone(seconds=seconds), samples=16_000) for seconds in (0.5, 3))
    np.testing.assert_array_equal(short[0], np.append(tone(seconds=0.5), np.zeros(8000)))
    np.testing.assert_array_equal(long[0], tone())
    with pytest.raises(BadInput, match="without a sample"):
        called("clip_sound", tone(seconds=0))
