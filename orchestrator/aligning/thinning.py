"""Which items that ask are left out under overload: those of the least priority first, evenly, and no more than needed.

A modality whose `step` is k keeps every k-th of its items. Where the wait that is to be expected stays beyond half of a
modality's deadline, the step of the least one is doubled, of those that are not before it; once it is below a quarter
of every deadline, the step of the first one thinned is halved. So one with priority keeps its deadline as long as there
is something to thin below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.aligning.terms import Modality

MOST_STEP = 64
SETTLE_S = 0.25  # between two changes, so that each is seen to work
GAPS = 0.2  # how much the newest gap between answers counts


@dataclass(slots=True)
class Thinning:
    """`steps` by modality; `gap_s` between answers while there was something to answer, None before it is known."""

    terms: Mapping[str, Modality]
    steps: dict[str, int] = field(default_factory=dict)
    gap_s: float | None = None
    _came: dict[str, int] = field(default_factory=dict)
    _changed_s: float = 0.0
    _pressed: int | None = None  # the first priority of which the deadline is in danger, and since when
    _pressed_s: float = 0.0
    _answered_s: float | None = None

    def keeps(self, modality: str) -> bool:
        """Whether the item that has just come is to ask."""
        came = self._came[modality] = self._came.get(modality, -1) + 1
        return came % self.steps.get(modality, 1) == 0

    def answered(self, now_s: float, *, still_busy: bool) -> None:
        """A request came to its end; `still_busy` if others are under way."""
        if self._answered_s is not None:
            gap_s = now_s - self._answered_s
            self.gap_s = gap_s if self.gap_s is None else self.gap_s + GAPS * (gap_s - self.gap_s)
        self._answered_s = now_s if still_busy else None

    def look(self, waiting: Mapping[str, int], under_way: int, now_s: float) -> None:
        """Change a step if that is due. `waiting`: how many of each modality are ready to be asked."""
        if self.gap_s is None or now_s - self._changed_s < SETTLE_S:
            return
        pressed = {
            name: self._wait_s(name, waiting, under_way) / one.deadline_s
            for name, one in self.terms.items()
            if one.deadline_s is not None
        }
        if not pressed:
            return
        over = [self.terms[name].priority for name, share in pressed.items() if share > 0.5]
        first = min(over, default=None)
        if first != self._pressed:
            self._pressed, self._pressed_s = first, now_s
        if first is not None:
            if now_s - self._pressed_s >= SETTLE_S:
                self._thin(first, now_s)
        elif max(pressed.values()) < 0.25:
            self._relax(now_s)

    def _wait_s(self, modality: str, waiting: Mapping[str, int], under_way: int) -> float:
        """Seconds until one that comes now would be asked."""
        own = self.terms[modality].priority
        before = sum(count for name, count in waiting.items() if self.terms[name].priority <= own)
        return (self.gap_s or 0.0) * (before + under_way)

    def _thin(self, pressed: int, now_s: float) -> None:
        """Those of the least priority, from that of who is pressed on."""
        thicker = (one.priority for name, one in self.terms.items() if self._step(name) < MOST_STEP)
        least = max((priority for priority in thicker if priority >= pressed), default=None)
        for name, one in self.terms.items():
            if one.priority == least:
                self.steps[name] = min(2 * self._step(name), MOST_STEP)
                self._changed_s = now_s

    def _relax(self, now_s: float) -> None:
        first = min((one.priority for name, one in self.terms.items() if self._step(name) > 1), default=None)
        for name, one in self.terms.items():
            if one.priority == first:
                self.steps[name] = max(1, self._step(name) // 2)
                self._changed_s = now_s

    def _step(self, name: str) -> int:
        return self.steps.get(name, 1)
