"""Functions of sound: float32 [samples] from −1 to 1, one channel.

soundfile (libsndfile) reads files and soxr resamples; each is imported when it is first needed.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.errors import BadInput, EngineMissing
from nodes.functions.params import Function, Params, count, number

RATE = 16_000  # Hz, unless told otherwise
MOST_S = 60.0
MOST_CHANNELS, MOST_RATE = 8, 192_000  # of a file; a second of it as float32 is 6 MB, and is read in pieces
PIECE_FRAMES = 65_536
MOST_CLIPPED = 0.05  # of the samples that may lie at full scale: music mastered loud has below a hundredth
BANDS, FRAMES = 80, 3000
_FULL_SCALE = 1 - 2**-14
_LOUDEST = 1e4  # files of floats may go beyond 1
_RIFF_OPEN = 0x7FF00000  # what programs that write to a pipe state as a size that they cannot know

_WINDOW, _STEP = 400, 160
_LINEAR_HZ, _LINEAR_MELS = 1000.0, 15.0  # where Slaney's scale turns from linear to logarithmic
_FACTOR = 27 / np.log(6.4)  # mels for each e-fold above


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise EngineMissing(f'sound functions need {name}; install it with: pip install "isthmus[pipelines]"') from None


def _decode_sound(params: Params, data: Array) -> tuple[Array, ...]:
    """uint8 [n], a WAV, FLAC or Ogg file → float32 [samples] at `rate` Hz, channels averaged.

    BadInput for what is no such file, is cut short, has no samples, more than `most_s` seconds (looked up before
    anything is decoded), or more than `most_clipped` of its samples at full scale.
    """
    rate, most_s = count(params, "rate", RATE), float(number(params, "most_s", MOST_S))
    library = _library("soundfile")
    _check_whole(data)
    try:
        with library.SoundFile(BytesIO(np.ascontiguousarray(data, np.uint8).data)) as file:
            _check_size(file, most_s)
            samples, clipped = _read(file)
            has_rate = file.samplerate
    except (library.LibsndfileError, TypeError, ValueError) as error:
        raise BadInput(f"{data.nbytes} bytes that are no sound file: {error}") from None
    if not samples.size:
        raise BadInput("a sound file without a sample in it")
    if not np.abs(samples).max() <= _LOUDEST:  # NaN is not, either
        raise BadInput("a sound file with samples that are no numbers, or beyond all measure")
    if clipped > (most := float(number(params, "most_clipped", MOST_CLIPPED))):
        raise BadInput(f"clipped sound: {clipped:.0%} of its samples are at full scale; at most {most:.0%} are taken")
    return (_resampled(samples, has_rate, rate),)


def _check_size(file: Any, most_s: float) -> None:
    """What the head says, before anything is decoded: a file of silence may be a thousandth of what it holds."""
    if file.channels > MOST_CHANNELS or file.samplerate > MOST_RATE:
        told = f"{file.channels} channels at {file.samplerate:,} Hz"
        raise BadInput(f"{told}; at most {MOST_CHANNELS} at {MOST_RATE:,} Hz are taken")
    if file.frames > most_s * file.samplerate:
        raise BadInput(f"{file.frames / file.samplerate:.1f} s of sound; at most {most_s:g} s are taken")


def _read(file: Any) -> tuple[NDArray[np.float32], float]:
    """Channels averaged, and which part of all samples is at full scale."""
    pieces, at_full_scale = [np.zeros(0, np.float32)], 0
    for piece in file.blocks(PIECE_FRAMES, dtype="float32", always_2d=True):
        at_full_scale += int((np.abs(piece) >= _FULL_SCALE).sum())
        pieces.append(piece.mean(axis=1, dtype=np.float64).astype(np.float32))
    sound = np.concatenate(pieces)
    return sound, at_full_scale / max(1, sound.size * file.channels)


def _check_whole(data: Array) -> None:
    """A WAV file says how long it is; libsndfile reads one cut short as if it had been meant so."""
    head = bytes(data[:12])
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        stated = int.from_bytes(head[4:8], "little") + 8
        if len(data) < stated < _RIFF_OPEN:
            raise BadInput(f"a WAV file cut short: {len(data)} of {stated} bytes")


def _resample(params: Params, sound: Array) -> tuple[Array, ...]:
    """float32 [n] at `from` Hz → float32 [m] at `to` Hz (soxr's high quality)."""
    return (_resampled(_checked(sound), count(params, "from", RATE), count(params, "to", RATE)),)


def _resampled(sound: Array, has_rate: int, rate: int) -> Array:
    if has_rate == rate:
        return np.ascontiguousarray(sound, np.float32)
    return np.asarray(_library("soxr").resample(sound, has_rate, rate), np.float32)


def _log_mel(params: Params, sound: Array) -> tuple[Array, ...]:
    """float32 [n] at 16 kHz → float32 [1, 80, 3000], as Whisper takes sound."""
    return (log_mel(_checked(sound).astype(np.float32, copy=False)),)


def _clip_sound(params: Params, sound: Array) -> tuple[Array, ...]:
    """float32 [n] → float32 [1, samples]: the first so many, what lacks filled up with silence."""
    samples, given = count(params, "samples", 2 * RATE), _checked(sound)
    clip = np.zeros((1, samples), np.float32)
    clip[0, : given.size] = given[:samples]
    return (clip,)


def _checked(sound: Array) -> Array:
    if sound.ndim != 1 or sound.dtype != np.float32:
        raise BadInput(f"sound is float32 [samples], not {sound.dtype} {list(sound.shape)}")
    if not sound.size:
        raise BadInput("sound without a sample in it")
    if not np.isfinite(sound).all():
        raise BadInput("sound with samples that are no numbers")
    return sound


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [1, 80, 3000] of the first 30 s of sound at 16 kHz, what lacks filled up with silence.

    Frames of 25 ms every 10 ms under a Hann window; 80 triangles of equal area on Slaney's mel scale (linear to 1 kHz,
    logarithmic above); powers as log10, cut off 80 dB below the loudest, and scaled to about −1…1 (Radford et al.,
    arXiv:2212.04356, section 2.2, and their released code).
    """
    sound = np.zeros(FRAMES * _STEP)
    sound[: samples.size] = samples[: sound.size]
    framed = np.lib.stride_tricks.sliding_window_view(np.pad(sound, _WINDOW // 2, mode="reflect"), _WINDOW)[::_STEP]
    window = np.hanning(_WINDOW + 1)[:-1]
    powers = np.abs(np.fft.rfft(framed[:-1] * window)) ** 2
    logs = np.log10(np.maximum(powers @ triangles(), 1e-10)).T
    scaled = (np.maximum(logs, logs.max() - 8) + 4) / 4
    return np.ascontiguousarray(scaled[np.newaxis], np.float32)


@cache
def triangles() -> NDArray[np.float64]:
    """How much each of 201 frequencies counts in each band [201, 80]."""
    edges = _hertz(np.linspace(0, _mels(RATE / 2), BANDS + 2))
    below, peak, above = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)[:, np.newaxis]
    sides = np.minimum((frequencies - below) / (peak - below), (above - frequencies) / (above - peak))
    return np.asarray(np.maximum(sides, 0) * 2 / (above - below))


def _mels(hertz: float) -> float:
    """Of frequencies from 1 kHz on."""
    return float(_LINEAR_MELS + np.log(hertz / _LINEAR_HZ) * _FACTOR)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = mels * _LINEAR_HZ / _LINEAR_MELS
    return np.where(mels < _LINEAR_MELS, linear, _LINEAR_HZ * np.exp((mels - _LINEAR_MELS) / _FACTOR))


def _vector(_params: Params, _given: Any) -> tuple[tuple[str, tuple[int | None, ...]], ...]:
    return (("float32", (None,)),)


SOUND: Mapping[str, Function] = {
    "decode_sound": Function(_decode_sound, _vector, ("uint8",), ("sound",), params=("rate", "most_s", "most_clipped")),
    "resample": Function(_resample, _vector, ("float32",), ("sound",), params=("from", "to")),
    "clip_sound": Function(
        _clip_sound,
        lambda params, sound: (("float32", (1, count(params, "samples", 2 * RATE))),),
        ("float32",),
        ("clip",),
        params=("samples",),
    ),
    "log_mel": Function(_log_mel, lambda params, sound: (("float32", (1, BANDS, FRAMES)),), ("float32",), ("mel",)),
}
