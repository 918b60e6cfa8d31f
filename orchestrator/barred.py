"""Workers that let no stream in, for a reason that waiting does not mend: a wrong token, certificates that don't fit.

A router goes on trying, since both may be mended; meanwhile whoever waits in vain is told why.
"""

import time
from dataclasses import replace
from typing import Any

from nodes.errors import NotAuthorised, Unsecured
from nodes.stream import DialledConnection, open_connection
from orchestrator.actions import FailRequest

LATELY_S = 60.0  # a router that still needs the worker tries more often
LEFT_WAITING = ("timeout", "worker")  # kinds of failures that may come of it


class Barred:
    """Opens a router's streams, and remembers why some could not be."""

    def __init__(self) -> None:
        self._why: dict[str, tuple[str, float]] = {}  # by address, and when it was so last

    async def open(self, address: str, **settings: Any) -> DialledConnection:
        """As `open_connection` does, and with its errors."""
        try:
            opened = await open_connection(address, **settings)
        except (Unsecured, NotAuthorised) as error:
            self._why[address] = str(error), time.monotonic()
            raise
        self._why.pop(address, None)
        return opened

    def told(self, failed: FailRequest) -> FailRequest:
        """A failure, with why one of them was out of reach if that may be its cause."""
        if not self._why or failed.kind not in LEFT_WAITING:
            return failed
        now_s = time.monotonic()
        lately = [why for why, at_s in self._why.values() if now_s - at_s < LATELY_S]
        return replace(failed, error=f"{failed.error}; {lately[0]}") if lately else failed
