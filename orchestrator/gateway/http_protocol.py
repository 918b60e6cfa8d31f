"""HTTP connections that hold up nobody: heads come in time, what is not a body is bounded, and answers are read.

uvicorn waits for a head as long as its client likes, takes in as much of it, goes on reading a body that was answered
already, and keeps an answer until its client reads it. Of a body that is wanted, rest.py sees that it comes.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 30.0
HEAD_BYTES = 64 << 10  # that come without being part of a body: a head, what follows a body, or stands between
LINGER_S = 1.0  # for a client that still sends to read why it need not
STALL_S = 30.0  # in which some of an answer must be read
TOO_MANY = b"""HTTP/1.1 503 Service Unavailable\r
Retry-After: 1\r
Connection: close\r
Content-Type: application/json\r
Content-Length: 59\r
\r
{"error":"too many connections are open from your address"}"""


class Patient(HttpToolsProtocol):
    """One connection. `enter` and `leave` count those of each address."""

    enter: ClassVar[Callable[[str], bool]]
    leave: ClassVar[Callable[[str], None]]
    _address: str | None = None  # while it is counted
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _loose_bytes = 0
    _is_done = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited from now on, unless there are too many connections from there."""
        address = str((transport.get_extra_info("peername") or ("",))[0])
        if not type(self).enter(address):
            self._is_done = True
            transport.write(TOO_MANY)
            transport.close()
            return
        self._address = address
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """More bytes: of a head, a body or neither."""
        if self._is_done:
            return
        self._loose_bytes += len(data)
        super().data_received(data)
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._late is None:  # what came began no head, and ended the wait for one
            self._await_head()
        if self._loose_bytes > HEAD_BYTES:
            self._let_go()

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._loose_bytes = 0
        self._forget_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._loose_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The answer was written, if perhaps not yet sent; a body that it did not wait for is not read any more."""
        if self.cycle is not None and self.cycle.more_body:
            self._is_done = True
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            super().on_response_complete()
        self._watch_writing(self.transport.get_write_buffer_size())

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        if self._address is None:
            return
        type(self).leave(self._address)
        self._forget_head()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._forget_head()
        self._late = self.loop.call_later(HEAD_S, self._let_go)

    def _forget_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _watch_writing(self, before: int) -> None:
        """End the connection if nothing of what is to be sent has left by the next look."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._stalled = self.loop.call_later(STALL_S, self._look, before) if before else None

    def _look(self, before: int) -> None:
        self._stalled = None
        left = self.transport.get_write_buffer_size()
        if left and left >= before:
            self.transport.abort()
        else:
            self._watch_writing(left)

    def _let_go(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
