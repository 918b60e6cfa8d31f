"""Asks every question of the labelled set, over the whole album, and counts the right photographs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from examples.spoken_image_search.questions import QUESTIONS, album, clip
from nodes.backend import Array
from nodes.functions.text import held

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]  # a pipeline, however it is run


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one question. `scores`: of each photograph, best first; `heard` is "" where it was typed."""

    question: str
    heard: str
    wanted: str
    scores: tuple[tuple[str, float], ...]

    @property
    def best(self) -> str:
        """The photograph that goes with it best."""
        return self.scores[0][0]

    @property
    def right(self) -> bool:
        """Whether it is the one meant."""
        return self.best == self.wanted


def ask(question: str, *, spoken: bool) -> dict[str, Array]:
    """The question as the pipeline takes it."""
    if spoken:
        return {"sound": np.frombuffer(clip(question), np.uint8)}
    return {"query": held([QUESTIONS[question][0]])}


def search(run: Run, *, spoken: bool) -> list[Found]:
    """All questions over the album. Photograph and question come in pairs, as one item has one of each; what both gave
    is then compared, each question with every photograph, as `score` compares the two of a pair.
    """
    photos, asked = album(), list(QUESTIONS)
    seen, wanted, heard = {}, {}, {}
    for at, (name, data) in enumerate(photos.items()):
        question = asked[at % len(asked)]
        made = run({**ask(question, spoken=spoken), "photo": np.frombuffer(data, np.uint8)})
        seen[name], wanted[question] = made["seen_embedding"][0], made["wanted_embedding"][0]
        heard[question] = made["heard"][0].decode() if spoken else ""
    return [Found(text, heard[name], right, _ranked(wanted[name], seen)) for name, (text, right) in QUESTIONS.items()]


def _ranked(wanted: Array, seen: Mapping[str, Array]) -> tuple[tuple[str, float], ...]:
    length = np.linalg.norm(wanted)
    scores = {name: float(wanted @ row / (length * np.linalg.norm(row))) for name, row in seen.items()}
    return tuple(sorted(scores.items(), key=lambda pair: -pair[1]))
