"""One driver a job: it holds a lock for as long as it lives, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "driver.lock"


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Meanwhile the lock is ours, and our process id in it; False if somebody else has it."""
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield True
    finally:
        os.close(descriptor)


def holder(folder: Path) -> int | None:
    """The process that has the lock, 0 if it has not said yet which it is; None if nobody has."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 32, 0)
        return int(said) if said.isdigit() else 0
    finally:
        os.close(descriptor)
    return None
