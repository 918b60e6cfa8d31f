"""A deployment asked with what several sensors saw at one time; who decides which items those are is aligning/core.py.

A shell: a lock, a timer in the client's event loop, and the answers in their order. Made by Client.align.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

from nodes.backend import Array
from orchestrator.aligning.core import Action, Alignment, Ask
from orchestrator.aligning.ledger import Ledger
from orchestrator.aligning.skew import sample
from orchestrator.aligning.terms import AlignTerms
from orchestrator.answers import Answer
from orchestrator.sourcing import Item

Value = Array | Item
Given = Value | Mapping[str, Value]  # one input's value, of the modality's own name, or several by name
Forgotten = Callable[[str, Mapping[str, Value]], None]


class Submits(Protocol):
    """Client.submit for one deployment."""

    def __call__(self, inputs: Mapping[str, Value], *, priority: int) -> "Future[Answer]":
        """The answer to come."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What came of one request. `asker`: the modality whose item asked ("" for a window), captured `at_s`.

    `missing`: modalities that it was asked without; `ages_s`: those filled with their last item, by how much older
    that is, in seconds. Either `outputs` or `error`.
    """

    asker: str
    at_s: float
    missing: tuple[str, ...]
    ages_s: Mapping[str, float]
    outputs: Mapping[str, Array] = field(default_factory=dict)
    error: BaseException | None = None
    latency_s: float = 0.0


class Aligned:
    """Items in, answers out; use it as a context manager, which `finish`es it. Any thread may put.

    Answers that nobody takes hold requests back: no more than `under_way` are asked ahead of who iterates.
    """

    def __init__(
        self,
        terms: AlignTerms,
        submit: Submits,
        loop: asyncio.AbstractEventLoop,
        *,
        instead: Mapping[str, Given] | None = None,
        forgotten: Forgotten | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called when every answer was taken after `finish`: nothing is meant by a request any more."""
        self._core, self._ended = Alignment(terms), ended
        self._instead = {name: _named(name, given) for name, given in (instead or {}).items()}
        lacking = [name for name, one in terms.modalities.items() if one.missing == "without"]
        if wanting := [name for name in lacking if name not in self._instead]:
            raise ValueError(f"modality {wanting[0]!r} may be left out; say what its inputs are instead")
        self._submit, self._loop, self._forgotten = submit, loop, forgotten
        self._changed = threading.Condition(threading.RLock())
        self._values: dict[int, tuple[str, Mapping[str, Value]]] = {}
        self._uses: dict[int, int] = {}  # by requests that are under way
        self._gone: set[int] = set()  # items that no further request will mean
        self._asked: dict[str, deque[tuple[Ask, Future[Answer]]]] = {}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_finished = False

    def __enter__(self) -> "Aligned":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.finish()

    def put(self, modality: str, value: Given, captured_s: float | None = None) -> None:
        """An item, captured at this time of the sensor's clock (seconds; now, if not told).

        KeyError for a modality that there is not or inputs that are not its own, RuntimeError after `finish`.
        """
        captured_s = time.time() if captured_s is None else captured_s
        with self._changed:
            if self._is_finished:
                raise RuntimeError("no item can be put any more: the alignment is finished")
            if modality not in self._core.held:
                raise KeyError(f"no modality {modality!r}; there are {', '.join(self._core.held)}")
            own = self._core.terms.modalities[modality].inputs
            inputs = _named(own[0] if len(own) == 1 else modality, value)
            if own and set(inputs) != set(own):
                raise KeyError(f"an item of {modality!r} has {', '.join(own)}, and this one {', '.join(inputs)}")
            self._number += 1
            self._values[self._number] = (modality, inputs)
            self._do(self._core.put(modality, self._number, captured_s, time.monotonic()))

    def clock(self, modality: str, t1: float, t2: float, t3: float, t4: float) -> None:
        """An exchange of timestamps: sent by the sensor at t1 and received at t4 of its clock; received here at t2 and
        sent back at t3 of `time.time()`. ValueError for timestamps that no exchange can have had.
        """
        with self._changed:
            self._core.clock(modality, sample(t1, t2, t3, t4))

    def finish(self) -> None:
        """No item will come any more; what waits is decided, and iterating ends with its answers."""
        with self._changed:
            if not self._is_finished:
                self._is_finished = True
                self._do(self._core.end(time.monotonic()))

    @property
    def ledger(self) -> Ledger:
        """What has become of all items so far: a copy."""
        with self._changed:
            of = self._core.ledger
            return Ledger(
                items={name: replace(one) for name, one in of.items.items()},
                asked=of.asked,
                without=dict(of.without),
                filled=dict(of.filled),
            )

    @property
    def waiting(self) -> dict[str, int]:
        """Items of each modality that have not come to their end."""
        with self._changed:
            return self._core.waiting

    def __iter__(self) -> Iterator[Joined]:
        """Answers as they come, those of one modality in the order of capture. A request that failed tells why, and
        the others go on.
        """
        while (found := self._next()) is not None:
            ask, future = found
            about = {"asker": ask.asker, "at_s": ask.at_s, "missing": ask.missing, "ages_s": ask.ages_s}
            if (error := future.exception()) is not None:
                yield Joined(**about, error=error)  # type: ignore[arg-type]
            else:
                answer = future.result()
                yield Joined(**about, outputs=answer.outputs, latency_s=answer.latency_s)  # type: ignore[arg-type]
        self._ended()

    def _next(self) -> tuple[Ask, "Future[Answer]"] | None:
        with self._changed:
            while True:
                heads = [asked[0] for asked in self._asked.values() if asked and asked[0][1].done()]
                if heads:
                    ask, future = min(heads, key=lambda head: head[0].request)
                    self._asked[ask.asker].popleft()
                    for number in ask.items.values():
                        self._uses[number] -= 1
                    self._let_go(ask.items.values())
                    self._do(self._core.ended(ask.request, time.monotonic()))
                    return ask, future
                if self._is_finished and not any(self._asked.values()):
                    return None
                self._changed.wait()

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Ask):
                self._ask(action)
            else:
                self._gone.add(action.number)
                self._let_go((action.number,))
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_timer)

    def _ask(self, ask: Ask) -> None:
        inputs: dict[str, Value] = {}
        for name in ask.missing:
            inputs |= self._instead[name]
        for number in ask.items.values():
            inputs |= self._values[number][1]
            self._uses[number] = self._uses.get(number, 0) + 1
        own = self._core.terms.modalities.get(ask.asker)
        future = self._submit(inputs, priority=min(own.priority + 1, 9) if own else 0)
        self._asked.setdefault(ask.asker, deque()).append((ask, future))
        future.add_done_callback(self._tell)

    def _tell(self, _done: "Future[Answer]") -> None:
        with self._changed:
            self._changed.notify_all()

    def _let_go(self, numbers: Iterable[int]) -> None:
        """Free those that no request means any more, and none will."""
        for number in numbers:
            if number in self._gone and not self._uses.get(number):
                self._gone.discard(number)
                self._uses.pop(number, None)
                modality, value = self._values.pop(number)
                if self._forgotten is not None:
                    self._forgotten(modality, value)

    def _set_timer(self) -> None:
        """In the event loop: wake up when the next wait ends."""
        with self._changed:
            if self._timer is not None:
                self._timer.cancel()
            due_s = self._core.due_s
            if due_s is None or self._is_finished:
                self._timer = None
            else:
                self._timer = self._loop.call_later(max(0.0, due_s - time.monotonic()), self._tick)

    def _tick(self) -> None:
        with self._changed:
            self._do(self._core.tick(time.monotonic()))


def _named(modality: str, given: Given) -> Mapping[str, Value]:
    return given if isinstance(given, Mapping) else {modality: given}
