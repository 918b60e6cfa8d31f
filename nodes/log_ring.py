"""The worker's last log lines, structured, kept in memory and written to stderr as JSON."""

import json
import sys
import time
from collections import deque
from typing import Any

KEPT = 2000


class LogRing:
    """Lines as maps: time_s (Unix), level, message, and whatever names what it is about."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def write(self, message: str, *, level: str = "info", **about: str | int | float) -> None:
        """Add a line."""
        line = {"time_s": time.time(), "level": level, "message": message, **about}
        self._lines.append(line)
        sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")

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
