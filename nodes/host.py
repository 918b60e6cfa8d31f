"""A worker's inside: the stages it holds, the streams it answers, who claimed it and who watches it.

Frames are routed here by (deployment, epoch, stage). How control calls arrive is control_service.py's business,
starting and stopping the process worker.py's.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from nodes import items
from nodes.claim import Claim
from nodes.codec import unpack
from nodes.connection import Connection
from nodes.emulation import LinkShaper
from nodes.errors import MalformedFrame, NodesError, StreamClosed, UnknownEpoch
from nodes.framing import Frame, Header, Kind
from nodes.log_ring import LogRing
from nodes.metrics import WorkerMetrics
from nodes.peers import Peers
from nodes.seldom import Seldom
from nodes.stage_load import StageLoads
from nodes.stage_runner import StageRunner
from nodes.stage_spec import StageSpec, Successor
from nodes.stage_work import Runs, fault_of
from nodes.store import Store
from nodes.watchdog import Patience

NO_FAULT_OF_THE_STAGE = (
    "BudgetExpired",
    "Overloaded",
    "BadOutput",
    "SequenceLost",
    "ItemGone",
)  # the router mends these
StageKey = tuple[str, int, str]
TICK_S = 0.5
WATCH_LIMIT = 1024
GONE_REMEMBERED = 1024
PROBE_BYTES = 16 << 10
LINK_NEWS_S = 1.0  # at least, from one steady word on a link to the next; a change is told at once


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What the command line says about a worker."""

    node: str
    state: Path
    token: str | None = None
    orphan_s: float = 60.0
    emulated: bool = False


class Host:
    """Stages and streams of one worker process; lives in one event loop."""

    def __init__(self, settings: HostSettings) -> None:
        self.settings = settings
        self.worker = uuid4().hex[:12]
        self.claim, self.log, self.metrics = Claim(), LogRing(), WorkerMetrics(settings.node, self.worker)
        self.store = Store(settings.state / "artifacts")
        self.stages: dict[StageKey, StageRunner] = {}
        self.stopped = asyncio.Event()
        self.shaper = LinkShaper() if settings.emulated else None
        self.peers = Peers(
            settings.node, settings.token, on_frame=self._from_peer, on_lost=self._lost, shaper=self.shaper
        )
        self.probe_s: float | None = None
        self._started_s = self._touched_s = time.monotonic()
        self._inbound: set[Connection] = set()
        self._routers: dict[str, Connection] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()  # routers whose streams ended; what still comes is in vain
        self._watchers: set[asyncio.Queue[dict[str, Any]]] = set()
        self._loads, self._refused = StageLoads(), Seldom()
        self._told: dict[tuple[str, str], float] = {}  # when the newest measurement that was told was made
        self._link_told_s: dict[tuple[str, str], float] = {}
        self._changes: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()  # detected, told already

    # -- stages ----------------------------------------------------------------------------------------------

    async def hold(self, spec: StageSpec, program: Runs) -> None:
        """Serve a stage from now on; one under the same name and epoch is replaced once it is idle."""
        key = (spec.deployment, spec.epoch, spec.stage)
        old = self.stages.get(key)
        patience = Patience(expected_s=spec.expected_s)
        self.stages[key] = StageRunner(spec, program, self, self, unbounded=spec.unbounded, patience=patience)
        self.metrics.stages.hold(spec, self.stages[key])
        self.log.write("stage ready", **_about(spec))
        if old is not None:
            await old.drain(5.0)
            await old.close()

    async def drop(self, key: StageKey, drain_s: float) -> bool:
        """Stop serving a stage once its requests are through, at most `drain_s`; False if it isn't held."""
        runner = self.stages.get(key)
        if runner is None:
            return False
        complete = await runner.drain(drain_s)
        if self.stages.get(key) is runner:
            del self.stages[key]
            self.metrics.stages.forget(key)
        await runner.close()
        about = _about(runner.spec)
        self.log.write("stage dropped" if complete else "stage dropped with requests left", **about)
        self.tell({"event": "drained", "complete": complete, **about})
        return True

    # -- frames ----------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A peer dialled in; a router is remembered under its id, the newest stream counts."""
        self._inbound.add(connection)
        if connection.origin:
            self._routers[connection.origin] = connection
            self._gone.pop(connection.origin, None)

    def closed(self, connection: Connection, reason: str) -> None:
        """A stream that a peer dialled is over."""
        self._inbound.discard(connection)
        if self._routers.get(connection.origin) is connection:
            del self._routers[connection.origin]
            self._gone[connection.origin] = None
            if len(self._gone) > GONE_REMEMBERED:
                self._gone.popitem(last=False)
            for runner in self.stages.values():
                runner.cancel_all_of(connection.origin)  # who comes again asks again
            self.log.write("router gone", router=connection.origin, reason=reason)

    def received(self, connection: Connection, frame: Frame) -> None:
        """A frame from a stream that a peer dialled."""
        header = frame.header
        if header.kind is Kind.ERROR:
            connection.consumed(frame)
            self._relay(frame)
            return
        if header.stage == items.STAGE:
            self._keep_item(frame, connection)
            return
        runner = self.stages.get((header.deployment, header.epoch, header.stage))
        if runner is None:
            connection.consumed(frame)
            if header.kind is Kind.TENSORS:
                self._refuse_unknown(header, connection)
        elif header.kind is Kind.CANCEL:
            runner.cancel(header)
            connection.consumed(frame)
        elif header.kind is Kind.TENSORS and header.origin in self._gone:
            connection.consumed(frame)
            self.answer(_error(header, self._unanswerable(header)), connection)
        else:
            runner.accept(frame, connection)

    def _keep_item(self, frame: Frame, connection: Connection) -> None:
        """A sensor has put an item here, or lets go of one."""
        number = frame.header.position
        try:
            if frame.header.kind is Kind.TENSORS:
                items.ITEMS.put(number, unpack(frame))
            elif frame.header.kind is Kind.CANCEL:
                items.ITEMS.release(number)
        except NodesError as fault:
            if self._refused.may(connection.peer_node, time.monotonic()):
                self.log.write(f"item {number} is not held: {fault}", level="warning")
        connection.consumed(frame)

    def _refuse_unknown(self, header: Header, via: Connection) -> None:
        held = sorted(epoch for deployment, epoch, _ in self.stages if deployment == header.deployment)
        error = UnknownEpoch(
            f"worker on {self.settings.node!r} holds no stage {header.stage!r} of {header.deployment!r} at epoch "
            f"{header.epoch}; it holds {f'epochs {held}' if held else 'nothing of that deployment'}"
        )
        if self._refused.may(via.peer_node, time.monotonic()):
            self.log.write(str(error), level="warning", deployment=header.deployment, stage=header.stage)
        self.answer(_error(header, error), via)

    def answer(self, frame: Frame, via: Connection) -> None:
        """To the router, over its own stream; an error may also go back by the stream the request came by."""
        router = self._routers.get(frame.header.origin)
        if router is None and frame.header.kind is not Kind.ERROR:
            self.answer(_error(frame.header, self._unanswerable(frame.header)), via)
            return
        try:
            (router or via).post(frame)
        except StreamClosed as error:
            self.log.write(f"answer lost: {error}", level="warning", request=frame.header.request)

    def _unanswerable(self, header: Header) -> StreamClosed:
        return StreamClosed(
            f"worker on {self.settings.node!r} has no stream from router {header.origin!r} to answer over"
        )

    def forward(self, successor: Successor, frame: Frame) -> None:
        """To the next stage's worker."""
        self.peers.post(successor.address, frame)

    def has_room(self, successor: Successor, call: Callable[[], None]) -> bool:
        """Whether the next stage's worker takes more."""
        return self.peers.has_room(successor.address, call)

    def _from_peer(self, connection: Connection, frame: Frame) -> None:
        """A frame that came back over a stream this worker dialled: an error on its way to the router."""
        if frame.header.kind is Kind.ERROR:
            self._relay(frame)
        else:
            fault = MalformedFrame(f"a {frame.header.kind.name} frame came back from {connection.peer_node!r}")
            if self._refused.may(connection.peer_node, time.monotonic()):
                self.log.write(str(fault), level="warning")

    def _lost(self, header: Header, error: NodesError) -> None:
        """A frame never reached the next stage, or may not have."""
        if header.kind is Kind.TENSORS:
            self._relay(_error(header, error))

    def _relay(self, frame: Frame) -> None:
        header = frame.header
        if header.origin in self._routers:
            self.answer(frame, self._routers[header.origin])
            return
        for (deployment, epoch, _), runner in self.stages.items():
            via = runner.came_by(header) if (deployment, epoch) == (header.deployment, header.epoch) else None
            if via is not None and not via.closed:
                via.post(frame)
                return
        # Nobody is left who asked: the request ended, or its router did.

    # -- observing -------------------------------------------------------------------------------------------

    def ran(self, spec: StageSpec, frames: Sequence[Frame]) -> None:
        """Count a run (stage_runner.Observer)."""
        self.metrics.ran(spec, frames)

    def served(self, spec: StageSpec, queue_s: float, worked: Any) -> None:
        """Count a request (stage_runner.Observer)."""
        self.metrics.served(spec, queue_s, worked)

    def failed(self, spec: StageSpec, header: Header) -> None:
        """Count, log and, where the engine was to blame, report a request's end (stage_runner.Observer)."""
        self.metrics.failed(spec, header)
        fault = header.fault
        if fault is None:
            return
        about = _about(spec) | {"kind": fault.kind, "request": header.request}
        if header.trace:
            about["trace"] = header.trace
        self.log.write(fault.message, level="error", **about)
        if not fault.caller_fault and fault.kind not in NO_FAULT_OF_THE_STAGE:
            self.tell({"event": "stage_failed", "message": fault.message, **about})

    def tell(self, event: Mapping[str, Any]) -> None:
        """Give an event to whoever watches; the slow lose their oldest."""
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(dict(event))

    def watch(self) -> asyncio.Queue[dict[str, Any]]:
        """A queue that gets every event from now on, until `unwatch`."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WATCH_LIMIT)
        self._watchers.add(queue)
        self._told.clear()  # a new watcher hears of every link again
        return queue

    def unwatch(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """Forget a watcher."""
        self._watchers.discard(queue)
        self.touch()

    @property
    def uptime_s(self) -> float:
        """Seconds since the worker started."""
        return time.monotonic() - self._started_s

    def touch(self) -> None:
        """A controller was heard of."""
        self._touched_s = time.monotonic()

    async def keep_house(self) -> None:
        """Report links, probe idle ones and end an orphan; runs until `stopped`."""
        while not self.stopped.is_set():
            self.metrics.fold()
            connections = [*self._inbound, *self.peers.connections()]
            now_s = time.monotonic()
            for runner in self.stages.values():
                runner.forget_idle(now_s)
            self.metrics.links.count(connections, now_s)
            for peer, more in self._refused.due(now_s):
                self.log.write(f"and {more} more frames from {peer!r} refused", level="warning")
            for told in self._loads.news(self.stages.values(), now_s):
                self.tell(told)
            for connection in connections:
                connection.on_link_change = self._report_link
                if self.probe_s is not None:
                    connection.probe_if_idle(PROBE_BYTES, self.probe_s)
                if self._link_told_s.get((connection.node, connection.peer_node), 0.0) <= now_s - LINK_NEWS_S:
                    self._report_link(connection)
            used_s = max([self._touched_s, *(connection.last_used_s for connection in connections)])
            if not self._watchers and now_s - used_s > self.settings.orphan_s:
                self.log.write(f"no controller and no traffic for {self.settings.orphan_s:g} s: ending")
                self.stopped.set()
            try:
                await asyncio.wait_for(self.stopped.wait(), min(TICK_S, self.settings.orphan_s / 4))
            except TimeoutError:
                continue

    def _report_link(self, connection: Connection) -> None:
        """Tell what is new about a link; of several streams over it, whichever measured last speaks."""
        if not connection.peer_node or connection.peer_node == connection.node:
            return
        ends = (connection.node, connection.peer_node)
        estimate = connection.link
        changed = estimate.changes > self._changes.get(connection, 0)
        if not changed and (estimate.at_s is None or estimate.at_s <= self._told.get(ends, -math.inf)):
            return
        self._told[ends], self._link_told_s[ends] = estimate.at_s or -math.inf, time.monotonic()
        self._changes[connection] = estimate.changes
        self.metrics.links.told(*ends, estimate, self._link_told_s[ends], changed=changed)
        self.tell(
            {
                "event": "link",
                "source": ends[0],
                "target": ends[1],
                "goodput_bytes_per_s": estimate.goodput_bytes_per_s,
                "rtt_s": estimate.rtt_s,
                "samples": estimate.samples,
                "goodput_std": estimate.goodput_std,
                "rtt_std_s": estimate.rtt_std_s,
                "queueing_s": estimate.queueing_s,
                "by_probes": estimate.by_probes,
                "changed": changed,
            }
        )

    async def close(self) -> None:
        """End streams and stages."""
        await self.peers.close()
        await asyncio.gather(*(runner.close() for runner in self.stages.values()))
        self.stages.clear()
        if self.shaper is not None:
            self.shaper.close()


def _about(spec: StageSpec) -> dict[str, Any]:
    return {"deployment": spec.deployment, "epoch": spec.epoch, "stage": spec.stage}


def _error(header: Header, error: NodesError) -> Frame:
    return Frame(header._replace(kind=Kind.ERROR, tensors=(), fault=fault_of(error)))
