"""What became of requests, the newest of them: when each came, how long it took, where, and how it ended.

Requests never enter the journal; this is where to look for one, and what the simulator's twin is driven by. It is
bounded: of more than MOST the oldest are forgotten, and counted.
"""

import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nodes.framing import HopTiming
from orchestrator.errors import JournalError

MOST = 100_000  # some 30 MB
JOURNAL, REQUESTS = "journal.sqlite", "requests.jsonl"  # what the folder of a recorded run holds


class Ended(NamedTuple):
    """One request that has ended. `arrived_s`: since 1970; `failed` is empty for an answer; hops only if traced."""

    deployment: str
    arrived_s: float
    latency_s: float
    epoch: int
    attempts: int
    failed: str
    sent_bytes: int
    hops: tuple[HopTiming, ...] = ()


class RequestLog:
    """The newest requests that ended at one router, in the order in which they ended."""

    def __init__(self, most: int = MOST) -> None:
        self._ended: deque[Ended] = deque(maxlen=most)
        self.forgotten = 0

    def note(self, ended: Ended) -> None:
        """One more."""
        self.forgotten += len(self._ended) == self._ended.maxlen
        self._ended.append(ended)

    def __iter__(self) -> Iterator[Ended]:
        """Oldest first; what ends meanwhile may be left out."""
        return iter(tuple(self._ended))

    def __len__(self) -> int:
        return len(self._ended)

    def write(self, path: Path, *, since_s: float = 0.0) -> int:
        """Keep those that arrived since then (seconds since 1970), a JSON line each; how many.

        JournalError if the disk refuses; the file is whole or not there.
        """
        fresh, count = path.with_name(f"{path.name}.new"), 0
        try:
            with fresh.open("w", encoding="utf-8") as file:
                for ended in (one for one in self if one.arrived_s >= since_s):
                    plain = ended._asdict() | {"hops": [hop._asdict() for hop in ended.hops]}
                    file.write(json.dumps(plain) + "\n")
                    count += 1
            os.replace(fresh, path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise JournalError(f"{path}: {error.strerror}; the requests were not written") from None
        return count


def read_request_log(path: Path) -> tuple[Ended, ...]:
    """What `RequestLog.write` wrote. JournalError with the line that is no request."""
    found = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    plain = json.loads(line)
                    plain["hops"] = tuple(HopTiming(**hop) for hop in plain["hops"])
                    found.append(Ended(**plain))
                except (ValueError, TypeError, KeyError) as error:
                    raise JournalError(f"{path}, line {number}: no request: {error}") from None
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}; give a request log") from None
    return tuple(found)
