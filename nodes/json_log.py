"""Structured log lines: one JSON object each, for gateways and workers alike. ISTHMUS_LOG=json asks for them.

A line holds time, level, logger and message, and what it is about where that is known: request, deployment, epoch,
stage, trace. Whoever logs gives that as `extra={"about": {...}}`.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nodes.errors import NodesError

VARIABLE, JSON = "ISTHMUS_LOG", "json"
OWN = "isthmus"  # the logger above all of ours that tell of requests


def line(time_s: float, level: str, logger: str, message: str, about: Mapping[str, Any]) -> str:
    """One line, without its end; a value that JSON has no form for is told as text."""
    at = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"time": at, "level": level, "logger": logger, "message": message}
    return json.dumps(told | dict(about) | told, ensure_ascii=False, default=str)


class JsonLines(logging.Formatter):
    """Python's own log records as such lines; of an error that is logged, its traceback under `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        about: dict[str, Any] = dict(getattr(record, "about", ()))
        if record.exc_info:
            about["error"] = self.formatException(record.exc_info)
        return line(record.created, record.levelname.lower(), record.name, record.getMessage(), about)


def is_asked_for() -> bool:
    """Whether the environment asks for structured lines. NodesError if it asks for anything else."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", JSON):
        raise NodesError(f"{VARIABLE}={asked}: there is only {JSON}; leave it unset for plain lines")
    return bool(asked)


def set_up() -> bool:
    """Write what this process logs to stderr as JSON, if the environment asks for it; whether it does.

    Ours are written from INFO on, others' from WARNING on, as Python would. NodesError as from `is_asked_for`.
    """
    if not is_asked_for():
        return False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger(OWN).setLevel(logging.INFO)
    logging.captureWarnings(True)
    return True
