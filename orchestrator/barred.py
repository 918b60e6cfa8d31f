"""Workers that let no stream in, for a reason that waiting does not mend: a wrong token, certificates that don't fit.

A router goes on trying, since both may be mended; meanwhile whoever waits in vain is told why.
"""

from dataclasses import replace
from typing import Any

from nodes.errors import NotAuthorised, Unsecured
from nodes.stream import DialledConnection, open_connection
from orchestrator.actions import FailRequest

LEFT_WAITING = ("timeout", "worker")  # kinds of failures that may come of it


class Barred:
    """Opens a router's streams, and remembers why some could not be."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}  # by address

    async def open(self, address: str, **settings: Any) -> DialledConnection:
        """As `open_connection` does, and with its errors."""
        try:
            opened = await open_connection(address, **settings)
        except (Unsecured, NotAuthorised) as error:
            self._why[address] = str(error)
            raise
        self._why.pop(address, None)
        return opened

    def told(self, failed: FailRequest) -> FailRequest:
        """A failure, with why one of them was out of reach if that may be its cause."""
        if not self._why or failed.kind not in LEFT_WAITING:
            return failed
        return replace(failed, error=f"{failed.error}; {next(iter(self._why.values()))}")
