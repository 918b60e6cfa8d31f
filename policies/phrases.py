"""Where phrases begin and end in a stream of speech probabilities, however the stream is cut into pieces.

With hysteresis, as Silero's get_speech_timestamps has it: speech begins where a probability reaches `onset`, and ends
after `silence` frames below `offset`; what is shorter than `least` is no phrase. Each is given `pad` frames before and
after, as far as others do not need them, and one that grows to `most` frames is cut at its longest pause, or there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseTerms:
    """In frames of the detector (Silero's are 32 ms)."""

    onset: float = 0.5
    offset: float = 0.35
    least: int = 8  # 256 ms
    silence: int = 12  # 384 ms
    pad: int = 4  # 128 ms
    most: int = 906  # 29 s: Whisper hears 30

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= self.onset <= 1 or self.silence < 1 or self.pad < 0:
            raise ValueError("0 ≤ offset ≤ onset ≤ 1, silence from 1, pad from 0")
        if self.most <= self.least + self.silence + 2 * self.pad:
            raise ValueError("most must hold least, silence and pad")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Frames [begin, end) of the stream."""

    begin: int
    end: int


@dataclass(slots=True)
class Phrases:
    """The stream so far. `needed_from`: frames before it belong to no phrase to come."""

    terms: PhraseTerms = field(default_factory=PhraseTerms)
    _frame: int = 0
    _begun: int | None = None  # first frame of speech
    _quiet: int | None = None  # first frame of the pause that it is in
    _pause: tuple[int, int] = (0, 0)  # length and first frame of the longest pause within
    _goes_on: bool = False  # from one that was cut: however short the rest is
    _taken: int = 0  # frames before are in phrases that were given

    @property
    def needed_from(self) -> int:
        """The first frame that a phrase to come may hold."""
        first = self._frame if self._begun is None else self._begun
        return max(self._taken, first - self.terms.pad)

    def heard(self, probabilities: Iterable[float]) -> list[Phrase]:
        """The phrases that end with these frames. ValueError for what is no probability."""
        found = []
        for probability in probabilities:
            if not 0 <= probability <= 1:
                raise ValueError(f"a probability is from 0 to 1, not {probability}")
            self._step(probability)
            self._frame += 1
            found += self._ended()
        return found

    def end(self) -> list[Phrase]:
        """The stream ends: the phrase that was not ended yet, if there is one."""
        if self._begun is None:
            return []
        end = self._frame if self._quiet is None else self._quiet
        return self._given(end, min(self._frame, end + self.terms.pad))

    def _step(self, probability: float) -> None:
        if self._begun is None:
            if probability >= self.terms.onset:
                self._begun, self._quiet, self._pause = self._frame, None, (0, 0)
            else:
                self._goes_on = False
        elif probability < self.terms.offset:
            self._quiet = self._frame if self._quiet is None else self._quiet
        elif probability >= self.terms.onset and self._quiet is not None:
            self._pause = max(self._pause, (self._frame - self._quiet, self._quiet), key=lambda pause: pause[0])
            self._quiet = None

    def _ended(self) -> list[Phrase]:
        if self._begun is None:
            return []
        if self._quiet is not None and self._frame - self._quiet >= self.terms.silence:
            return self._given(self._quiet, min(self._frame, self._quiet + self.terms.pad))
        if self._frame - self.needed_from >= self.terms.most:
            return self._cut()
        return []

    def _cut(self) -> list[Phrase]:
        """A phrase that is too long: up to its longest pause, of which the rest goes on."""
        length, at = self._pause
        quiet = self._quiet
        middle = at + length // 2 if length else self._frame
        assert self._begun is not None
        found = self._given(middle, middle)
        self._goes_on = True
        if middle < self._frame:
            self._begun, self._quiet, self._pause = max(at + length, middle), quiet, (0, 0)
        return found

    def _given(self, end: int, padded: int) -> list[Phrase]:
        assert self._begun is not None
        begun, first = self._begun, self.needed_from
        is_whole = self._goes_on or end - begun >= self.terms.least
        self._begun, self._quiet, self._goes_on = None, None, False
        if not is_whole:
            return []
        self._taken = padded
        return [Phrase(first, padded)]
