"""Sequences of requests to a model that keeps state: who is next, what went before, and how lost state is made again.

Part of the router's shell. Of each sequence one step is under way, others wait in order. A step is an ordinary request;
what makes it one of a sequence is its Part: the name and place by which the stages know which state it continues
(nodes/sequences.py). A stage that does not have that state says so, and the core fails the step at once. Then the
state is made again where requests go now: a checkpoint is brought there, or zeros, and the steps since are run again,
their answers thrown away; the step itself follows. So workers may die, plans change and stages forget as they like.

A name on the wire is used for one row of inputs only: whenever state is made again, and after a step that failed or
was given up, whose fate at the stages nobody knows, it goes on under a new one. So late frames meet nothing.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np

from nodes.backend import Array
from nodes.errors import BadInput
from orchestrator.answers import Answer
from orchestrator.errors import RequestFailed, RequestTimeout, StateLost, Unavailable
from orchestrator.request import Part, Wish
from orchestrator.router_feeds import check_feeds
from orchestrator.routes import EpochRoutes
from orchestrator.sequence_terms import Stateful
from orchestrator.terms import Step

MOST_QUEUED = 64  # steps of one sequence that wait at a router
HISTORY_BYTES = 16 << 20  # of inputs since the last checkpoint; beyond that the next one comes early
MOST_BYTES = 1 << 30  # that a router holds of all sequences; beyond that none is begun
MOST_LOSSES = 2  # workers that may die while a step is alone with them
Arrays = Mapping[str, Array]


Ask = Callable[[Arrays, Part, float], Awaitable[Answer]]


@dataclass(slots=True, eq=False)
class _Sequence:
    """A sequence since its start. `wire` "" : no stage has its state."""

    terms: Stateful
    kept: Arrays
    rows: int
    version: int = 0
    position: int = 0  # of the next step
    checkpoint: int = 0  # the position that `state` belongs to
    state: Arrays = field(default_factory=dict)
    history: list[Arrays] = field(default_factory=list)  # what the steps since were given
    wire: str = ""
    home: Wish = field(default_factory=Wish)

    @property
    def nbytes(self) -> int:
        return sum(_weight(one) for one in (self.kept, self.state, *self.history))


@dataclass(slots=True, eq=False)
class _Line:
    """Those who have a step of one sequence. `failures` counts steps that came to nothing."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    failures: int = 0
    used_s: float = 0.0
    nbytes: int = 0
    sequence: _Sequence | None = None


class Sequences:
    """All sequences of one router. `note` is told each time that state is made again."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._lines: OrderedDict[tuple[str, str, str], _Line] = OrderedDict()  # the one silent longest first
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is held to make state again."""
        return self._nbytes

    async def step(
        self, deployment: str, routes: EpochRoutes, feeds: Arrays, step: Step, budget_s: float, ask: Ask
    ) -> Answer:
        """The answer to a step, in turn; `ask` has the core send it. BadInput for a step that makes no sense.

        Unavailable where there is no room, or a step before it failed while it waited; else as Router.infer.
        """
        until_s = time.monotonic() + budget_s
        key = (deployment, step.owner, step.sequence)
        line = self._line(key, routes, step)
        failures = line.failures
        line.waiting += 1
        try:
            await _turn(line, step, budget_s)
        except BaseException:  # those behind it must not slide into its place
            line.failures += 1
            raise
        finally:
            line.waiting -= 1
        try:
            if line.failures != failures and not step.start:
                raise Unavailable(
                    f"sequence {step.sequence!r}: a step before this one failed; send them again, in order"
                )
            return await self._in_turn(deployment, line, routes, feeds, step, until_s, ask)
        except BaseException:  # a caller who has gone included
            line.failures += 1
            raise
        finally:
            line.used_s = time.monotonic()
            self._weigh(line)
            line.turn.release()
            if line.sequence is None and not line.waiting and self._lines.get(key) is line:
                del self._lines[key]

    def end(self, deployment: str, sequence: str, owner: str = "") -> None:
        """Nobody goes on with it."""
        line = self._lines.get((deployment, owner, sequence))
        if line is not None and not line.turn.locked() and not line.waiting:
            self._drop((deployment, owner, sequence))

    def forget_idle(self, now_s: float) -> None:
        """Let go of sequences that have been silent for too long."""
        for key, line in list(self._lines.items()):
            idle_s = 0.0 if line.sequence is None else line.sequence.terms.idle_s
            if not line.turn.locked() and not line.waiting and now_s - line.used_s > idle_s:
                self._drop(key)

    def _drop(self, key: tuple[str, str, str]) -> None:
        line = self._lines.pop(key)
        line.sequence = None
        self._weigh(line)

    def _line(self, key: tuple[str, str, str], routes: EpochRoutes, step: Step) -> _Line:
        if routes.sequence is None:
            raise BadInput(f"{key[0]} keeps no state between requests; ask it without a sequence")
        line = self._lines.get(key)
        if line is None:
            if not step.start:
                raise BadInput(_unknown(key[0], step, routes.sequence))
            self._check_room(key[0], routes.sequence)
            line = self._lines[key] = _Line()
        elif line.waiting >= MOST_QUEUED:
            raise Unavailable(
                f"sequence {step.sequence!r}: {MOST_QUEUED} of its steps wait already; await some answers"
            )
        self._lines.move_to_end(key)
        return line

    def _check_room(self, deployment: str, terms: Stateful) -> None:
        under_way = sum(name == deployment for name, _, _ in self._lines)
        if under_way >= terms.most:
            why = f"{under_way} are under way, as many as sequence.most of its spec allows"
        elif self._nbytes >= MOST_BYTES:
            why = f"all sequences here hold {self._nbytes} bytes already"
        else:
            return
        raise Unavailable(f"{deployment}: no room for a further sequence: {why}; end some, or let them fall idle")

    def _weigh(self, line: _Line) -> None:
        nbytes = 0 if line.sequence is None else line.sequence.nbytes
        self._nbytes += nbytes - line.nbytes
        line.nbytes = nbytes

    async def _in_turn(
        self, deployment: str, line: _Line, routes: EpochRoutes, feeds: Arrays, step: Step, until_s: float, ask: Ask
    ) -> Answer:
        terms = routes.sequence
        if terms is None or (line.sequence is None and not step.start):
            raise BadInput(_unknown(deployment, step, terms))
        check_feeds(deployment, routes, feeds, also=terms.kept if step.start else ())
        kept = {spec.name: np.array(feeds[spec.name]) for spec in terms.kept} if step.start else {}
        given = {spec.name: feeds[spec.name] for spec in routes.inputs}
        rows = len(given[routes.inputs[0].name]) if routes.rows > 1 else 1
        if step.start or line.sequence is None:
            line.sequence = _Sequence(terms=terms, kept=kept, rows=rows)
        sequence = line.sequence
        if rows != sequence.rows:
            raise BadInput(f"sequence {step.sequence!r} began with {sequence.rows} rows; this step has {rows}")
        try:
            answer = await self._run(sequence, given, step, until_s, ask)
        except BaseException as failed:
            sequence.wire = ""  # how far its stages have come nobody knows
            if isinstance(failed, _OtherVersion) or sequence.position == 0:
                line.sequence = None
            raise
        if step.end:
            line.sequence = None
        return answer

    async def _run(self, sequence: _Sequence, feeds: Arrays, step: Step, until_s: float, ask: Ask) -> Answer:
        """The step's answer, its state made again as often as that takes; the sequence goes on from there."""
        losses = 0
        while True:
            try:
                if not sequence.wire:
                    for place, before in enumerate(sequence.history):
                        await _ask(sequence, step, sequence.checkpoint + place, before, until_s, ask)
                wants = not step.end and _wants_checkpoint(sequence)
                answer = await _ask(sequence, step, sequence.position, feeds, until_s, ask, wants_state=wants)
                break
            except StateLost as lost:
                sequence.wire = ""
                losses += lost.alone
                if losses >= MOST_LOSSES:
                    why = f"{lost}; {losses} workers were lost with it alone, and it is not sent again"
                    raise RequestFailed(why, caller_fault=True) from None
                self._note("sequence")
        sequence.position += 1
        _take(sequence, feeds, answer)
        return answer


class _OtherVersion(Unavailable):
    """A sequence that can't go on: its state is another model's."""


async def _turn(line: _Line, step: Step, budget_s: float) -> None:
    try:
        async with asyncio.timeout(budget_s):
            await line.turn.acquire()
    except TimeoutError:
        raise RequestTimeout(
            f"sequence {step.sequence!r}: no answer within {budget_s:.3g} s; the steps before it took as long"
        ) from None


async def _ask(
    sequence: _Sequence,
    step: Step,
    position: int,
    feeds: Arrays,
    until_s: float,
    ask: Ask,
    *,
    wants_state: bool = False,
) -> Answer:
    """Have one step run; the first under a name brings along what its stages can't know."""
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise RequestTimeout(f"sequence {step.sequence!r}: no answer in time; its state was still being made again")
    if not sequence.wire:
        sequence.wire = uuid4().hex
        feeds = {**feeds, **sequence.kept, **sequence.state}
    also = tuple(made for made, _ in sequence.terms.state) if wants_state else ()
    wish = Wish(epoch=sequence.home.epoch, way=sequence.home.way, also=also)
    last = step.end and position == sequence.position
    part = Part(sequence=sequence.wire, position=position, last=last, snapshot=wants_state, wish=wish)
    answer = await ask(feeds, part, left_s)
    if sequence.position == 0:
        sequence.version = answer.version
    elif answer.version != sequence.version:
        raise _OtherVersion(
            f"sequence {step.sequence!r} began with version {sequence.version}, and {answer.version} has taken over; "
            "begin it again"
        )
    sequence.home = Wish(epoch=answer.epoch, way=answer.way)
    return answer


def _wants_checkpoint(sequence: _Sequence) -> bool:
    if not sequence.terms.state:
        return False
    steps = sequence.position + 1 - sequence.checkpoint
    return steps >= sequence.terms.checkpoint or sum(map(_weight, sequence.history)) > HISTORY_BYTES


def _take(sequence: _Sequence, feeds: Arrays, answer: Answer) -> None:
    """Keep what it takes to make the state after this step: itself, if it came along, else the step's inputs."""
    state = {spec.name: answer.outputs.pop(made) for made, spec in sequence.terms.state if made in answer.outputs}
    if len(state) == len(sequence.terms.state):
        sequence.checkpoint, sequence.state, sequence.history = sequence.position, state, []
    else:
        sequence.history.append({name: np.array(array) for name, array in feeds.items()})  # callers reuse theirs


def _unknown(deployment: str, step: Step, terms: Stateful | None) -> str:
    idle = "" if terms is None else f" (it is forgotten after {terms.idle_s:g} s of silence)"
    return f"{deployment}: no sequence {step.sequence!r} is under way{idle}; begin it with a start"


def _weight(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
