"""Runs the watch over the labelled set, and counts what it got right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.street_watch.frames import frame
from examples.street_watch.situations import CLIPS, SITUATIONS, WATCHED, Situation
from nodes.backend import Array
from nodes.functions.text import held

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]  # a pipeline, however it is run


@dataclass(frozen=True, slots=True)
class Event:
    """What came of one situation. `word`, `keyword`: None where no camera, no microphone was there to tell.

    `lines`: text with how sure it is; `called`: how likely a keyword was said, `spoken`: which part is speech.
    """

    name: str
    decision: str
    word: str | None
    keyword: str | None
    lines: tuple[tuple[str, float], ...] = ()
    called: float = 0.0
    spoken: float = 0.0

    @property
    def meant(self) -> Situation:
        """What there was."""
        return SITUATIONS[self.name]

    @property
    def label(self) -> tuple[str | None, str | None, str]:
        """All that is counted."""
        return self.word, self.keyword, self.decision

    def agrees(self, other: "Event") -> bool:
        """Whether both say the same, as far as both have the senses for it."""
        return all(one == two for one, two in zip(self.label, other.label, strict=True) if None not in (one, two))


@dataclass(frozen=True, slots=True)
class Score:
    """How many of `of` words, keywords and decisions are right; None where that sense is missing."""

    words: int | None
    keywords: int | None
    decisions: int
    of: int


def given(name: str) -> dict[str, Array]:
    """A situation as the pipeline takes it."""
    sound = (CLIPS / f"{name}.ogg").read_bytes()
    return {
        "frame": np.frombuffer(frame(name), np.uint8),
        "sound": np.frombuffer(sound, np.uint8),
        "watched": held([WATCHED]),
    }


def watch(run: Run, inputs: Sequence[str]) -> list[Event]:
    """Every situation, of which the pipeline gets `inputs`."""
    return [event_of(name, run({key: given(name)[key] for key in inputs})) for name in SITUATIONS]


def score(events: Sequence[Event]) -> Score:
    """What is right of these."""
    words = [event.word == event.meant.word for event in events if event.word is not None]
    keywords = [event.keyword == event.meant.keyword for event in events if event.keyword is not None]
    decisions = sum(event.decision == event.meant.decision for event in events)
    return Score(sum(words) if words else None, sum(keywords) if keywords else None, decisions, len(events))


def event_of(name: str, made: Mapping[str, Array]) -> Event:
    """What the pipeline's outputs say of a situation."""
    decision = "alarm" if made["alarm"][0] else "notice" if made["notice"][0] else "quiet"
    lines = zip(made["lines"], made["sure"], made["scores"], strict=True) if "lines" in made else ()
    return Event(
        name,
        decision,
        made["word"][0].decode() if "word" in made else None,
        made["keyword"][0].decode() if "keyword" in made else None,
        tuple((line.decode(), float(sure)) for line, sure, found in lines if found),
        float(made["called"][0]) if "called" in made else 0.0,
        float(made["spoken"][0]) if "spoken" in made else 0.0,
    )
