"""What stands in a journal, as values: records and snapshots, read from rows of its two tables; and its errors' words.

Reading is tolerant of another version's journal where that is safe: unknown keys are ignored, missing ones take
their defaults. An event or instruction that is not known here is refused, with the version that wrote it.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import JournalError
from orchestrator.events import EVENTS, Event
from orchestrator.instructions import INSTRUCTIONS, Instruction
from orchestrator.plain import Plain, from_plain

RECORDS = "SELECT seq, now_s, event, instructions, code_version FROM records ORDER BY seq"
SNAPSHOT = "SELECT seq, now_s, knowledge, code_version FROM snapshots"
_WAYS_OUT = {
    "SQLITE_FULL": "the disk is full; free some space, nothing already written is lost",
    "SQLITE_BUSY": "another controller is writing it; stop that one or give another path",
    "SQLITE_NOTADB": "this file is not a journal; give another path",
    "SQLITE_CORRUPT": "it is torn: a part of it is missing or overwritten; take a whole copy, with its -wal",
    "SQLITE_READONLY": "may not be written here, which its -wal needs to be read; copy both to a folder of your own",
    "SQLITE_CANTOPEN": "cannot be opened; make its folder and check who may write there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One event, when it was handled and by which version, and what was instructed."""

    seq: int
    now_s: float
    event: Event
    instructions: tuple[Instruction, ...]
    code_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that the core knew after record `seq`."""

    seq: int
    now_s: float
    knowledge: Plain
    code_version: str


def record_of(row: Sequence[Any]) -> Record:
    """A row of RECORDS as a value. JournalError if it is damaged, or speaks of what this version does not know."""
    seq, now_s, event, instructions, code_version = row
    try:
        return Record(
            seq=seq,
            now_s=now_s,
            event=from_plain(json.loads(event), EVENTS),
            instructions=tuple(from_plain(each, INSTRUCTIONS) for each in json.loads(instructions)),
            code_version=code_version,
        )
    except JournalError as error:
        raise JournalError(f"record {seq}, written by {code_version}: {error}; read it with that version") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise JournalError(f"record {seq} is damaged ({error}); move the file away to start anew") from None


def snapshot_of(row: Sequence[Any]) -> Snapshot:
    """A row of SNAPSHOT as a value. JournalError if it is damaged."""
    try:
        return Snapshot(seq=row[0], now_s=row[1], knowledge=json.loads(row[2]), code_version=row[3])
    except (ValueError, TypeError) as error:
        raise JournalError(f"the snapshot is damaged ({error}); move the file away to start anew") from None


@contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, in one line with the way out; ours with the file's name."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"journal {path}: {_way_out(error)}") from error
    except JournalError as error:
        raise JournalError(f"journal {path}: {error}") from error.__cause__


def is_full(error: JournalError) -> bool:
    """Whether it was raised because the disk is full."""
    return _name(error.__cause__).startswith("SQLITE_FULL")


def _name(error: BaseException | None) -> str:
    return str(getattr(error, "sqlite_errorname", "") or "")


def _way_out(error: sqlite3.Error) -> str:
    if "no such table" in str(error):
        return "this file is not a journal; give another path"
    for name, way_out in _WAYS_OUT.items():
        if _name(error).startswith(name):
            return way_out
    return f"{error}; check the disk, or move the file away to start anew"
