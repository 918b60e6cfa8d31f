"""The HTTP server on which Prometheus reads a registry."""

import socket
import ssl
from socketserver import TCPServer
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from nodes.errors import NodesError
from nodes.tls_server import Secured

SILENCE_S = 30.0  # a caller that says nothing for so long is let go


class _Server(Secured, ThreadingWSGIServer):
    """Does not ask DNS for its own name, as Python's does: where none answers, that takes five seconds of a start."""

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = SILENCE_S

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""


class Endpoint:
    """Serves one registry under /metrics, from threads of its own, until it is closed."""

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, context: ssl.SSLContext | None = None
    ) -> None:
        """Listen, under TLS with a `context`; port 0 takes a free one.

        NodesError if the port is in use or the address is not this machine's.
        """
        kind = _ServerV6 if ":" in host else _Server
        try:
            self._server = make_server(host.strip("[]"), port, make_wsgi_app(registry), kind, _Quiet)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise NodesError(f"metrics can't listen on {host}:{port}: {why}; choose another") from None
        self._server.context = context
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
