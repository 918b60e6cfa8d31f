"""Waits for what can be observed, never for time to pass: looks again until it holds or the deadline is over."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
LOOK_S = 0.02
ENDED = (FileNotFoundError, ProcessLookupError)  # a process whose file in /proc is read may end before, or meanwhile


class Stat(NamedTuple):
    """What /proc tells of a process: its state (`Z`: dead, and nobody has asked how), and its parent."""

    state: str
    parent: int


def eventually(
    look: Callable[[], T], *, within_s: float = 20.0, every_s: float = LOOK_S, what: str = "what was waited for"
) -> T:
    """The first truthy thing that `look` returns; AssertionError when the deadline passes without one."""
    deadline_s = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s:g} s; last seen {seen!r}"
        time.sleep(every_s)
    return seen


async def eventually_here(look: Callable[[], T], *, within_s: float = 10.0, what: str = "what was waited for") -> T:
    """As `eventually`, while the event loop goes on."""
    deadline_s = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s:g} s; last seen {seen!r}"
        await asyncio.sleep(LOOK_S)
    return seen


def processes_naming(text: str) -> dict[int, str]:
    """Command lines, by process id, of the live processes that name `text` in theirs, or in their environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except (*ENDED, PermissionError):
                continue
            if text.encode() in line + environ:
                found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
    return found


def stat_of(pid: int) -> Stat | None:
    """How a process is; None if there is none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except ENDED:
        return None
    state, parent, *_ = told.rpartition(")")[2].split()  # its name, in brackets, may hold anything
    return Stat(state, int(parent))
