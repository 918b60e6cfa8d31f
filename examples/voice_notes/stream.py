"""A stream of sound becomes phrases, and phrases text, in their order and each once, whatever the link does meanwhile.

Sound is kept here until it is written down: phrases that are asked for are asked again by the router for as long as
their budget lasts, which is WITHIN_S.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from examples.voice_notes.pipeline import FRAMES
from isthmus.zoo import silero
from isthmus.zoo.silero import CHUNK, CONTEXT
from nodes.backend import Array
from nodes.errors import Overloaded
from nodes.functions import function
from nodes.functions.sound import RATE
from orchestrator.answers import Answer
from policies.phrases import Phrase, Phrases

WITHIN_S = 300.0
MOST_S = 300.0  # of sound that is not written down yet; more is refused
Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A phrase from `begin_s` to `end_s` of the stream; `after_s`: how long after its end was put in it was there."""

    text: str
    begin_s: float
    end_s: float
    after_s: float


@dataclass(slots=True)
class _Asked:
    phrase: Phrase
    answer: "Future[Answer]"
    over_s: float  # when its last frame had been put in


@dataclass(slots=True)
class Stream:
    """`listen` asks the ear, `write` asks the writer; sound comes in by `put`, from one thread."""

    listen: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    write: Callable[[Mapping[str, Array]], "Future[Answer]"]
    _phrases: Phrases = field(default_factory=Phrases)
    _sound: Sound = field(default_factory=lambda: np.zeros(0, np.float32))
    _from: int = 0  # the frame that `_sound` begins with
    _heard: int = 0  # frames
    _put_s: list[float] = field(default_factory=list)  # when each frame from `_from` on had come
    _asked: deque[_Asked] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _is_over: bool = False

    def put(self, piece: Array) -> None:
        """uint8 [n]: a WAV, FLAC or Ogg file with the next piece of sound. BadInput, with the reason, for a spoilt one,
        which is left out; Overloaded where too much is not written down yet.
        """
        (sound,) = function("decode_sound").run({"rate": RATE}, piece)
        with self._changed:
            waiting = sum(one.phrase.end - one.phrase.begin for one in self._asked) * CHUNK / RATE
        if waiting > MOST_S:
            raise Overloaded(f"{waiting:.0f} s of speech are not written down yet; at most {MOST_S:.0f} are kept")
        self._sound = np.concatenate((self._sound, sound))
        self._go_on(FRAMES)

    def end(self) -> None:
        """No more sound: what is left is heard, filled up with silence."""
        try:
            self._go_on(1)
            self._ask(self._phrases.end())
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def __iter__(self) -> Iterator[Written]:
        """What is written down, in the order in which it was said; ends after `end`. A phrase that failed raises."""
        while (one := self._next()) is not None:
            (text,) = one.answer.result().outputs["text"]
            begin_s, end_s = (frame * CHUNK / RATE for frame in (one.phrase.begin, one.phrase.end))
            after_s = time.monotonic() - one.over_s
            yield Written(text=text.decode(), begin_s=begin_s, end_s=end_s, after_s=after_s)

    def _next(self) -> _Asked | None:
        with self._changed:
            while not (self._asked and self._asked[0].answer.done()):
                if self._is_over and not self._asked:
                    return None
                self._changed.wait()
            return self._asked.popleft()

    def _go_on(self, least: int) -> None:
        """Hear all whole chunks that came, the last one filled up if it has `least` frames."""
        now_s, came = time.monotonic(), self._sound.size // CHUNK + (self._sound.size % CHUNK > 0 and least == 1)
        self._put_s += [now_s] * (came - len(self._put_s))
        while (left := self._from + came - self._heard) >= least and left > 0:
            count = min(left, FRAMES)
            probabilities = self.listen({"chunk": self._chunk(self._heard - self._from)})["speech"][:count]
            self._heard += count
            self._ask(self._phrases.heard(float(one) for one in probabilities))
            came -= self._forget()

    def _chunk(self, frame: int) -> Sound:
        """FRAMES rows of 576 samples from a frame of `_sound` on: each 32 ms led by the last 4 before."""
        begin = frame * CHUNK
        led = np.zeros(CONTEXT + FRAMES * CHUNK, np.float32)
        before = self._sound[max(0, begin - CONTEXT) : begin]
        led[CONTEXT - before.size : CONTEXT] = before
        piece = self._sound[begin : begin + FRAMES * CHUNK]
        led[CONTEXT : CONTEXT + piece.size] = piece
        rows = np.lib.stride_tricks.sliding_window_view(led, silero.SHAPE[1])[::CHUNK]
        return np.ascontiguousarray(rows)

    def _ask(self, phrases: list[Phrase]) -> None:
        for phrase in phrases:
            begin, end = ((frame - self._from) * CHUNK for frame in (phrase.begin, phrase.end))
            answer = self.write({"sound": self._sound[begin:end].copy()})
            over_s = self._put_s[min(phrase.end - self._from, len(self._put_s)) - 1]
            with self._changed:
                self._asked.append(_Asked(phrase, answer, over_s))
            answer.add_done_callback(self._tell)

    def _tell(self, _done: "Future[Answer]") -> None:
        with self._changed:
            self._changed.notify_all()

    def _forget(self) -> int:
        """Let go of sound that belongs to no phrase to come; how many frames. The ear wants one frame more."""
        frames = max(0, min(self._phrases.needed_from, self._heard) - 1 - self._from)
        self._sound = self._sound[frames * CHUNK :]
        del self._put_s[:frames]
        self._from += frames
        return frames
