"""The journal that an earlier controller left: taken up, or put aside where it can't be read. It decides nothing."""

import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.journal import recover


def recovered(journal: Path, note: Callable[[str, str, int | None, str], None]) -> Control:
    """What an earlier controller left; a journal that can't be read is put aside, and that is noted."""
    if not journal.exists():
        return Control()
    try:
        return recover(journal)
    except JournalError as error:
        note("fault", "", None, f"{error}; it is kept as {put_aside(journal)}, and a new one begun")
        return Control()


def put_aside(journal: Path) -> str:
    """Keep a journal beside, under the time; its name there."""
    aside = journal.with_name(f"{time.strftime('%Y%m%dT%H%M%S')}-{journal.name}")
    for end in ("", "-wal", "-shm"):
        if (part := journal.with_name(journal.name + end)).exists():
            part.rename(aside.with_name(aside.name + end))
    return aside.name
