"""A job's ledger: a SQLite file of what it is, its states, its items, and how each of these ended.

An item ends once: whoever tells of it again changes nothing. What `end` was told is on disk when it returns, all of it
or none (WAL, synchronous), so a driver that was killed at any instant leaves a ledger that the next one goes on with.
One driver writes; others read at the same time, and note what they wish.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from orchestrator.errors import IllegalTransition
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.terms import JobTerms
from orchestrator.states import JOB, JOB_ENDS

FILE = "job.sqlite"
BUSY_S = 10.0
STOP = "stop"  # the fact by which somebody wishes the job to stop
OWN = "own deployment"  # empty until it is deployed, and once it is gone; not there: begun before it was noted
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS steps (
  number INTEGER PRIMARY KEY, at_s REAL NOT NULL, verb TEXT NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS ended (
  position INTEGER PRIMARY KEY REFERENCES items, at_s REAL NOT NULL, outputs BLOB, error TEXT);
CREATE INDEX IF NOT EXISTS ended_at ON ended (at_s);
CREATE INDEX IF NOT EXISTS ended_badly ON ended (position) WHERE error IS NOT NULL;
"""


class End(NamedTuple):
    """How the item at a position ended: with packed outputs, or with an error."""

    position: int
    outputs: bytes | None
    error: str | None


class Step(NamedTuple):
    """One transition of the job: when, by what, into which state, and why."""

    at_s: float
    verb: str
    state: str
    why: str


class LedgerFull(JobError):
    """The disk has no room for what is to be noted; nothing of it was."""


class Ledger:
    """A job's open ledger. Use it from one thread at a time; close it or use it in `with`. JobError if it is none."""

    def __init__(self, folder: Path, *, make: bool = False) -> None:
        self.folder = folder
        path = folder / FILE
        mode = "rwc" if make else "rw"
        with _told(path):
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                timeout=BUSY_S, isolation_level=None, uri=True, check_same_thread=False,
            )  # fmt: skip
            self._db.execute("PRAGMA synchronous = FULL")
            if make:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(_SCHEMA)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def begin(self, terms: JobTerms) -> None:
        """Note what a new job is; it is PENDING."""
        with self._whole():
            self._db.execute("INSERT INTO facts VALUES ('terms', ?)", (terms.to_json(),))
            self._db.execute(
                "INSERT INTO steps (at_s, verb, state, why) VALUES (?, 'submit', 'PENDING', '')", (time.time(),)
            )

    def terms(self) -> JobTerms:
        """What the job is."""
        found = self.fact("terms")
        if found is None:
            raise JobError(f"{self.folder}: no job was noted in it; remove the folder")
        return JobTerms.from_json(found)

    def fact(self, key: str) -> str | None:
        """What was noted under a key."""
        with _told(self.folder):
            row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, key: str, value: str) -> None:
        """Note something under a key, in place of what was there."""
        with self._whole():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))

    def steps(self) -> list[Step]:
        """The job's transitions, oldest first."""
        with _told(self.folder):
            return [Step(*row) for row in self._db.execute("SELECT at_s, verb, state, why FROM steps ORDER BY number")]

    def step(self, verb: str, why: str = "") -> None:
        """Go on by `verb`; IllegalTransition, with the whole story, where the table has no such step."""
        with self._whole():
            steps = self.steps()
            before = steps[-1].state
            state = JOB.get((before, verb))
            if state is None:
                story = tuple(f"{one.verb} at {one.at_s:.3f} s: {one.state}" for one in steps)
                raise IllegalTransition(f"job {self.folder.name}", before, verb, story)
            row = (time.time(), verb, state, why)
            self._db.execute("INSERT INTO steps (at_s, verb, state, why) VALUES (?, ?, ?, ?)", row)

    @property
    def state(self) -> str:
        """Where the job stands."""
        return self.steps()[-1].state

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in JOB_ENDS

    def list_items(self, ids: Iterable[str], mark: str) -> None:
        """Note every item there is, in order, once and for all; `mark` tells the dataset from a changed one."""
        with self._whole():
            self._db.executemany("INSERT INTO items VALUES (?, ?)", enumerate(ids))
            self._db.execute("INSERT INTO facts VALUES ('dataset', ?)", (mark,))

    def left(self) -> list[tuple[int, str]]:
        """Items that have not ended: position and id, in order."""
        query = "SELECT position, id FROM items WHERE position NOT IN (SELECT position FROM ended) ORDER BY position"
        with _told(self.folder):
            return self._db.execute(query).fetchall()

    def end(self, ends: Sequence[End]) -> int:
        """Note how items ended; how many of them had not ended before. LedgerFull; JobError."""
        now_s = time.time()
        rows = [(one.position, now_s, one.outputs, one.error) for one in ends]
        with self._whole():
            return self._db.executemany("INSERT OR IGNORE INTO ended VALUES (?, ?, ?, ?)", rows).rowcount

    def counts(self) -> tuple[int | None, int, int]:
        """Items in all (None: not listed yet), those that ended, and those of these that failed."""
        with _told(self.folder):
            is_listed = self.fact("dataset") is not None
            (total,) = self._db.execute("SELECT count(*) FROM items").fetchone()
            (done,) = self._db.execute("SELECT count(*) FROM ended").fetchone()
            (failed,) = self._db.execute("SELECT count(*) FROM ended WHERE error IS NOT NULL").fetchone()
        return (int(total) if is_listed else None), int(done), int(failed)

    def ended_since(self, at_s: float) -> int:
        """How many ended after that time."""
        with _told(self.folder):
            (count,) = self._db.execute("SELECT count(*) FROM ended WHERE at_s > ?", (at_s,)).fetchone()
        return int(count)

    def answers(self) -> Iterator[tuple[int, str, bytes]]:
        """Items that were answered, in order: position, id, packed outputs."""
        query = "SELECT position, id, outputs FROM ended JOIN items USING (position) WHERE error IS NULL"
        with _told(self.folder):
            yield from self._db.execute(f"{query} ORDER BY position")

    def failures(self, limit: int = -1) -> list[tuple[str, str]]:
        """Items that failed, in order: id and reason."""
        query = "SELECT id, error FROM ended JOIN items USING (position) WHERE error IS NOT NULL ORDER BY position"
        with _told(self.folder):
            return self._db.execute(f"{query} LIMIT ?", (limit,)).fetchall()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """All of it on disk, or nothing."""
        with _told(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise LedgerFull(f"{path}: the disk is full; make room") from None
        raise JobError(f"{path}: the job's ledger cannot be used: {error}") from None
