"""What was measured, kept: one JSON file a cell, its answers beside it, so that an interrupted comparison goes on.

A file's name is the digest of everything that its figures depend on: model, samples, cell, the engine's version, the
machine. It appears whole or not at all; one that cannot be read is measured again.
"""

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from nodes.backend import Array
from nodes.selecting.cells import FINAL, OVER_TIME, Cell, Measured
from nodes.selecting.exchange import load_tensors
from orchestrator.errors import JournalError
from orchestrator.plain import read_as, to_plain

FORM = 1  # of these files; another number, and all is measured anew
PATIENCE = 1.5  # how many times longer a cell that took too long must be given to be asked again


class Ledger:
    """The folder of one model with one set of samples, on one machine."""

    def __init__(self, folder: Path, *, model: str, data: str, machine: str, fresh: bool = False) -> None:
        self._folder = folder
        self._about = {"form": FORM, "model": model, "data": data, "machine": machine}
        self._fresh = fresh  # what was there before is not read
        self._written: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, cell: Cell, version: str, *, limit_s: float) -> Measured | None:
        """What is known of the cell; None if nothing, if damaged, or if it was cut short and is now given longer."""
        found = self._read(self._key(cell, version))
        if found is None or (found.state not in FINAL and found.state != OVER_TIME):
            return None
        return None if found.state == OVER_TIME and limit_s > PATIENCE * found.limit_s else found

    def keep(self, cell: Cell, version: str, found: Measured) -> None:
        """Write what was found, whole or not at all."""
        self._write(self._key(cell, version), json.dumps(to_plain(found)))

    def answers_path(self, cell: Cell, version: str) -> Path:
        """Where the cell's answers are, or are to be written."""
        return self._folder / f"{self._key(cell, version)}.npz"

    def answers(self, cell: Cell, version: str) -> list[dict[str, Array]] | None:
        """The cell's answers to the samples, None if there are none that can be read."""
        try:
            return load_tensors(self.answers_path(cell, version))
        except (OSError, ValueError, KeyError):
            return None

    def again_s(self, cell: Cell, version: str) -> tuple[float, ...]:
        """Medians of the reference when it was measured again."""
        try:
            return tuple(float(one) for one in json.loads(self._again(cell, version).read_text()))
        except (OSError, ValueError, TypeError):
            return ()

    def keep_again(self, cell: Cell, version: str, seconds: Sequence[float]) -> None:
        """Write the reference's medians."""
        self._write(self._again(cell, version).stem, json.dumps(list(seconds)))

    def _again(self, cell: Cell, version: str) -> Path:
        return self._folder / f"{self._key(cell, version)}-again.json"

    def _key(self, cell: Cell, version: str) -> str:
        named = json.dumps([self._about, to_plain(cell), version], sort_keys=True)
        return sha256(named.encode()).hexdigest()[:32]

    def _read(self, key: str) -> Measured | None:
        if self._fresh and key not in self._written:
            return None
        try:
            found: Measured = read_as(Measured, json.loads((self._folder / f"{key}.json").read_text()))
        except (OSError, ValueError, TypeError, AttributeError, JournalError):
            return None
        return found

    def _write(self, key: str, text: str) -> None:
        path = self._folder / f"{key}.json"
        partial = path.with_name(f".{key}.{os.getpid()}")
        try:
            partial.write_text(text)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._written.add(key)
