"""The gateway's inside, the same for gRPC and REST: models looked up, questions checked and answered, all counted."""

import asyncio
import time
from collections.abc import Callable
from math import prod
from typing import TypeVar

import numpy as np

from nodes.backend import Array
from nodes.held import BFLOAT16
from orchestrator.gateway.accounts import Account, Accounts
from orchestrator.gateway.datatypes import BYTES, DATATYPE_OF
from orchestrator.gateway.faults import Fault, Refused, invalid, refusal_of
from orchestrator.gateway.gathering import Gathered, Gathering
from orchestrator.gateway.models import (
    Asking,
    Model,
    Output,
    Question,
    Reply,
    Source,
    Wanted,
    check_step,
    check_wanted,
    feeds_of,
)
from orchestrator.gateway.permits import ANYBODY, Permit
from orchestrator.gateway.places import priority_of, step_of
from orchestrator.gateway.statistics import Counted, Statistics
from orchestrator.terms import Step

BUDGET_S = 30.0
T = TypeVar("T")


class Serving:
    """Answers questions from a `source`; whatever goes wrong is raised as Refused. `budget_s`: the longest a request
    may take, and how long one takes at most that says nothing of it. `accounts`: what is told of each.
    """

    def __init__(self, source: Source, *, budget_s: float = BUDGET_S, accounts: Accounts | None = None) -> None:
        self.source, self.statistics, self.gathering = source, Statistics(), Gathering(source)
        self.accounts = Accounts() if accounts is None else accounts
        self._budget_s = budget_s

    def model(self, name: str, version: str = "", permit: Permit = ANYBODY) -> Model:
        """A model of which there is such a version, if it is permitted."""
        permit.check(name)
        found = self.source.model(name)
        if found is None:
            there = ", ".join(filter(permit.opens, self.source.models())) or "none"
            raise Refused(Fault.NOT_FOUND, f"no model {name!r}; there is {there}")
        found.numbered(version)
        return found

    def is_ready(self, name: str, version: str = "", permit: Permit = ANYBODY) -> bool:
        """Whether the model would answer; False for one that there is not."""
        permit.check(name)
        try:
            self.model(name, version)
        except Refused:
            return False
        return self.source.is_ready(name)

    def all_ready(self) -> bool:
        """Whether every model would answer."""
        return self.source.is_live() and all(self.source.is_ready(name) for name in self.source.models())

    def counted(self, name: str = "", version: str = "", permit: Permit = ANYBODY) -> list[tuple[str, int, Counted]]:
        """Statistics of one model, or of all that are permitted; of versions that answer now and those that did."""
        names = [self.model(name, version, permit).name] if name else [*filter(permit.opens, self.source.models())]
        for each in names:
            if (model := self.source.model(each)) is not None:
                self.statistics.of(each, model.version)
        wanted = {int(version)} if version else None
        return [
            (each, number, counted)
            for (each, number), counted in sorted(self.statistics.all().items())
            if each in names and (wanted is None or number in wanted)
        ]

    async def infer(
        self,
        name: str,
        version: str,
        read: Callable[[], Question],
        write: Callable[[Reply], T],
        permit: Permit = ANYBODY,
    ) -> T:
        """What `write` makes of the answer to what `read` finds; however it ends is counted under the model's version.

        Refused from either is counted, too.
        """
        if not self.accounts.are_kept:
            return await self._infer(name, version, read, write, permit, None)
        with self.accounts.open(name) as account:
            return await self._infer(name, version, read, write, permit, account)

    async def _infer(
        self,
        name: str,
        version: str,
        read: Callable[[], Question],
        write: Callable[[Reply], T],
        permit: Permit,
        account: Account | None,
    ) -> T:
        model = self.model(name, version, permit)
        numbered = model.numbered(version)
        counted = self.statistics.of(model.name, numbered or model.version)
        began_s = time.monotonic()
        counted.pending += 1
        try:
            question = read()
            step = step_of(question.parameters, permit.name)
            check_step(model, step)
            begins = step is not None and step.start
            wanted, feeds = check_wanted(model, question), feeds_of(model, question, begins=begins)
            rows = rows_of(model, feeds)
            if account is not None:
                account.id = question.id
            gathered = await self._answer(model, question, feeds, rows, numbered, step)
            answer = gathered.answer
            if account is not None:
                account.answered(answer)
            written = write(
                Reply(
                    model=model.name,
                    version=answer.version or model.version,
                    id=question.id,
                    outputs=tuple(_output(model, each, answer.outputs[each.name]) for each in wanted),
                )
            )
        except asyncio.CancelledError:
            counted.failed(time.monotonic() - began_s, Fault.CANCELLED.name)
            raise
        except Exception as error:
            raise _counted(counted, refusal_of(error), began_s) from None
        finally:
            counted.pending -= 1
        by = self.statistics.of(model.name, answer.version or model.version)  # a split may have chosen another one
        by.answered(time.monotonic() - began_s, rows, gathered)
        return written

    async def _answer(
        self,
        model: Model,
        question: Question,
        feeds: dict[str, Array],
        rows: int,
        version: int | None,
        step: Step | None,
    ) -> Gathered:
        budget_s = self._budget_s if question.budget_s is None else min(question.budget_s, self._budget_s)
        if budget_s <= 0:
            raise Refused(Fault.UNAVAILABLE, f"model {model.name!r}: the request's time was up before it came")
        key, priority = str(question.parameters.get("key", "")), priority_of(question.parameters)
        asking = Asking(budget_s=budget_s, version=version, key=key, priority=priority, step=step)
        if step is None:
            gathered = await self.gathering.answer(model, feeds, rows, asking)
        else:  # steps wait for their own sequence, and share runs at the stages only, where their state is
            gathered = Gathered(answer=await self.source.answer(model.name, feeds, asking), rows=rows)
        answer = gathered.answer
        if version is not None and answer.version not in (0, version):
            raise Refused(
                Fault.UNAVAILABLE, f"model {model.name!r}: version {version} failed, and {answer.version} took over"
            )
        return gathered


def _counted(counted: Counted, refused: Refused, began_s: float) -> Refused:
    """The same, counted. Not held by whoever raises it: with it, what the request brought would outlive it."""
    counted.failed(time.monotonic() - began_s, refused.fault.name)
    return refused


def rows_of(model: Model, feeds: dict[str, Array]) -> int:
    """How many requests this one is: its rows, where the model takes any number of them. Refused for too many."""
    first, most = model.inputs[0], model.rules.max_batch
    if most == 1:  # of a vector they are no rows, but a picture's bytes, say
        return len(feeds[first.name]) if len(first.shape) > 1 and first.shape[0] is None else 1
    rows = {name: len(array) for name, array in feeds.items()}
    if len(set(rows.values())) > 1 or not 1 <= rows[first.name] <= most:
        told = ", ".join(f"{name} {many}" for name, many in rows.items())
        raise invalid(f"model {model.name!r}: a request has 1 to {most} rows, the same of each input; it has {told}")
    return rows[first.name]


def _output(model: Model, wanted: Wanted, array: Array) -> Output:
    dtype = next(spec.dtype for spec in model.outputs if spec.name == wanted.name)
    if wanted.classes:
        if dtype == BFLOAT16:
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return Output(name=wanted.name, datatype=BYTES, array=_classes(wanted, array))
    datatype = DATATYPE_OF.get(dtype or array.dtype.name)  # a controller of before told no dtypes of outputs
    if datatype is None:
        raise Refused(Fault.UNSUPPORTED, f"output {wanted.name!r} is {dtype}, which the protocol has no datatype for")
    return Output(name=wanted.name, datatype=datatype, array=array)


def _classes(wanted: Wanted, array: Array) -> Array:
    """Of each row (but for a vector, which is one) the greatest values first, as "value:index"."""
    if array.dtype.kind not in "iuf":
        raise invalid(f"output {wanted.name!r} has no greatest values: it is {array.dtype.name}")
    rows = array.reshape(1 if array.ndim < 2 else len(array), prod(array.shape if array.ndim < 2 else array.shape[1:]))
    many = min(wanted.classes, rows.shape[1])
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :many]
    found = np.empty((len(rows), many), np.object_)
    for at, (row, places) in enumerate(zip(rows, order, strict=True)):
        found[at] = [f"{row[place]:f}:{place}".encode() for place in places]
    return found[0] if array.ndim < 2 else found
