"""What tuning found, on disk: for each kernel and target the fastest schedules, and how many were tried.

A kernel is known by its loops and shapes; its numbers don't count, so a layer tuned in one model is tuned in all. Any
number of processes may read and add at once. A damaged file is dropped with a line in the log: tuning finds it again.
"""

import fcntl
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.backends.tvm.vendor import version

_NUMBERS = re.compile(r"T\.float(16|32|64)\([^()]*\)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """The fastest schedule known of a kernel, as TVM's trace."""

    seconds: float
    trace: Any

    @property
    def digest(self) -> str:
        """Of the schedule, not of its time."""
        return sha256(json.dumps(self.trace).encode()).hexdigest()


class Records:
    """The records of one target; `root` is a folder of theirs alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def best(self, kernel: str) -> Record | None:
        """The fastest of a kernel, None where nothing was measured."""
        found = [Record(seconds, trace) for seconds, trace in self._lines(kernel) if trace is not None]
        return min(found, key=lambda record: record.seconds, default=None)

    def tried(self, kernel: str) -> int:
        """How many schedules of a kernel were tried, those that failed or were slower too."""
        return len(self._lines(kernel))

    def add(self, kernel: str, *, seconds: float, trace: Any = None) -> None:
        """One more schedule was tried; `trace` where it is the fastest. Appended whole, whoever else writes."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._path(kernel).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({"seconds": seconds, "trace": trace}) + "\n")

    def _lines(self, kernel: str) -> list[tuple[float, Any]]:
        try:
            lines = [json.loads(line) for line in self._path(kernel).read_text().splitlines()]
            return [(float(line["seconds"]), line["trace"]) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.drop(kernel, str(error))
            return []

    def drop(self, kernel: str, reason: str) -> None:
        """Forget a kernel whose records are of no use."""
        _log.warning("tuning records of kernel %s are dropped: %s", kernel[:12], reason)
        self._path(kernel).unlink(missing_ok=True)

    def _path(self, kernel: str) -> Path:
        return self.root / f"{kernel}.jsonl"


def records_of(kind: Mapping[str, object]) -> Records:
    """Of a target, for this version of TVM: below $XDG_CACHE_HOME/isthmus/tuned."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    target = sha256(json.dumps(dict(kind), sort_keys=True).encode()).hexdigest()[:16]
    return Records(Path(home) / "isthmus" / "tuned" / f"tvm-{version()}" / target)


def kernel_key(function: Any) -> str:
    """A kernel's name in the records: a digest of its loops, shapes and operations, not of its numbers."""
    return sha256(_NUMBERS.sub("number", function.script(show_meta=False)).encode()).hexdigest()
