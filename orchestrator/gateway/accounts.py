"""What is told of each request that a gateway was asked: a line in its log, and spans. Nobody is told unless they ask.

A request's account is opened when it comes, and closed however it ends. Spans are made by spans.py, lines by the
logger ACCESS, at INFO: whoever sets up logging decides who gets to see them.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.answers import Answer
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.trace_ids import TRACE, Parent, parent_of

ACCESS = logging.getLogger("isthmus.gateway.access")
MOST = 200  # characters of a name or id that are told: they are the client's
CAME_WITH: ContextVar[str | None] = ContextVar("isthmus_traceparent", default=None)  # the request's own `traceparent`


@dataclass(slots=True)
class Account:
    """One request: what it asked, and what became of it. `answered_s`: when the stages' answer was there."""

    model: str
    parent: Parent | None
    began_s: float = field(default_factory=time.monotonic)
    began_at_s: float = field(default_factory=time.time)
    id: str = ""
    answer: Answer | None = None
    answered_s: float = 0.0
    status: str = "OK"
    message: str = ""
    ended_s: float = 0.0

    def answered(self, answer: Answer) -> None:
        """The stages have answered."""
        self.answer, self.answered_s = answer, time.monotonic()

    def failed(self, error: BaseException) -> None:
        """It ends without an answer."""
        if isinstance(error, Refused):
            self.status, self.message = error.fault.name, str(error)
        elif isinstance(error, asyncio.CancelledError):
            self.status, self.message = Fault.CANCELLED.name, "the client went away"
        else:
            self.status, self.message = Fault.INTERNAL.name, type(error).__name__

    @property
    def took_s(self) -> float:
        """From its coming to its end."""
        return self.ended_s - self.began_s

    def told(self) -> dict[str, str | int | float]:
        """What a log line says of it; what is not known is left out."""
        told: dict[str, str | int | float | None] = {
            "deployment": self.model,
            "status": self.status,
            "ms": round(self.took_s * 1e3, 3),
            "id": self.id[:MOST] or None,
            "error": self.message or None,
        }
        if (answer := self.answer) is not None:
            told |= {"request": answer.request, "version": answer.version, "epoch": answer.epoch}
            told["attempts"] = answer.attempt if answer.attempt > 1 else None
        return {name: value for name, value in told.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.model}: {self.status} in {self.took_s * 1e3:.3g} ms"


class Span(Protocol):
    """A request's span while the request is under way."""

    trace: str

    def end(self, account: Account) -> None:
        """It has ended."""
        ...


class Spans(Protocol):
    """Who records spans."""

    def begin(self, account: Account) -> Span:
        """A request has come."""
        ...

    def close(self) -> None:
        """Tell what has not been told yet; nothing comes any more."""
        ...


class Accounts:
    """Opens an account for each request, if anybody wants to know: `spans`, or whoever reads the log."""

    def __init__(self, spans: Spans | None = None) -> None:
        self._spans = spans

    @property
    def are_kept(self) -> bool:
        """Whether the request that comes now is to have one."""
        return self._spans is not None or ACCESS.isEnabledFor(logging.INFO) or CAME_WITH.get() is not None

    @contextmanager
    def open(self, model: str) -> Iterator[Account]:
        """The account of a request for this model; it is closed with the block, and told."""
        account = Account(model[:MOST], parent_of(CAME_WITH.get()))
        span = None if self._spans is None else self._spans.begin(account)
        trace = span.trace if span is not None else account.parent.trace if account.parent is not None else ""
        before = TRACE.set(trace)
        try:
            yield account
        except BaseException as error:
            account.failed(error)
            raise
        finally:
            TRACE.reset(before)
            account.ended_s = time.monotonic()
            if span is not None:
                span.end(account)
            ACCESS.info("%s", account, extra={"about": account.told() | ({"trace": trace} if trace else {})})

    def close(self) -> None:
        """No request comes any more."""
        if self._spans is not None:
            self._spans.close()


def accounts_of(otlp: str | None) -> Accounts:
    """What is told of requests; with spans if there is a collector for them."""
    if otlp is None:
        return Accounts()  # OpenTelemetry is loaded by whoever asks for it only
    from orchestrator.gateway.spans import OtlpSpans

    return Accounts(OtlpSpans(otlp))
