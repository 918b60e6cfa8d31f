"""Sound as Whisper takes it: 30 s at 16 kHz → a log-mel spectrogram, with numpy alone.

Frames of 25 ms every 10 ms under a Hann window; 80 triangles of equal area on Slaney's mel scale (linear to 1 kHz,
logarithmic above); powers as log10, cut off 80 dB below the loudest, and scaled to about −1…1.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
SECONDS = 30
BANDS = 80

_WINDOW, _STEP = 400, 160
_LINEAR_HZ, _LINEAR_MELS = 1000.0, 15.0  # where the scale turns from linear to logarithmic
_FACTOR = 27 / np.log(6.4)  # mels for each e-fold above

Floats = NDArray[np.float64]


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [1, 80, 3000] of the first 30 s, what lacks filled up with silence."""
    sound = np.zeros(SECONDS * RATE)
    sound[: samples.size] = samples[: sound.size]
    framed = np.lib.stride_tricks.sliding_window_view(np.pad(sound, _WINDOW // 2, mode="reflect"), _WINDOW)[::_STEP]
    window = np.hanning(_WINDOW + 1)[:-1]
    powers = np.abs(np.fft.rfft(framed[:-1] * window)) ** 2
    logs = np.log10(np.maximum(powers @ triangles(), 1e-10)).T
    scaled = (np.maximum(logs, logs.max() - 8) + 4) / 4
    return np.ascontiguousarray(scaled[np.newaxis], np.float32)


@cache
def triangles() -> Floats:
    """How much each of 201 frequencies counts in each band [201, 80]."""
    edges = _hertz(np.linspace(0, _mels(RATE / 2), BANDS + 2))
    below, peak, above = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)[:, np.newaxis]
    sides = np.minimum((frequencies - below) / (peak - below), (above - frequencies) / (above - peak))
    return np.asarray(np.maximum(sides, 0) * 2 / (above - below))


def _mels(hertz: float) -> float:
    """Of frequencies from 1 kHz on."""
    return float(_LINEAR_MELS + np.log(hertz / _LINEAR_HZ) * _FACTOR)


def _hertz(mels: Floats) -> Floats:
    linear = mels * _LINEAR_HZ / _LINEAR_MELS
    return np.where(mels < _LINEAR_MELS, linear, _LINEAR_HZ * np.exp((mels - _LINEAR_MELS) / _FACTOR))
