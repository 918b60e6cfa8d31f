"""Says seldom what happens often: a line for each key in so many seconds, then how many more there were.

Keys may be what a stranger says of itself: of more than MOST at once the rest share one.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

EVERY_S = 5.0
MOST = 1024
OTHERS = "others"


@dataclass(slots=True)
class _Said:
    at_s: float
    more: int = 0


class Seldom:
    """Which lines are to be written. Whoever uses it asks `due` now and then, or what was left out is never told."""

    def __init__(self, every_s: float = EVERY_S, most: int = MOST) -> None:
        self._every_s, self._most = every_s, most
        self._said: dict[Hashable, _Said] = {}

    def may(self, key: Hashable, now_s: float) -> bool:
        """Whether a line is to be written now; else it is counted."""
        key = key if key in self._said or len(self._said) < self._most else OTHERS
        said = self._said.get(key)
        if said is None:
            self._said[key] = _Said(now_s)
            return True
        said.more += 1
        return False

    def due(self, now_s: float) -> Iterator[tuple[Hashable, int]]:
        """Keys of which lines were left out for long enough, and how many; those silent for so long are forgotten."""
        for key, said in [*self._said.items()]:
            if now_s - said.at_s < self._every_s:
                continue
            if said.more:
                yield key, said.more
                self._said[key] = _Said(now_s)
            else:
                del self._said[key]
