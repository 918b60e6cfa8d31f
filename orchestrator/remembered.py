"""Answers kept for clients that ask again under the same request id. Pure: time and sizes come in.

Bounded three ways: each answer is kept for a stated time, and the oldest go first when there are too many of them or
too many bytes. Failures are not kept: asking again then means trying again.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

WINDOW_S = 60.0
MOST, MOST_BYTES = 1024, 64 << 20
A = TypeVar("A")


class _Kept(NamedTuple, Generic[A]):
    answer: A
    nbytes: int
    at_s: float


class Remembered(Generic[A]):
    """Answers by request, for `window_s` from when they came."""

    def __init__(self, *, window_s: float = WINDOW_S, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._window_s, self._most, self._most_bytes = window_s, most, most_bytes
        self._kept: OrderedDict[Hashable, _Kept[A]] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, request: Hashable, answer: A, nbytes: int, now_s: float) -> bool:
        """Keep an answer; False, and nothing else is lost for it, if it alone is more than may be kept."""
        self.forget_old(now_s)
        if nbytes > self._most_bytes or self._most < 1:
            return False
        self._drop(request)
        self._kept[request] = _Kept(answer, nbytes, now_s)
        self.nbytes += nbytes
        while len(self._kept) > self._most or self.nbytes > self._most_bytes:
            self._drop(next(iter(self._kept)))
        return True

    def find(self, request: Hashable, now_s: float) -> A | None:
        """The answer given before; None if there was none within the window, or it had to make room."""
        self.forget_old(now_s)
        kept = self._kept.get(request)
        return None if kept is None else kept.answer

    def forget_old(self, now_s: float) -> None:
        """Drop what the window has passed."""
        while self._kept and now_s - next(iter(self._kept.values())).at_s >= self._window_s:
            self._drop(next(iter(self._kept)))

    def _drop(self, request: Hashable) -> None:
        kept = self._kept.pop(request, None)
        self.nbytes -= 0 if kept is None else kept.nbytes
