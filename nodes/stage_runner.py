"""A stage that lives: frames in → batching → lane → frames out to the successor and the router.

Runs in one event loop; the computing happens in the stage's lane while the loop goes on receiving and sending. It
keeps no request longer than it works on it, but remembers for a while which it has seen, so that a duplicate runs
once only. Where frames go is the Outlet's business.
"""

import asyncio
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from nodes.batching import NORMAL, Batcher, BatchRules, Refuse, Run
from nodes.code_version import code_version
from nodes.connection import Connection
from nodes.errors import BudgetExpired, NodesError, Overloaded, StageHung, UnknownEpoch
from nodes.framing import Frame, Header, HopTiming, Kind
from nodes.lane import Lane
from nodes.partial import Came, Partials, merged
from nodes.sequences import Sequences
from nodes.stage_spec import StageSpec, Successor
from nodes.stage_work import Runs, Worked, fault_of, rows_of, work
from nodes.watchdog import Patience, Watchdog, end_process

REMEMBERED = 8192
STALE_S = 1.0  # without a run, after which it is not known any more what one takes
RUNS = 16  # the shortest of so many tells what a run takes at the least
AHEAD = 2  # one job runs, one waits for the lane: the next starts without a turn of the loop in between
Key = tuple[Hashable, ...]
K = TypeVar("K")
V = TypeVar("V")


class Outlet(Protocol):
    """Where a stage's frames go."""

    def forward(self, successor: Successor, frame: Frame) -> None:
        """To the next stage; failures come back to the router as errors."""
        ...

    def has_room(self, successor: Successor, call: Callable[[], None]) -> bool:
        """Whether the way to the next stage takes more; if not, `call` is called once when it does."""
        ...

    def answer(self, frame: Frame, via: Connection) -> None:
        """To the router that the header names as origin; `via` is the stream the request came by."""
        ...


class Observer(Protocol):
    """Who counts what a stage does."""

    def ran(self, spec: StageSpec, frames: Sequence[Frame]) -> None:
        """One run over these frames has ended, well or not; told once the tensors are on their way."""
        ...

    def served(self, spec: StageSpec, queue_s: float, worked: Worked) -> None:
        """A request went through."""
        ...

    def failed(self, spec: StageSpec, header: Header) -> None:
        """A request ended with the fault in `header`."""
        ...


class _Request(NamedTuple):
    frame: Frame
    via: Connection
    key: Key
    arrived_s: float
    deadline_s: float | None
    came: tuple[Came, ...] = ()  # the messages that the frame was made of, where there are several senders

    def consumed(self) -> None:
        """Give the senders back what the request took of their windows."""
        for frame, via in self.came or (Came(self.frame, self.via),):
            via.consumed(frame)


class StageRunner:
    """One stage of one deployment at one epoch.

    If a run hangs, its requests and all that wait get the fault StageHung, and `end` is called with one line; by
    default it ends the process. Outputs named in `unbounded` may hold NaN and infinities (soundness.py).
    """

    def __init__(
        self,
        spec: StageSpec,
        program: Runs,
        outlet: Outlet,
        observer: Observer,
        *,
        unbounded: Collection[str] = (),
        patience: Patience | None = None,
        end: Callable[[str], None] = end_process,
    ) -> None:
        self.spec, self.program = spec, program
        self.draining = False
        self.served, self.busy_s = 0, 0.0  # requests run, well or not, and what that took; batches counted once
        self._unbounded = frozenset(unbounded)
        self._sequences = Sequences(spec, program.inputs) if spec.state or spec.kept else None
        self._partials = Partials(spec.gathers) if spec.gathers > 1 else None
        self._hung: StageHung | None = None
        self._outlet, self._observer = outlet, observer
        self._batcher = Batcher(
            BatchRules(
                max_batch=spec.max_batch,
                preferred=spec.preferred,
                max_delay_s=spec.max_delay_s,
                queue_limit=spec.queue_limit,
            )
        )
        self._runs_s: deque[float] = deque(maxlen=RUNS)
        self._ran_s = 0.0  # when the last one ended
        self._lane: Lane[list[Worked]] = Lane(f"{spec.deployment}/{spec.stage}", may_inline=spec.slowdown == 1)
        self._requests: dict[int, _Request] = {}  # waiting or running, by ticket
        self._tickets = itertools.count()
        self._seen: OrderedDict[Key, Connection] = OrderedDict()
        self._cancelled: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._running: tuple[int, ...] = ()  # tickets of the job that the lane began last
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._pumping = self._stalled = self._closing = False
        self._emptied: asyncio.Event = asyncio.Event()
        self._watchdog = Watchdog(
            f"stage {spec.stage!r} of {spec.deployment!r} at epoch {spec.epoch}",
            self._told_hung,
            patience=patience or Patience(),
            end=end,
        )

    def accept(self, frame: Frame, via: Connection) -> None:
        """Take in a TENSORS frame; a duplicate of (request, attempt, sequence, position) is dropped.

        Where several stages send to this one, a request begins once the last of its messages is there.
        """
        header = frame.header
        key = (header.request, header.attempt, header.sequence, header.position)
        if key in self._seen or self._is_cancelled(header):
            via.consumed(frame)
            return
        now_s = time.monotonic()
        came: tuple[Came, ...] = ()
        if self._partials is not None:
            came = self._partials.add((header.request, header.sequence, header.position), frame, via, now_s)
            if not came:
                return
            frame = merged(came)
            header = frame.header
        _remember(self._seen, key, via)
        deadline_s = None if header.budget_s is None else now_s + header.budget_s
        request = _Request(frame, via, key, now_s, deadline_s, came)
        if self._hung is not None:
            self._fail(request, header._replace(fault=fault_of(self._hung)))
            request.consumed()
        elif self._closing:
            self._turn_away(request)
            request.consumed()
        elif self._runs_at_once() and (deadline_s is None or deadline_s > now_s):
            worked = self._lane.run_here(lambda: self._work((frame,)))[0]
            request.consumed()  # before the answer, which carries the credit along
            self._emit(request, worked, 0.0)
            self._observer.ran(self.spec, (frame,))
        else:
            self._queue(request)

    def _is_cancelled(self, header: Header) -> bool:
        return bool(self._cancelled) and (header.request, header.attempt) in self._cancelled

    def _runs_at_once(self) -> bool:
        """Small work with nothing before it: no queue, no thread."""
        return self.spec.max_batch == 1 and not self._batcher and self._lane.is_quick() and self._way_is_free()

    def _queue(self, request: _Request) -> None:
        ticket = next(self._tickets)
        self._requests[ticket] = request
        if self._batcher.run_s and not self._lane.pending and request.arrived_s - self._ran_s > STALE_S:
            self._runs_s.clear()  # what runs took then tells nothing now
            self._batcher.run_s = self._batcher.own_s = 0.0
        header = request.frame.header
        group = tuple((meta.name, meta.dtype, meta.shape[1:]) for meta in header.tensors)
        refused = self._batcher.add(
            ticket,
            request.arrived_s,
            deadline_s=request.deadline_s,
            group=group,
            priority=header.priority or NORMAL,
            rows=self._rows(request.frame),
        )
        if refused:
            self._refuse(refused)
        else:
            self._pump()

    def cancel(self, header: Header) -> None:
        """Forget a request, waiting or running, and tell the stages after this one."""
        self._cancel(header, tuple(self._requests.items()))

    def cancel_all_of(self, origin: str) -> None:
        """Forget every request of a router that is gone."""
        if self._partials is not None:
            self._partials.drop_of(origin)
        for ticket, request in tuple(self._requests.items()):
            if request.frame.header.origin == origin:
                self._cancel(request.frame.header, ((ticket, request),))

    def _cancel(self, header: Header, among: Sequence[tuple[int, _Request]]) -> None:
        is_news = not self._is_cancelled(header)  # where branches meet again, it is heard from each
        _remember(self._cancelled, (header.request, header.attempt), None)
        if self._partials is not None:
            self._partials.drop(header.request, header.attempt)
        for ticket, request in among:
            about = request.frame.header
            if (about.request, about.attempt) == (header.request, header.attempt) and ticket not in self._running:
                self._batcher.remove(ticket)  # or it waits for the lane, which will find that it is gone
                self._forget(ticket)
        if not is_news:
            return
        first = self.spec.next_on(header.way)
        for successor in (*(() if first is None else (first,)), *(one.successor for one in self.spec.further)):
            passed = header._replace(kind=Kind.CANCEL, tensors=(), stage=successor.stage, way=header.way[1:])
            self._outlet.forward(successor, Frame(passed))

    def came_by(self, header: Header) -> Connection | None:
        """The stream by which a request that this stage has seen arrived."""
        return self._seen.get((header.request, header.attempt, header.sequence, header.position))

    def forget_idle(self, now_s: float) -> None:
        """Let go of sequences that have been silent for too long, and of requests that miss a message in time."""
        if self._partials is not None:
            self._partials.expire(now_s)
        if self._sequences is not None:
            self._sequences.forget_idle(now_s)

    @property
    def in_hand(self) -> int:
        """Requests that wait or run here."""
        return len(self._requests)

    @property
    def waiting(self) -> int:
        """Requests that wait for their run."""
        return len(self._batcher)

    @property
    def idle(self) -> bool:
        """Whether no request waits or runs here."""
        return not self._requests

    async def drain(self, timeout_s: float) -> bool:
        """Wait until no request is left; False if some were after `timeout_s`."""
        self.draining = True
        if self._requests:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Stop the lane and free the engine; requests still here are told that the stage is gone."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._lane.close()
        self._watchdog.close()
        has_ended = await asyncio.to_thread(self._lane.join, 5.0)
        await asyncio.sleep(0)  # what the lane has finished is answered first
        if self._partials is not None:
            self._partials.clear()
        for ticket, request in list(self._requests.items()):
            self._batcher.remove(ticket)
            self._turn_away(request)
            self._forget(ticket)
        if has_ended:
            self.program.close()

    def _turn_away(self, request: _Request) -> None:
        """Not a fault of the stage: it was dropped, and the router knows where to go instead."""
        gone = UnknownEpoch(f"stage {self.spec.stage!r} of {self.spec.deployment!r} was dropped while it waited")
        header = request.frame.header._replace(kind=Kind.ERROR, stage=self.spec.stage, tensors=(), fault=fault_of(gone))
        self._outlet.answer(Frame(header), request.via)

    def _pump(self) -> None:
        """Start whatever may start now. Entered once at a time: a lane may finish a small job at once."""
        if self._pumping or self._closing:
            return
        self._pumping = True
        try:
            while self._may_start() and self._batcher and self._way_is_free():
                decision = self._batcher.decide(time.monotonic())
                if isinstance(decision, Refuse):
                    self._refuse(decision)
                elif isinstance(decision, Run):
                    self._start(decision.tickets)
                else:
                    self._wake_at(decision.until_s)
                    return
        finally:
            self._pumping = False

    def _may_start(self) -> bool:
        """Whether the lane takes a further batch: one that isn't full is better joined while another runs."""
        return self._lane.pending < (AHEAD if self._batcher.rows >= self.spec.max_batch else 1)

    def _rows(self, frame: Frame) -> int:
        return min(rows_of(frame), self.spec.max_batch)  # one that is larger runs alone

    def _way_is_free(self) -> bool:
        """Back-pressure: nothing runs whose result would only pile up before a slow successor, or all its replicas."""
        following = self.spec.following
        if not following or self._stalled:
            return not self._stalled
        has_room = self._outlet.has_room
        self._stalled = not any(has_room(successor, self._resume) for successor in following) or not all(
            has_room(branch.successor, self._resume) for branch in self.spec.further
        )
        return not self._stalled

    def _resume(self) -> None:
        self._stalled = False
        self._pump()

    def _wake_at(self, until_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if until_s is None else self._loop.call_at(until_s, self._pump)

    def _start(self, tickets: tuple[int, ...]) -> None:
        held = [(ticket, self._requests[ticket]) for ticket in tickets]
        began_s = time.monotonic()

        def job() -> list[Worked]:
            nonlocal began_s, held
            began_s = time.monotonic()  # another job may be in the lane, and until it is through this one waits
            self._running = tickets
            held = [(ticket, request) for ticket, request in held if ticket in self._requests]
            return self._work([request.frame for _, request in held]) if held else []

        def done(results: list[Worked]) -> None:
            if self._hung is not None:
                return  # too late: all have been told
            for (ticket, request), worked in zip(held, results, strict=True):
                if ticket in self._requests:  # not cancelled in the very moment in which its run began
                    self._emit(request, worked, began_s - request.arrived_s)
                    self._forget(ticket)
            if held:
                self._observer.ran(self.spec, [request.frame for _, request in held])
            self._pump()

        self._lane.submit(job, done)

    def _work(self, frames: Sequence[Frame]) -> list[Worked]:
        started_s = time.monotonic()
        try:
            asleep = self._watchdog.sleep
            run = partial(work, self.spec, self.program, frames, self._unbounded, self._sequences, asleep)
            return self._watchdog.watched(run)
        finally:
            self._ran_s = time.monotonic()
            took_s = self._ran_s - started_s
            self.served, self.busy_s = self.served + len(frames), self.busy_s + took_s
            self._runs_s.append(took_s)
            if len(self._runs_s) == RUNS:
                self._batcher.run_s = self._batcher.own_s = min(self._runs_s)

    def _told_hung(self, line: str) -> None:
        """In the watchdog's thread; the loop may be what hangs, or be gone."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end_hung, StageHung(line))

    def _end_hung(self, hung: StageHung) -> None:
        self._hung = hung
        for ticket, request in list(self._requests.items()):
            self._batcher.remove(ticket)
            self._fail(request, request.frame.header._replace(fault=fault_of(hung)))
            self._forget(ticket)

    def _emit(self, request: _Request, worked: Worked, queue_s: float) -> None:
        header = request.frame.header
        if self._is_cancelled(header):
            return
        if worked.fault is not None:
            self._fail(request, header._replace(fault=worked.fault))
            return
        spec, budget_s, timings = self.spec, header.budget_s, header.timings
        if request.deadline_s is not None:
            budget_s = max(0.0, request.deadline_s - time.monotonic())
        if timings is not None:
            spent_s = (queue_s, worked.decode_s, worked.compute_s, worked.encode_s)
            timings = (*timings, HopTiming(spec.stage, *spent_s, code_version()))
        if worked.returns:
            metas, buffers = zip(*worked.returns, strict=True)
            self._outlet.answer(Frame(header.passed_on(spec.stage, budget_s, metas, timings), buffers), request.via)
        successor = spec.next_on(header.way)
        if successor is not None and spec.sends:
            metas, buffers = zip(*worked.sends[: len(spec.sends)] if spec.further else worked.sends, strict=True)
            passed_on = header.passed_on(successor.stage, budget_s, metas, timings, header.way[1:])
            self._outlet.forward(successor, Frame(passed_on, buffers))
        for branch in spec.further:
            made = {sent[0].name: sent for sent in worked.sends}
            metas, buffers = zip(*(made[name] for name in branch.sends), strict=True)
            passed_on = header.passed_on(branch.successor.stage, budget_s, metas, timings)
            self._outlet.forward(branch.successor, Frame(passed_on, buffers))
        self._observer.served(spec, queue_s, worked)  # last: the tensors are on their way

    def _refuse(self, refused: Refuse) -> None:
        ticket = refused.ticket
        request = self._requests[ticket]
        where = f"request {request.frame.header.request!r} at stage {self.spec.stage!r}"
        error: NodesError
        match refused.reason:
            case "deadline":
                waited_s = time.monotonic() - request.arrived_s
                error = BudgetExpired(f"{where}: its time was up after {waited_s:.3f} s of waiting")
            case "late":
                error = BudgetExpired(
                    f"{where}: it can't be answered in time: {len(self._batcher)} requests wait, and a run takes "
                    f"{self._batcher.run_s:.3g} s or more; send less, or give it more time"
                )
            case _:
                error = Overloaded(
                    f"{where}: {self.spec.queue_limit} requests wait already; send less or raise queue_limit"
                )
        self._fail(request, request.frame.header._replace(fault=fault_of(error)))
        self._forget(ticket)

    def _fail(self, request: _Request, header: Header) -> None:
        failed = header._replace(kind=Kind.ERROR, stage=self.spec.stage, tensors=())
        self._observer.failed(self.spec, failed)
        self._outlet.answer(Frame(failed), request.via)

    def _forget(self, ticket: int) -> None:
        self._requests.pop(ticket).consumed()
        if not self._requests:
            self._emptied.set()


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
