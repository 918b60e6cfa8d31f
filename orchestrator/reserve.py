"""A file that only takes up room: let go of when the disk is full, so that a few more records can be written.

It decides nothing and never fails: where there is no room for it, it is not there.
"""

import os
from contextlib import suppress
from pathlib import Path


class Reserve:
    """`nbytes` kept back at `path`. What an earlier process kept there is taken over."""

    def __init__(self, path: Path, nbytes: int) -> None:
        self._path = path
        self._nbytes = nbytes

    @property
    def is_there(self) -> bool:
        """Whether the room is kept back now."""
        try:
            return self._path.stat().st_size >= self._nbytes
        except OSError:
            return False

    def fill(self) -> bool:
        """Keep the room back, if it is not yet and the disk has it; whether it is kept back now."""
        if self.is_there:
            return True
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(self._nbytes, 1))
        except OSError:  # no room, or nowhere to write: the journal itself will say which
            self.free()
        return self.is_there

    def free(self) -> bool:
        """Let go of the room; False if there was none."""
        was_there = self.is_there
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return was_there
