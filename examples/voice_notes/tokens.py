"""A phrase written down token by token: one deployment hears it, another says what was heard, a step for each token.

sound, item → log-mel → Whisper's encoder → keys and values, kept in the cloud under the item's number
token, position, item → those keys and values, the decoder's own as its state → the next token

What crosses the link for a token are three numbers there and one back. If the cloud's worker dies, the keys and values
are gone with it: the phrase is heard again under the same number, and the router has the decoder's state made again.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus import Client, Pipeline, zoo
from isthmus.zoo import listening, whisper
from nodes.backend import Array
from orchestrator.errors import RequestFailed
from orchestrator.pipeline_builder import Wire
from orchestrator.spec import DeploymentSpec

HEARER, SAYER = "hearer", "sayer"
STEP_S = 3.0  # for a token, after which the phrase is heard again
WITHIN_S = 60.0  # for a phrase
_NUMBERS = random.SystemRandom()
Step = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def hearer(folder: Path, sample: Array, topology: Path) -> DeploymentSpec:
    """float32 `sound` [samples at 16 kHz] and int64 `item` [1] → int64 `kept` [1], once it is held in the cloud."""
    np.save(folder / "heard.npy", sample)
    made = Pipeline(HEARER)
    sound = made.source("sound", at="phone", dtype="float32", samples="heard.npy")
    item = _item(made, folder)
    hear = made.model("hear", zoo.build("whisper_encoder"), made.function("mel", "log_mel", sound))
    for name in whisper.CROSS_SHAPES:
        item = made.function(f"keep_{name}", "keep", item, hear[name], tensor=name, at="cloud")
    made.output("kept", item)
    return made.spec(folder, topology=str(topology.resolve()))


def sayer(folder: Path, topology: Path) -> DeploymentSpec:
    """int64 `token` [1, 1], `position` [1] and `item` [1] → int64 `next` [1, 1], the likeliest; a sequence."""
    made = Pipeline(SAYER)
    token = made.source("token", at="phone", dtype="int64", shape=[1, 1])
    position, item = made.source("position", at="phone", dtype="int64", shape=[1]), _item(made, folder)
    reads = {"token": token, "position": position}
    for name, shape in whisper.CROSS_SHAPES.items():
        about = {"tensor": name, "dtype": "float32", "shape": list(shape)}
        reads[name] = made.function(f"recall_{name}", "recall", item, at="cloud", **about)
    for name, shape in whisper.KEPT_SHAPES.items():
        reads[name] = made.source(name, at="phone", dtype="float32", shape=list(shape))
    say = made.model("say", zoo.build("whisper_decoder"), reads)
    always, at_first = listening.never_said()
    never = {"never": list(always), "never_first": list(at_first)}
    made.output("next", made.function("choose", "likeliest", say["logits"], position, **never))
    for name in whisper.STATE:
        made.output(name, say[name])
    return made.spec(folder, topology=str(topology.resolve()), sequence={"state": dict(whisper.STATE)})


def _item(made: Pipeline, folder: Path) -> Wire:
    """The number's source; measured with 0, under which nothing is held."""
    np.save(folder / "item.npy", np.zeros(1, np.int64))
    return made.source("item", at="phone", dtype="int64", shape=[1], samples="item.npy")


@dataclass(frozen=True, slots=True)
class Speller:
    """Says phrases token by token through the two deployments."""

    client: Client

    def tokens(self, sound: Array) -> Iterator[int]:
        """What is said in up to 30 s of sound, each token as soon as it is known."""
        until_s = time.monotonic() + WITHIN_S
        heard = {"sound": sound, "item": np.array([_NUMBERS.randrange(1, 1 << 62)])}
        self._hear(heard, until_s)
        with self.client.sequence(SAYER, timeout_s=STEP_S) as steps:
            token = listening.START
            for position in range(whisper.CAPACITY):
                inputs = {"token": np.array([[token]]), "position": np.array([position]), "item": heard["item"]}
                while (made := self._step(steps.step, inputs, until_s)) is None:
                    self._hear(heard, until_s)
                token = listening.PLAIN if position == 0 else int(made["next"].item())
                if token == listening.END:
                    return
                if position:
                    yield token

    def _hear(self, heard: Mapping[str, Array], until_s: float) -> None:
        """Have the phrase's keys and values kept in the cloud, again if they are there already."""
        self.client.infer(HEARER, heard, timeout_s=max(until_s - time.monotonic(), STEP_S))

    def _step(self, step: Step, inputs: Mapping[str, Array], until_s: float) -> Mapping[str, Array] | None:
        """The step's outputs; None if it failed and there is time to try again."""
        try:
            return step(inputs)
        except RequestFailed:
            if time.monotonic() > until_s:
                raise
            return None
