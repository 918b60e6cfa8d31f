"""Which trace a request belongs to, as W3C Trace Context tells it (`traceparent`). It records nothing."""

import re
from contextvars import ContextVar
from typing import NamedTuple

TRACE: ContextVar[str] = ContextVar("isthmus_trace", default="")  # of whatever asks now: 32 hexadecimal digits, or ""
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NONE = re.compile(r"0+")


class Parent(NamedTuple):
    """The span of the caller's that a request belongs to; `is_sampled`: whether the caller records it."""

    trace: str
    span: str
    is_sampled: bool


def parent_of(traceparent: str | None) -> Parent | None:
    """What a `traceparent` says; None without one, or where it is none: a broken one is ignored, as W3C wants it."""
    found = _PARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or _NONE.fullmatch(trace) or _NONE.fullmatch(span):
        return None
    return Parent(trace, span, bool(int(flags, 16) & 1))
