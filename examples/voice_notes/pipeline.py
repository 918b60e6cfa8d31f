"""What is deployed: an ear, which tells speech from silence and keeps a state, and a writer of phrases.

chunk → Silero → speech                                             a sequence of requests, 256 ms each
sound → log-mel → Whisper's encoder → its decoder, a loop → text    one request a phrase
"""

from pathlib import Path

import numpy as np
import onnx

from isthmus import Pipeline, zoo
from isthmus.zoo import listening, silero
from orchestrator.spec import DeploymentSpec, parse_spec

TOPOLOGY = Path(__file__).with_name("topology.yaml")
FRAMES = 8  # of the ear, in one request
EAR, WRITER = "ear", "writer"


def ear(folder: Path, topology: Path = TOPOLOGY) -> DeploymentSpec:
    """float32 `chunk` [8, 576] → float32 `speech` [8]; the state stays where it is."""
    onnx.save(silero.network(), folder / "silero.onnx")  # for any number of frames at once
    data = {
        "name": EAR,
        "model": "silero.onnx",
        "topology": str(topology.resolve()),
        "inputs": {"chunk": {"at": "phone", "shape": [FRAMES, silero.SHAPE[1]], "private": True}},
        "sequence": {"state": dict(silero.STATE)},
    }
    return parse_spec(data, where="ear", folder=folder)


def writer(folder: Path, sample: np.ndarray, topology: Path = TOPOLOGY) -> DeploymentSpec:  # type: ignore[type-arg]
    """float32 `sound` [samples at 16 kHz] → string `text` [1]. `sample`, a phrase, is what it is measured with."""
    np.save(folder / "phrase.npy", sample)
    made = Pipeline(WRITER)
    sound = made.source("sound", at="phone", dtype="float32", samples="phrase.npy")
    mel = made.function("mel", "log_mel", sound)
    hear = made.model("hear", zoo.build("whisper_encoder"), mel)
    say = made.loop("say", zoo.build("whisper_decoder"), hear, **listening.loop_terms())
    made.output("text", made.function("words", "detokenise", say, tokenizer=listening.tokenizer()))
    return made.spec(folder, topology=str(topology.resolve()))
