"""What a router posts for an attempt: its inputs to every worker that begins it, or the word that it is not wanted."""

from collections.abc import Mapping

from nodes.backend import Array
from nodes.errors import StreamClosed
from nodes.stream import DialledConnection
from orchestrator.actions import Cancel, Send
from orchestrator.router_frames import Sent, cancel_frames, inputs_frames
from orchestrator.routes import EpochRoutes

Connections = Mapping[str, DialledConnection]  # by address


class Unsent(StreamClosed):
    """A worker that an attempt begins with was not reached; `node` is its node."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(why)
        self.node = node


def post_inputs(
    connections: Connections, routes: EpochRoutes, send: Send, feeds: Mapping[str, Array], sent: Sent
) -> None:
    """Unsent where a worker has no stream; those that got their share by then are told that it is not wanted."""
    for reach, frame in inputs_frames(routes, send, feeds, sent):
        connection = connections.get(reach.address)
        try:
            if connection is None:
                raise StreamClosed(f"no stream to {reach.node}")
            connection.post(frame)
        except StreamClosed as closed:
            if routes.entries:
                attempt = Cancel(request=send.request, attempt=send.attempt, epoch=send.epoch, way=send.way)
                post_cancel(connections, routes, attempt)
            raise Unsent(reach.node, str(closed)) from None


def post_cancel(connections: Connections, routes: EpochRoutes, cancel: Cancel) -> None:
    """Take the attempt back where none of it has left, and tell the other workers that begin it."""
    for reach, frame in cancel_frames(routes, cancel):
        connection = connections.get(reach.address)
        if connection is None or connection.closed or connection.withdraw(cancel.request, cancel.attempt):
            continue
        connection.post(frame)


def is_open(connections: Connections, address: str) -> bool:
    """Whether there is a stream to the worker there."""
    connection = connections.get(address)
    return connection is not None and not connection.closed
