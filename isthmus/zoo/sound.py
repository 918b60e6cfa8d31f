"""Reads WAV files as the zoo's speech models take sound: one channel of float32 at 16 kHz."""

import wave
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.zoo.errors import ZooError
from isthmus.zoo.packages import file_in
from nodes.functions.sound import RATE


def read_wav(path: Path) -> NDArray[np.float32]:
    """Samples from −1 to 1, channels averaged. ZooError for what is not a WAV file of 16-bit PCM."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ZooError(f"{path} is not a WAV file that can be read: {error}") from None
    if width != 2:
        raise ZooError(f"{path} has samples of {8 * width} bits; convert it to 16-bit PCM")
    samples = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1) / 2**15
    return _resampled(samples, rate).astype(np.float32)


def _resampled(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    if rate == RATE:
        return samples
    file_in("scipy", "__init__.py")
    from scipy.signal import resample_poly

    common = gcd(rate, RATE)
    return np.asarray(resample_poly(samples, RATE // common, rate // common))
