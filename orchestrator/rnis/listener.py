"""Where the service posts its notifications: a small HTTP server on a thread, at an address that nobody guesses.

It answers at once and leaves what is to be done to whoever listens; what is no notification is refused.
"""

import json
import secrets
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nodes.tls_server import Secured
from orchestrator.rnis.messages import Notification, RnisError, notification

MOST_BYTES = 64 << 10
LOOK_S = 0.1  # how soon it is noticed that it was closed
SILENCE_S = 5.0  # a caller that says nothing for so long is let go


class Listener:
    """Listens on `host` and `port` (0: a free one) until closed. `heard` is called from threads of its own."""

    def __init__(
        self,
        heard: Callable[[Notification], None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Under TLS with a `context`."""
        path = f"/{secrets.token_urlsafe(16)}"

        class Callback(_Callback):
            """Knows whom to tell."""

            def tell(self, told: Notification) -> None:
                heard(told)

        Callback.path_here = path
        self._server = _Server((host, port), Callback)
        self._server.context = context
        self._server.daemon_threads = True
        self.callback = f"{'http' if context is None else 'https'}://{host}:{self._server.server_port}{path}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_S,), name="rnis-callback", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(Secured, ThreadingHTTPServer):
    """Answers each connection in a thread."""


class _Callback(BaseHTTPRequestHandler):
    timeout = SILENCE_S
    path_here = ""

    def tell(self, told: Notification) -> None:
        """Pass a notification on."""
        raise NotImplementedError

    def do_POST(self) -> None:  # as http.server wants it named
        """204 for a notification; 404 elsewhere, 411 and 413 for a wrong length, 400 for what is none."""
        length = self.headers.get("Content-Length", "")
        if not secrets.compare_digest(self.path.encode(), self.path_here.encode()):
            self._answer(404)
        elif not length.isdecimal():
            self._answer(411)
        elif int(length) > MOST_BYTES:
            self._answer(413)
        else:
            self._take(self.rfile.read(int(length)))

    def _take(self, content: bytes) -> None:
        try:
            told = notification(json.loads(content))
        except (ValueError, RnisError):
            self._answer(400)
            return
        self.tell(told)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""
