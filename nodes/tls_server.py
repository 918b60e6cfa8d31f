"""What Python's own HTTP servers need for TLS: the handshake is held in the thread that answers, never before it."""

import socket
import ssl
import sys
from socketserver import TCPServer
from typing import Any


class Secured(TCPServer):
    """To be inherited before a threading server; plain while `context` is None."""

    context: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection; its handshake comes with its first read."""
        accepted, peer = super().get_request()
        if self.context is None:
            return accepted, peer
        return self.context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever fails at TLS, or goes away, is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
