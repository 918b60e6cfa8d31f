"""The control core's journal: an append-only SQLite file of every event with the instructions it led to.

A record is on disk before anything is done about it (WAL, synchronous). A snapshot bounds the file: what
lies before it is removed. `recover` folds what was recorded and decides nothing again. Requests never
come here. One controller writes; others may read at the same time.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.events import EVENTS, Event
from orchestrator.instructions import INSTRUCTIONS, Instruction
from orchestrator.plain import Plain, from_plain, to_plain

BUSY_S = 2.0  # how long to wait for another writer before giving up
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, now_s REAL NOT NULL,
  event TEXT NOT NULL, instructions TEXT NOT NULL, code_version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (
  seq INTEGER PRIMARY KEY, now_s REAL NOT NULL, knowledge TEXT NOT NULL, code_version TEXT NOT NULL);
"""


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


class Journal:
    """An open journal, made if it is not there. Use it from one thread; close it or use it in `with`."""

    def __init__(self, path: Path, *, code_version: str = "0") -> None:
        self._path = path
        self._code_version = code_version
        with self._told():
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with self._told():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.executescript(_SCHEMA)
        except JournalError:
            self._db.close()
            raise

    def append(self, event: Event, instructions: tuple[Instruction, ...], now_s: float) -> int:
        """Write a record and return its number once it is on disk. JournalError leaves the journal as it was."""
        row = (now_s, _text(to_plain(event)), _text([to_plain(each) for each in instructions]), self._code_version)
        with self._told():
            cursor = self._db.execute(
                "INSERT INTO records (now_s, event, instructions, code_version) VALUES (?, ?, ?, ?)", row
            )
        return int(cursor.lastrowid or 0)

    def snapshot(self, control: Control, now_s: float) -> None:
        """Keep what the core knows, and remove the records that led to it."""
        row = (now_s, _text(control.snapshot()), self._code_version)
        with self._told(), self._transaction():
            (seq,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
            self._db.execute("DELETE FROM snapshots")
            self._db.execute(
                "INSERT INTO snapshots (seq, now_s, knowledge, code_version) VALUES (?, ?, ?, ?)", (seq, *row)
            )
            self._db.execute("DELETE FROM records WHERE seq <= ?", (seq,))

    def read(self) -> Iterator[Record]:
        """The records since the last snapshot, oldest first."""
        with self._told():
            rows = self._db.execute("SELECT seq, now_s, event, instructions, code_version FROM records ORDER BY seq")
            for seq, now_s, event, instructions, code_version in rows:
                yield Record(
                    seq=seq,
                    now_s=now_s,
                    event=from_plain(json.loads(event), EVENTS),
                    instructions=tuple(from_plain(each, INSTRUCTIONS) for each in json.loads(instructions)),
                    code_version=code_version,
                )

    def last_snapshot(self) -> Snapshot | None:
        """The snapshot that the records go on from, if one was taken."""
        with self._told():
            row = self._db.execute("SELECT seq, now_s, knowledge, code_version FROM snapshots").fetchone()
        if row is None:
            return None
        return Snapshot(seq=row[0], now_s=row[1], knowledge=json.loads(row[2]), code_version=row[3])

    def close(self) -> None:
        """Close the file; a closed journal is not used again."""
        self._db.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as ours, in one line with the way out."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"journal {self._path}: {_way_out(error)}") from error


def recover(path: Path, control: Control | None = None) -> Control:
    """The core as the journal at `path` left it, with the parameters of `control`. JournalError if there is none."""
    if not path.exists():
        raise JournalError(f"journal {path}: there is no such file; deploy first or give the right path")
    control = control or Control()
    with Journal(path) as journal:
        snapshot = journal.last_snapshot()
        if snapshot is not None:
            control = control.restored(snapshot.knowledge)
        for record in journal.read():
            control.fold(record.event, record.instructions, record.now_s)
    return control


def _text(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _way_out(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", "") or "":
        case name if name.startswith("SQLITE_FULL"):
            return "the disk is full; free some space, nothing already written is lost"
        case name if name.startswith("SQLITE_BUSY"):
            return "another controller is writing it; stop that one or give another path"
        case name if name.startswith("SQLITE_NOTADB"):
            return "this file is not a journal; give another path"
        case name if name.startswith("SQLITE_CANTOPEN"):
            return "cannot be opened; make its folder and check who may write there"
        case _:
            return f"{error}; check the disk, or move the file away to start anew"
