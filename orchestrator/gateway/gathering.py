"""Requests on their way into the pipeline: each model's queue, who goes next, and which go together.

A queue is nodes/batching.py's, by the model's own rules; window.py says how many runs may be under way. Requests of a
run are stacked along their first axis and answered together; where that fails, each is asked alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from nodes.backend import Array
from nodes.batching import NORMAL, Batcher, Refuse, Run
from orchestrator.answers import Answer
from orchestrator.errors import RequestTimeout, Unavailable
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.models import Asking, Model, Source
from orchestrator.gateway.window import Window
from orchestrator.padding import bucket
from orchestrator.trace_ids import TRACE

PACES = 16  # the time between so many answers tells how fast a queue is worked off
SURE = 0.8  # of that: a request is refused only where it is late even so


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """An answer, after `queue_s` in the queue. Its run had `rows` in all; it `counts` for one who shared it."""

    answer: Answer
    queue_s: float = 0.0
    rows: int = 1
    counts: bool = True


@dataclass(slots=True, eq=False)
class _Waiting:
    feeds: Mapping[str, Array]
    rows: int
    asking: Asking
    came_s: float
    future: "asyncio.Future[Gathered]"
    trace: str = field(default_factory=TRACE.get)

    @property
    def left_s(self) -> float:
        return self.came_s + self.asking.budget_s - time.monotonic()


@dataclass(slots=True)
class _Queue:
    """Of one model."""

    batcher: Batcher = field(default_factory=Batcher)
    window: Window = field(default_factory=Window)
    model: Model | None = None  # as it was told last
    waiting: dict[int, _Waiting] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    answered_s: deque[float] = field(default_factory=lambda: deque(maxlen=PACES))
    ticket: int = 0

    @property
    def is_idle(self) -> bool:
        """Nobody waits in it, and nothing of it is under way."""
        return not (self.window.inside or self.waiting or self.batcher)

    def forget_pace(self) -> None:
        """How fast it is worked off is not known any more."""
        self.answered_s.clear()
        self.batcher.run_s = self.batcher.own_s = 0.0


class Gathering:
    """Asks a `source`, as many at once as help."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._queues: dict[str, _Queue] = {}
        self._runs: set[asyncio.Task[None]] = set()

    def waiting(self, name: str) -> int:
        """Requests in a model's queue."""
        found = self._queues.get(name)
        return 0 if found is None else len(found.batcher)

    async def answer(self, model: Model, feeds: Mapping[str, Array], rows: int, asking: Asking) -> Gathered:
        """The answer, in turn. Refused at once where the queue is full, or the time can't suffice."""
        queue = self._queues.get(model.name) or self._begun(model.name)
        queue.model, queue.batcher.rules, queue.window.least = model, model.rules, model.width
        if not queue.window.inside and not queue.batcher:
            queue.forget_pace()
        if len(model.versions) == 1 and asking.key:  # it matters only where several answer
            asking = replace(asking, key="")
        if not queue.batcher and queue.window.has_room and not self._waits_for_others(model, rows):
            return await self._alone(model.name, queue, feeds, rows, asking)
        return await self._in_turn(model, queue, feeds, rows, asking)

    def _begun(self, name: str) -> _Queue:
        """A new queue; idle ones of models that are gone make room for it, so there are no more than models."""
        there = set(self._source.models()) if self._queues else set()
        for gone in [one for one, queue in self._queues.items() if one not in there and queue.is_idle]:
            self._wake(gone, self._queues.pop(gone), None)
        queue = self._queues[name] = _Queue()
        return queue

    def _waits_for_others(self, model: Model, rows: int) -> bool:
        return bool(model.rules.max_delay_s) and rows < model.rules.max_batch

    async def _alone(self, name: str, queue: _Queue, feeds: Mapping[str, Array], rows: int, asking: Asking) -> Gathered:
        began_s = time.monotonic()
        queue.window.inside += 1
        try:
            answer = await self._source.answer(name, feeds, asking)
            self._note(queue, time.monotonic() - began_s, rows, answer.epoch, feeds)
        finally:
            queue.window.inside -= 1
            if queue.batcher:
                self._pump(name, queue)
        return Gathered(answer=answer, rows=rows)

    async def _in_turn(
        self, model: Model, queue: _Queue, feeds: Mapping[str, Array], rows: int, asking: Asking
    ) -> Gathered:
        future: asyncio.Future[Gathered] = asyncio.get_running_loop().create_future()
        held = _Waiting(feeds, rows, asking, time.monotonic(), future)
        queue.ticket += 1
        ticket = queue.ticket
        refused = queue.batcher.add(
            ticket,
            held.came_s,
            deadline_s=held.came_s + asking.budget_s,
            group=_group(held),
            priority=asking.priority or NORMAL,
            rows=rows if model.rules.max_batch > 1 else 1,
        )
        if refused is not None:
            raise self._refusal(model.name, queue, refused, held)
        queue.waiting[ticket] = held
        self._pump(model.name, queue)
        try:
            async with asyncio.timeout(asking.budget_s):
                return await future
        except TimeoutError:
            raise RequestTimeout(f"model {model.name!r}: no answer within {asking.budget_s:.3g} s") from None
        finally:
            if queue.waiting.pop(ticket, None) is not None:
                queue.batcher.remove(ticket)

    def _pump(self, name: str, queue: _Queue) -> None:
        """Begin what may begin now."""
        while queue.batcher and queue.window.has_room:
            decision = queue.batcher.decide(time.monotonic())
            if isinstance(decision, Refuse):
                held = queue.waiting.pop(decision.ticket)
                if not held.future.done():
                    held.future.set_exception(self._refusal(name, queue, decision, held))
            elif isinstance(decision, Run):
                together = [queue.waiting.pop(ticket) for ticket in decision.tickets]
                together = [held for held in together if not held.future.done()]
                if not together:  # they have just gone
                    continue
                run = asyncio.create_task(self._run(name, queue, together), name=f"gateway-run-{name}")
                self._runs.add(run)
                run.add_done_callback(self._runs.discard)
                for held in together:  # nobody waits for it any more: so it is given up
                    held.future.add_done_callback(partial(_give_up, run, together))
                queue.window.inside += 1
            else:
                self._wake(name, queue, decision.until_s)
                return

    def _wake(self, name: str, queue: _Queue, until_s: float | None) -> None:
        if queue.timer is not None:
            queue.timer.cancel()
        if until_s is not None:
            queue.timer = asyncio.get_running_loop().call_at(until_s, self._pump, name, queue)

    async def _run(self, name: str, queue: _Queue, together: list[_Waiting]) -> None:
        TRACE.set(together[0].trace)  # of all those who share it; the task has it to itself
        began_s = time.monotonic()
        rows = sum(held.rows for held in together)
        try:
            asking = together[0].asking.within(max(held.left_s for held in together))
            feeds = _stacked(together)
            answer = await self._source.answer(name, feeds, asking)
            self._note(queue, time.monotonic() - began_s, rows, answer.epoch, feeds)
            _tell(together, answer, began_s, rows)
        except Exception as error:
            if len(together) == 1 or isinstance(error, Unavailable | RequestTimeout | Refused):
                _fail(together, error)
            else:  # one of them may have spoiled it for all
                for held in together:
                    await self._by_itself(name, held)
        finally:
            queue.window.inside -= 1
            self._pump(name, queue)

    async def _by_itself(self, name: str, held: _Waiting) -> None:
        if held.future.done():
            return
        began_s = time.monotonic()
        try:
            answer = await self._source.answer(name, held.feeds, held.asking.within(held.left_s))
            _tell([held], answer, began_s, held.rows)
        except Exception as error:
            _fail([held], error)

    def _note(self, queue: _Queue, took_s: float, rows: int, epoch: int, feeds: Mapping[str, Array]) -> None:
        """Learn from an answer how much may be under way, and how long those that wait will."""
        is_full, place = rows >= queue.batcher.rules.max_batch, _place(queue.model, feeds)
        queue.window.answered(took_s, rows, epoch, is_full=is_full, place=place)
        queue.answered_s.append(time.monotonic())
        if not queue.batcher:  # what comes of an idle pipeline tells nothing of its speed
            queue.forget_pace()
        elif len(queue.answered_s) == PACES:
            each_s = (queue.answered_s[-1] - queue.answered_s[0]) / (PACES - 1)
            queue.batcher.run_s, queue.batcher.own_s = SURE * each_s, SURE * queue.window.alone_s(rows)

    def _refusal(self, name: str, queue: _Queue, refused: Refuse, held: _Waiting) -> Refused:
        match refused.reason:
            case "queue full":
                why = f"{queue.batcher.rules.queue_limit} requests wait already; send less, or raise queue_limit"
            case "late":
                why = (
                    f"{held.asking.budget_s:.3g} s won't do: {len(queue.batcher)} requests wait, and a run takes about "
                    f"{queue.batcher.run_s / SURE:.3g} s"
                )
            case _:
                why = f"no answer within {held.asking.budget_s:.3g} s; it was still waiting for its turn"
        retry_s = max(0.05, len(queue.batcher) / queue.batcher.rules.max_batch * queue.batcher.run_s / SURE)
        return Refused(Fault.UNAVAILABLE, f"model {name!r}: {why}", retry_s=retry_s)


def _place(model: Model | None, feeds: Mapping[str, Array]) -> int:
    """Of a run's length among the model's: it says how long the run takes."""
    if model is None or not model.lengths:
        return 0
    return bucket(model.pads, model.lengths, {name: array.shape for name, array in feeds.items()}) or 0


def _group(held: _Waiting) -> Hashable:
    """Requests that may share a run have this in common."""
    asking = held.asking
    return (asking.version, asking.key, *((name, array.shape[1:]) for name, array in held.feeds.items()))


def _stacked(together: list[_Waiting]) -> Mapping[str, Array]:
    first = together[0].feeds
    if len(together) == 1:
        return first
    return {name: np.concatenate([held.feeds[name] for held in together]) for name in first}


def _tell(together: list[_Waiting], answer: Answer, began_s: float, rows: int) -> None:
    """Give each its rows of the answer."""
    at, first = 0, next((held for held in together if not held.future.done()), None)
    for held in together:
        own = answer
        if len(together) > 1:
            own = answer.of_rows(at, at + held.rows, rows)
        told = Gathered(answer=own, queue_s=began_s - held.came_s, rows=rows, counts=held is first)
        at += held.rows
        if not held.future.done():
            held.future.set_result(told)


def _fail(together: list[_Waiting], error: Exception) -> None:
    for held in together:
        if not held.future.done():
            held.future.set_exception(error)


def _give_up(run: "asyncio.Task[None]", together: list[_Waiting], _ended: "asyncio.Future[Gathered]") -> None:
    if all(held.future.cancelled() for held in together):
        run.cancel()
