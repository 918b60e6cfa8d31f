"""The frames that a router sends into an epoch: a request's inputs, and the word that nobody waits any more."""

from collections.abc import Mapping
from typing import NamedTuple

from nodes.backend import Array
from nodes.codec import pack
from nodes.framing import Frame, Header, Kind
from orchestrator.actions import Cancel, Send
from orchestrator.padding import padded
from orchestrator.request import Part
from orchestrator.routes import EpochRoutes, Reach


class Sent(NamedTuple):
    """What goes along with the inputs: the router that gets the answer, whether hops tell their times, whose turn.

    `trace`: the id of the trace that the request belongs to, for logs. `part`: its place in a sequence.
    """

    origin: str
    traced: bool = False
    priority: int = 0
    trace: str = ""
    part: Part | None = None


def inputs_frame(routes: EpochRoutes, send: Send, feeds: Mapping[str, Array], sent: Sent) -> Frame:
    """The inputs of this attempt, encoded for the epoch's first stage.

    Another epoch than the one that they were taken in for may have other lengths, or the largest only.
    """
    header = Header(
        kind=Kind.TENSORS,
        deployment=routes.deployment,
        epoch=send.epoch,
        stage=routes.first[0],
        request=send.request,
        attempt=send.attempt,
        budget_s=send.budget_s,
        origin=sent.origin,
        timings=() if sent.traced else None,
        trace=sent.trace,
        way=send.way[1:],
        priority=sent.priority,
    )
    dtypes = {spec.name: spec.dtype for spec in routes.inputs}
    if (part := sent.part) is not None:
        header = header._replace(sequence=part.sequence, position=part.position, last=part.last, snapshot=part.snapshot)
    if routes.sequence is not None:
        dtypes |= {spec.name: spec.dtype for spec in routes.sequence.brought}
    return pack(header, padded(routes.inputs, routes.pads, feeds, routes.lengths), routes.codecs, dtypes)


def inputs_frames(
    routes: EpochRoutes, send: Send, feeds: Mapping[str, Array], sent: Sent
) -> tuple[tuple[Reach, Frame], ...]:
    """The message that each worker begins this attempt with: one, or one for each stage that reads inputs."""
    whole = inputs_frame(routes, send, feeds, sent)
    if not routes.entries:
        return ((routes.begin(send.way), whole),)
    held, found = {pair[0].name: pair for pair in zip(whole.header.tensors, whole.buffers, strict=True)}, []
    for stage, names in routes.entries:
        metas, buffers = zip(*(held[name] for name in names), strict=True)
        found.append((routes.at(stage), Frame(whole.header._replace(stage=stage, tensors=metas), buffers)))
    return tuple(found)


def cancel_frames(routes: EpochRoutes, cancel: Cancel) -> tuple[tuple[Reach, Frame], ...]:
    """The word to each worker that begins this attempt that nobody waits for it."""
    whole = cancel_frame(routes, cancel)
    if not routes.entries:
        return ((routes.begin(cancel.way), whole),)
    return tuple((routes.at(stage), Frame(whole.header._replace(stage=stage))) for stage, _ in routes.entries)


def cancel_frame(routes: EpochRoutes, cancel: Cancel) -> Frame:
    """Forget this attempt; each stage tells the next."""
    return Frame(
        Header(
            kind=Kind.CANCEL,
            deployment=routes.deployment,
            epoch=cancel.epoch,
            stage=routes.first[0],
            request=cancel.request,
            attempt=cancel.attempt,
            way=cancel.way[1:],
        )
    )
