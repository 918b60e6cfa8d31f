"""What was tried: one line of JSON a trial, kept for all models and nodes, for later tuning to learn from.

Appending a line is atomic, so several processes may share a book; a torn or foreign line is skipped.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.tuning.knobs import Setting

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting, timed: median seconds of the whole model, None if the engine refused. `mix` tells of the model."""

    model: str
    node: str
    backend: str
    threads: int
    setting: Setting
    seconds: float | None
    mix: Mapping[str, float]  # share of the model's operators by type


class TrialBook:
    """A file of trials."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, trial: Trial) -> None:
        """Append a trial; OSError if the disk refuses."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(asdict(trial), sort_keys=True) + "\n").encode()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def trials(self) -> tuple[Trial, ...]:
        """All that can be read, oldest first."""
        if not self._path.exists():
            return ()
        found, torn = [], 0
        for line in self._path.read_text(errors="replace").splitlines():
            try:
                found.append(_trial(json.loads(line)))
            except (ValueError, TypeError, KeyError):
                torn += 1
        if torn:
            _log.warning("%s: %d lines are no trials and are skipped", self._path, torn)
        return tuple(found)


def _trial(plain: Mapping[str, Any]) -> Trial:
    seconds = plain["seconds"]
    if seconds is not None and not (isinstance(seconds, float) and isfinite(seconds) and seconds > 0):
        raise ValueError(f"{seconds!r} is no number of seconds")
    setting = tuple((str(name), value) for name, value in plain["setting"])
    return Trial(**{**plain, "setting": setting})
