"""The control core's journal: an append-only SQLite file of every event with the instructions it led to.

A record is on disk before anything is done about it (WAL, synchronous). A snapshot bounds the file: what
lies before it is removed. `recover` folds what was recorded and decides nothing again. Requests never
come here. One controller writes; others may read at the same time (recording.py).

When the disk is full, a reserve beside the file is let go of and what was to be written is written. Once that
is used up too, `append` raises JournalError, and nothing may be done that was not recorded (recorder.py).
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from nodes.code_version import code_version as this_version
from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.events import Event
from orchestrator.instructions import Instruction
from orchestrator.plain import to_plain
from orchestrator.recording import read_recording
from orchestrator.records import RECORDS, SNAPSHOT, Record, Snapshot, is_full, record_of, snapshot_of, told
from orchestrator.reserve import Reserve

BUSY_S = 2.0  # how long to wait for another writer before giving up
RESERVE_BYTES = 4 << 20  # some fifty decisions over models of a thousand operators
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, now_s REAL NOT NULL,
  event TEXT NOT NULL, instructions TEXT NOT NULL, code_version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (
  seq INTEGER PRIMARY KEY, now_s REAL NOT NULL, knowledge TEXT NOT NULL, code_version TEXT NOT NULL);
"""
T = TypeVar("T")


class Journal:
    """An open journal, made if it is not there. Use it from one thread; close it or use it in `with`.

    `code_version` stands beside every record; without it, this code's own. `reserve_bytes` are kept back for
    a full disk, in a file beside the journal.
    """

    def __init__(self, path: Path, *, code_version: str | None = None, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.path = path
        self._code_version = this_version() if code_version is None else code_version
        self.unbounded_bytes = 0  # written since the last snapshot by this process
        self._reserve = Reserve(path.with_name(path.name + "-reserve"), reserve_bytes)
        with told(path):
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with told(path):
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.executescript(_SCHEMA)
        except JournalError:
            self._db.close()
            raise
        self._reserve.fill()

    @property
    def is_short(self) -> bool:
        """Whether the disk was full: what is written now takes up the last room there is."""
        return not self._reserve.is_there

    def append(self, event: Event, instructions: tuple[Instruction, ...], now_s: float) -> int:
        """Write a record and return its number once it is on disk. JournalError leaves the journal as it was."""
        row = (now_s, _text(to_plain(event)), _text([to_plain(each) for each in instructions]), self._code_version)
        insert = "INSERT INTO records (now_s, event, instructions, code_version) VALUES (?, ?, ?, ?)"
        number = int(self._in_what_room_there_is(lambda: self._db.execute(insert, row).lastrowid) or 0)
        self.unbounded_bytes += len(row[1]) + len(row[2])
        return number

    def snapshot(self, control: Control, now_s: float) -> None:
        """Keep what the core knows, and remove the records that led to it; the reserve is kept back again, if it can.

        JournalError leaves the journal as it was.
        """
        row = (now_s, _text(control.snapshot()), self._code_version)
        self._in_what_room_there_is(lambda: self._replace_snapshot(row))
        self.unbounded_bytes = 0
        if self.is_short:
            self._shrink_log()
            self._reserve.fill()

    def read(self) -> Iterator[Record]:
        """The records since the last snapshot, oldest first."""
        with told(self.path):
            yield from map(record_of, self._db.execute(RECORDS))

    def last_snapshot(self) -> Snapshot | None:
        """The snapshot that the records go on from, if one was taken."""
        with told(self.path):
            row = self._db.execute(SNAPSHOT).fetchone()
            return None if row is None else snapshot_of(row)

    def close(self) -> None:
        """Close the file; a closed journal is not used again. The reserve stays for the next controller."""
        self._db.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _in_what_room_there_is(self, write: Callable[[], T]) -> T:
        """Write; if the disk is full, once more with the room of the reserve."""
        try:
            with told(self.path):
                return write()
        except JournalError as error:
            if not (is_full(error) and self._reserve.free()):
                raise
        self._shrink_log()
        with told(self.path):
            return write()

    def _shrink_log(self) -> None:
        """Give the log's room back, as far as readers and the disk allow: if they don't, what there is must do."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            return

    def _replace_snapshot(self, row: tuple[Any, ...]) -> None:
        with self._transaction():
            (seq,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
            self._db.execute("DELETE FROM snapshots")
            self._db.execute(
                "INSERT INTO snapshots (seq, now_s, knowledge, code_version) VALUES (?, ?, ?, ?)", (seq, *row)
            )
            self._db.execute("DELETE FROM records WHERE seq <= ?", (seq,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite ends some of them itself, on a full disk for one
                self._db.execute("ROLLBACK")
            raise


def recover(path: Path, control: Control | None = None) -> Control:
    """The core as the journal at `path` left it, with the parameters of `control`. JournalError if there is none."""
    recording = read_recording(path)
    control = control or Control()
    if recording.snapshot is not None:
        control = control.restored(recording.snapshot.knowledge)
    for record in recording.records:
        control.fold(record.event, record.instructions, record.now_s)
    return control


def _text(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
