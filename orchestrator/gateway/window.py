"""How many runs a gateway keeps under way in a pipeline, so that requests queue where they can still be chosen among.

The rule is TCP Vegas's (Brakmo and Peterson, IEEE JSAC 13(8), 1995): of `inside` runs that take `took_s` each, where
one takes `least_s` alone, inside × (1 − least_s / took_s) wait somewhere in the pipeline. Fewer than LEAST_WAITING: let
one more in. More than MOST_WAITING: one fewer. Pure.
"""

from dataclasses import dataclass, field

LEAST_WAITING, MOST_WAITING = 2.0, 4.0
MOST = 256
REMEMBERED = 512  # answers after which the least is looked for anew: pipelines get slower, too


@dataclass(slots=True)
class Window:
    """Of one model at one gateway. `least`: never fewer than that are let in."""

    least: int = 2
    inside: int = 0
    limit: float = 0.0
    _least_s: dict[tuple[int, int, int], float] = field(default_factory=dict)  # of a run, by its rows, epoch, length
    _before_s: dict[tuple[int, int, int], float] = field(
        default_factory=dict
    )  # the same, of the REMEMBERED answers before
    _epoch: int = 0  # of the newest answer
    _answers: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may begin."""
        return self.inside < max(self.least, int(self.limit))

    def alone_s(self, rows: int = 1) -> float:
        """What a run of so many rows, of whichever length, takes when nothing else is under way; 0 where that isn't
        known.
        """
        known = (self._least_s, self._before_s)
        return min((s for found in known for at, s in found.items() if at[:2] == (rows, self._epoch)), default=0.0)

    def answered(self, took_s: float, rows: int, epoch: int, *, is_full: bool = True, place: int = 0) -> None:
        """A run of so many rows came back from this epoch; `inside` still counts it. `place`: of its length among all.

        One that is not full lets no more in: rather than beside each other, requests go together.
        """
        self._epoch, at = epoch, (rows, epoch, place)
        self._answers += 1
        if self._answers >= REMEMBERED:
            self._before_s, self._least_s, self._answers = self._least_s, {}, 0
        self._least_s[at] = min(took_s, self._least_s.get(at, took_s))
        self.limit = max(self.limit, float(self.least))
        alone_s = min(self._least_s[at], self._before_s.get(at, took_s))
        waiting = self.inside * (1 - alone_s / took_s) if took_s > 0 else 0.0
        if waiting > MOST_WAITING:
            self.limit -= 1 / self.limit
        elif waiting < LEAST_WAITING and self.inside >= int(self.limit) and is_full:
            self.limit = min(self.limit + 1, MOST)
