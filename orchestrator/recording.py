"""A journal read as it stands, by whoever wants to know what happened. It writes nothing, not even beside the file.

The journal may be a live one: its controller goes on writing meanwhile, and what is read is what was on disk at
one moment. Nothing is decided or folded here.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import JournalError
from orchestrator.records import RECORDS, SNAPSHOT, Record, Snapshot, record_of, snapshot_of, told

BUSY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What the core knew at the last snapshot, if one was taken, and every record since, oldest first."""

    path: Path
    snapshot: Snapshot | None
    records: tuple[Record, ...]


def read_recording(path: Path) -> Recording:
    """All that the journal at `path` holds. JournalError, in one line, if it is missing, torn or none at all."""
    if not path.is_file():
        raise JournalError(f"journal {path}: there is no such file; deploy first or give the right path")
    with told(path), closing(_opened(path)) as db:
        db.execute("BEGIN")  # one moment for both reads
        row = db.execute(SNAPSHOT).fetchone()
        rows = db.execute(RECORDS).fetchall()
        snapshot = None if row is None else snapshot_of(row)
        recording = Recording(path=path, snapshot=snapshot, records=tuple(record_of(row) for row in rows))
        _check_complete(recording)
    return recording


def copy_journal(path: Path, copy: Path) -> None:
    """A whole copy of a journal that may be in use; what was at `copy` is replaced. JournalError where it can't be."""
    if not path.is_file():
        raise JournalError(f"journal {path}: there is no such file on this machine; copy it where its controller runs")
    copy.unlink(missing_ok=True)
    here = f"{path.resolve().as_uri()}?mode=rw"  # a reader of one in use needs the right to write beside it
    with told(path), closing(sqlite3.connect(here, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _opened(path: Path) -> sqlite3.Connection:
    """Read-only. Where no log lies beside the file nobody writes it; opened as a live one, SQLite would leave files."""
    log = path.with_name(path.name + "-wal")
    how = "mode=ro" if log.exists() else "immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=BUSY_S, isolation_level=None)


def _check_complete(recording: Recording) -> None:
    expected = 1 if recording.snapshot is None else recording.snapshot.seq + 1
    for record in recording.records:
        if record.seq != expected:
            raise JournalError(
                f"it is torn: record {expected} is missing before record {record.seq}; take a whole copy, "
                "with its -wal if any"
            )
        expected += 1
