"""Runs the zoo's speech models: what is said (Whisper) and whether someone speaks (Silero VAD).

    transcribe(read_wav(path), encoder.run, decoder.run)
    speech(read_wav(path), silero.run)

Both keep a state between runs and hand it on: each `…_next` output is an input of the next run.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.zoo import silero, whisper
from isthmus.zoo.packages import file_in
from nodes.functions import function
from nodes.functions.sound import log_mel
from nodes.functions.text import texts

Run = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]  # a session's, or what asks a cluster

START, PLAIN, END = 50257, 50362, 50256  # of a transcript, without times, and its end


def transcribe(samples: NDArray[np.float32], encode: Run, decode: Run) -> str:
    """What is said in the first 30 s of sound at 16 kHz; `encode` and `decode` run the two models.

    Greedy: the likeliest token each time, less those that Whisper never says. An answer ends after CAPACITY tokens, as
    the decoder keeps no more.
    """
    return text(list(tokens(encode({"mel": log_mel(samples)}), decode)))


def speech(samples: NDArray[np.float32], run: Run) -> NDArray[np.float32]:
    """The probability of speech in each 32 ms of sound at 16 kHz; `run` runs the model."""
    state = dict.fromkeys(silero.STATE.values(), np.zeros(silero.STATE_SHAPE, np.float32))
    found = [np.zeros(0, np.float32)]
    for chunk in chunks(samples):
        made = run({"chunk": chunk, **state})
        state = {name: made[output] for output, name in silero.STATE.items()}
        found.append(made["speech"])
    return np.concatenate(found)


def chunks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Sound as Silero VAD takes it: 32 ms each, led by the last 4 ms before, the end filled up with silence."""
    count = -(-samples.size // silero.CHUNK)
    padded = np.zeros(silero.CONTEXT + count * silero.CHUNK, np.float32)
    padded[silero.CONTEXT : silero.CONTEXT + samples.size] = samples
    for start in range(0, count * silero.CHUNK, silero.CHUNK):
        yield padded[np.newaxis, start : start + silero.SHAPE[1]]


def tokens(cross: Mapping[str, NDArray[Any]], decode: Run) -> Iterator[int]:
    """The tokens of an answer to what the encoder made, one by one, without those that start and end it."""
    kept: dict[str, Any] = {name: np.zeros(shape, np.float32) for name, shape in whisper.KEPT_SHAPES.items()}
    token = START
    for position in range(whisper.CAPACITY):
        if position == 1:
            token = PLAIN
        made = decode({"token": np.array([[token]]), "position": np.array([position]), **cross, **kept})
        kept = {name: made[output] for output, name in whisper.STATE.items()}
        if position == 0:
            continue
        token = likeliest(made["logits"][0], first=position == 1)
        if token == END:
            return
        yield token


def likeliest(logits: NDArray[Any], *, first: bool) -> int:
    """The token with the largest logit that may be said, and here: an answer does not start with a blank or its end."""
    always, at_first = never_said()
    allowed = np.array(logits)
    allowed[[*always, *(at_first if first else ())]] = -np.inf
    return int(allowed.argmax())


def text(ids: Sequence[int]) -> str:
    """Tokens as text; those above the words (times, tasks) are left out, broken UTF-8 is replaced."""
    (words,) = function("detokenise").run({"tokenizer": tokenizer()}, np.array(ids, np.int64))
    (told,) = texts(words)
    return told


def loop_terms() -> dict[str, Any]:
    """A pipeline's decoder loop as Whisper wants it: a step's keys but for the model and what it reads.

    The decoder keeps the first of the two tokens that start an answer, so there is room for one less in it.
    """
    never, never_first = never_said()
    return {
        "state": dict(whisper.STATE),
        "prefix": [START, PLAIN],
        "end": END,
        "most": whisper.CAPACITY - 1,
        "never": sorted(never),
        "never_first": sorted(never_first),
    }


@cache
def tokenizer() -> str:
    """Whisper's tokenizer.json, as `detokenise` (nodes/functions/text.py) takes it."""
    return file_in(whisper.PACKAGE, "model/tokenizer.json").read_text(encoding="utf-8")


@cache
def never_said() -> tuple[list[int], list[int]]:
    """Tokens that Whisper does not say: at all, and as the first of an answer."""
    config = json.loads(file_in(whisper.PACKAGE, "model/config.json").read_text(encoding="utf-8"))
    return config["suppress_ids"], config["suppress_ids_begin"]
