"""The worker's last log lines, structured, kept in memory and written to stderr as JSON (json_log.py)."""

import sys
import time
from collections import deque
from typing import Any

from nodes.json_log import line as json_line

KEPT = 2000
LOGGER = "isthmus.worker"


class LogRing:
    """Lines as maps: time_s (Unix), level, message, and whatever names what it is about."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def write(self, message: str, *, level: str = "info", **about: str | int | float) -> None:
        """Add a line."""
        now_s = time.time()
        line = {"time_s": now_s, "level": level, "message": message, **about}
        self._lines.append(line)
        sys.stderr.write(json_line(now_s, level, LOGGER, message, about) + "\n")

    def read(
        self, *, stage: str | None = None, deployment: str | None = None, limit: int = 200
    ) -> list[dict[str, Any]]:
        """The last `limit` lines, of one stage or deployment if named."""
        chosen = [
            line
            for line in self._lines
            if (stage is None or line.get("stage") == stage)
            and (deployment is None or line.get("deployment") == deployment)
        ]
        return chosen[-limit:]
