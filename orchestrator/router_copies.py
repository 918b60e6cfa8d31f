"""Copies of requests that a router sends to a version on trial, whose answers nobody gets."""

from collections.abc import Mapping

from nodes.backend import Array
from nodes.codec import unpack
from nodes.errors import StreamClosed
from nodes.framing import Frame, Kind
from nodes.stream import DialledConnection
from orchestrator.routed import Routed
from orchestrator.router_frames import Sent
from orchestrator.router_posts import post_inputs


def send_copy(
    held: Routed,
    connections: Mapping[str, DialledConnection],
    origin: str,
    request: str,
    key: str,
    feeds: Mapping[str, Array],
    now_s: float,
) -> None:
    """Send the copy of a request, if the version on trial is to have one, or to be compared with one."""
    outputs = {epoch: routes.outputs for epoch, routes in held.epochs.items()}
    send = None if held.trial is None else held.trial.copy(request, key, held.current, outputs, now_s)
    if send is None or held.trial is None:
        return
    routes = held.epochs[send.epoch]
    try:
        post_inputs(connections, routes, send, feeds, Sent(origin=origin))
    except StreamClosed as closed:
        held.trial.failed(send.request, type(closed).__name__)


def note_copy(held: Routed, frame: Frame, now_s: float) -> None:
    """What became of a copy."""
    if held.trial is None:
        return
    if frame.header.kind is Kind.ERROR and frame.header.fault is not None:
        held.trial.failed(frame.header.request, frame.header.fault.kind)
    elif frame.header.kind is Kind.TENSORS:
        held.trial.came(frame.header.request, unpack(frame), now_s)
