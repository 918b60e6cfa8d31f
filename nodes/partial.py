"""Messages of one request that reach a stage from several senders, until the last of them is there. Sans-IO.

Each sender gives tensors of its own, so that their names tell a message from its duplicate. What waits here holds its
senders' credit: a sender that is far ahead of the others is held up by that, and memory stays bounded.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nodes.framing import Frame, HopTiming

PATIENCE_S = 60.0  # for the other messages of a request without a deadline


class Credits(Protocol):
    """The stream that a message came by."""

    def consumed(self, frame: Frame) -> None:
        """Give its sender back what the frame took of the window."""
        ...


class Came(NamedTuple):
    """A message, and its stream."""

    frame: Frame
    via: Credits


@dataclass(slots=True)
class _Request:
    attempt: int
    until_s: float
    came: dict[tuple[str, ...], Came] = field(default_factory=dict)  # by the tensors' names


class Partials:
    """Requests of which `wanted` messages are awaited and fewer are there."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._requests: OrderedDict[Hashable, _Request] = OrderedDict()

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, key: Hashable, frame: Frame, via: Credits, now_s: float) -> tuple[Came, ...]:
        """Every message of the request, once this one makes them complete; none before.

        `key` names the request and, in a sequence, its step. A newer attempt puts an older one's messages away, a
        message that is there already or is of an older attempt counts for nothing.
        """
        header = frame.header
        held = self._requests.get(key)
        if held is not None and held.attempt < header.attempt:
            self._let_go(key)
            held = None
        if held is None:
            held = self._requests[key] = _Request(header.attempt, now_s + PATIENCE_S)
        names = tuple(meta.name for meta in header.tensors)
        if held.attempt > header.attempt or names in held.came:
            via.consumed(frame)
            return ()
        if header.budget_s is not None:
            held.until_s = min(held.until_s, now_s + header.budget_s)
        held.came[names] = Came(frame, via)
        if len(held.came) < self._wanted:
            return ()
        del self._requests[key]
        return tuple(held.came.values())

    def drop(self, request: str, attempt: int) -> None:
        """Put away what is there of an attempt that nobody waits for any more."""
        gone = [
            key
            for key, held in self._requests.items()
            if held.attempt == attempt and any(one.frame.header.request == request for one in held.came.values())
        ]
        for key in gone:
            self._let_go(key)

    def drop_of(self, origin: str) -> None:
        """Put away what a router sent that is gone."""
        gone = [
            key
            for key, held in self._requests.items()
            if any(one.frame.header.origin == origin for one in held.came.values())
        ]
        for key in gone:
            self._let_go(key)

    def expire(self, now_s: float) -> None:
        """Put away what will not be complete in time."""
        for key in [key for key, held in self._requests.items() if held.until_s <= now_s]:
            self._let_go(key)

    def clear(self) -> None:
        """Put everything away."""
        for key in tuple(self._requests):
            self._let_go(key)

    def _let_go(self, key: Hashable) -> None:
        for frame, via in self._requests.pop(key).came.values():
            via.consumed(frame)


def merged(came: tuple[Came, ...]) -> Frame:
    """One frame with all tensors and hops; what is left of the time is the least that any message says."""
    first = came[0].frame
    headers = [one.frame.header for one in came]
    budgets = [header.budget_s for header in headers if header.budget_s is not None]
    timings = [header.timings for header in headers if header.timings is not None]
    header = first.header._replace(
        tensors=tuple(meta for each in headers for meta in each.tensors),
        budget_s=min(budgets) if budgets else None,
        timings=all_hops(*timings) if timings else None,
    )
    return Frame(header, tuple(buffer for one in came for buffer in one.frame.buffers))


def all_hops(*timings: tuple[HopTiming, ...]) -> tuple[HopTiming, ...]:
    """The hops of a request by several ways, each stage once."""
    return tuple({hop.stage: hop for hops in timings for hop in hops}.values())
