"""A request as its caller sees it at the router: what was given, what has come so far, and how it ended."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.framing import HopTiming
from orchestrator.actions import Deliver, FailRequest
from orchestrator.errors import RequestFailed, RequestTimeout, StateLost, Unavailable
from orchestrator.request import Part
from orchestrator.request_log import Ended, RequestLog
from orchestrator.trace_ids import TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Outputs by name, with what tracing saw: seconds in all, the epoch, and each stage's own timings.

    `version` is that of the deployment which answered, as `isthmus rollout history` counts them; 0 where it is unknown.
    `request` is the id under which routers and workers knew it.
    `way`: the node of each stage, where stages have replicas.
    """

    outputs: dict[str, Array]
    latency_s: float
    epoch: int
    attempt: int
    hops: tuple[HopTiming, ...] = ()
    version: int = 0
    request: str = ""
    way: tuple[str, ...] = ()

    def of_rows(self, begin: int, end: int, rows: int) -> "Answer":
        """The part of these rows of an answer to so many. RequestFailed for an output that has not as many."""
        for name, array in self.outputs.items():
            if array.ndim == 0 or len(array) != rows:
                raise RequestFailed(
                    f"output {name!r} of shape {list(array.shape)} doesn't grow with the batch of {rows}"
                )
        return replace(self, outputs={name: array[begin:end] for name, array in self.outputs.items()})


@dataclass(slots=True)
class Waiting:
    """A request in hand: its inputs are kept until it ends, its outputs by attempt; its end is noted in the `log`.

    `part`: its place in a sequence.
    `trace` is the id of the trace that it belongs to, if whoever asks has said so (trace_ids.py).
    """

    feeds: Mapping[str, Array]
    future: "asyncio.Future[Answer]"
    started_s: float
    traced: bool
    deployment: str = ""
    priority: int = 0
    part: Part | None = None
    way: tuple[str, ...] = ()  # of the attempt under way
    log: RequestLog = field(default_factory=RequestLog)
    outputs: dict[int, dict[str, Array]] = field(default_factory=dict)
    hops: dict[int, tuple[HopTiming, ...]] = field(default_factory=dict)
    trace: str = field(default_factory=TRACE.get)

    def deliver(self, deliver: Deliver, version: int) -> Answer:
        """Give the caller this attempt's outputs, from this version of the deployment, unless it has gone."""
        answer = Answer(
            outputs=self.outputs[deliver.attempt],
            latency_s=time.monotonic() - self.started_s,
            epoch=deliver.epoch,
            attempt=deliver.attempt,
            hops=self.hops.get(deliver.attempt, ()),
            version=version,
            way=self.way,
            request=deliver.request,
        )
        self._note(answer.latency_s, answer.epoch, answer.attempt, "", answer.hops)
        if not self.future.done():
            self.future.set_result(answer)
        return answer

    def fail(self, failed: FailRequest) -> None:
        """Raise at the caller what says best whose fault it was, unless it has gone."""
        self._note(time.monotonic() - self.started_s, 0, 0, failed.kind, ())
        if not self.future.done():
            self.future.set_exception(failure_of(failed.kind, failed.error, failed.alone))

    def _note(self, took_s: float, epoch: int, attempt: int, failed: str, hops: tuple[HopTiming, ...]) -> None:
        nbytes = sum(array.nbytes for array in self.feeds.values())
        self.log.note(Ended(self.deployment, time.time() - took_s, took_s, epoch, attempt, failed, nbytes, hops))


def weight(answer: Answer) -> int:
    """Bytes of an answer's tensors."""
    return sum(array.nbytes for array in answer.outputs.values())


def failure_of(kind: str, error: str, alone: int = 0) -> Exception:
    """What a caller is raised for this kind of FailRequest."""
    if kind == "caller":
        return BadInput(error)
    if kind in ("input", "quarantined"):
        return RequestFailed(error, caller_fault=True)
    if kind == "sequence":
        return StateLost(error, alone=alone)
    return {"timeout": RequestTimeout, "closed": Unavailable, "overloaded": Unavailable}.get(kind, RequestFailed)(error)
