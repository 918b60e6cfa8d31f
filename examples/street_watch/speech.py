"""Makes the clips again, by espeak-ng: python -m examples.street_watch.speech (Debian: apt-get install espeak-ng).

They are kept beside this file as Ogg Opus of 16 kHz, so that nothing else here needs it: `train/WORD.ogg` has one
second for each voice, `NAME.ogg` the two seconds of a situation, said by voices that training does not have, in the
noise of a street.
"""

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from examples.street_watch.keywords import in_street
from examples.street_watch.situations import CLIPS, KEYWORDS, SITUATIONS, SOUNDS
from nodes.functions import function
from nodes.functions.sound import RATE

OTHERS = (
    "bicycle", "coffee", "good morning", "lunch", "market", "seven", "telephone", "tram", "window", "yellow",
)  # fmt: skip
VOICES = (
    "en-us+m1", "en-gb+m3", "en-us+f2", "en-gb-scotland+m4", "en-gb-x-rp+f4", "en-us+m7", "en-gb+f5", "en-us+klatt2",
)  # fmt: skip
SPEEDS, PITCHES = (130, 170), (40, 60)
_QUIET = 0.02  # of full scale; what is below at both ends is cut off
_LOUD = 0.3

Sound = NDArray[np.float32]


def main() -> None:
    """All of them."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit("the clips are made by espeak-ng, which is not installed (Debian: apt-get install espeak-ng)")
    (CLIPS / "train").mkdir(parents=True, exist_ok=True)
    for word in (*KEYWORDS, *OTHERS):
        said = [say(word, voice, SPEEDS[at % 2], PITCHES[at // 2 % 2]) for at, voice in enumerate(VOICES)]
        _write(CLIPS / "train" / f"{word}.ogg", np.concatenate([_filled(one, RATE) for one in said]))
    for at, name in enumerate(SITUATIONS):
        text, voice, decibels = SOUNDS[name]
        one = say(text, voice, 150, 50) if text else np.zeros(1, np.float32)
        _write(CLIPS / f"{name}.ogg", in_street(one, decibels, np.random.default_rng(at)))


def say(text: str, voice: str, speed: int, pitch: int) -> Sound:
    """At 16 kHz, without the silence at both ends."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(BytesIO(wav), dtype="float32")
    (sound,) = function("resample").run({"from": rate, "to": RATE}, samples)
    heard = np.flatnonzero(np.abs(sound) > _QUIET)
    return np.asarray(sound[heard[0] : heard[-1] + 1] * (_LOUD / np.abs(sound).max()), np.float32)


def _filled(sound: Sound, length: int) -> Sound:
    made = np.zeros(length, np.float32)
    made[: sound.size] = sound[:length]
    return made


def _write(path: Path, sound: Sound) -> None:
    soundfile.write(path, sound, RATE, format="OGG", subtype="OPUS")


if __name__ == "__main__":
    main()
