"""The router: an asyncio shell around the routing core, in the process where requests arise.

It keeps one stream to each worker, sends what `routing.py` says, keeps a request's inputs until its answer
is in, and measures its links. It decides nothing about requests and nothing about plans.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from nodes.backend import Array, TensorSpec
from nodes.codec import pack, unpack
from nodes.connection import Connection
from nodes.emulation import LinkShaper
from nodes.errors import BadInput, NodesError, StreamClosed
from nodes.framing import Frame, Header, HopTiming, Kind
from nodes.stream import DialledConnection, open_connection
from orchestrator.actions import Action, Cancel, Deliver, Drained, FailRequest, Release, Send
from orchestrator.errors import RequestFailed, RequestTimeout, UnknownDeployment
from orchestrator.router_metrics import RouterMetrics
from orchestrator.routes import EpochRoutes, Reach
from orchestrator.routing import Routes, Routing

REOPEN_PAUSE_S = 0.25
PING_EVERY_S, PING_TIMEOUT_S = 1.0, 4.0  # while requests are in hand; a cut cable closes no stream by itself
UNKNOWN_EPOCH = "UnknownEpoch"  # the fault that a worker reports for an epoch it does not hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Outputs by name, with what tracing saw: seconds in all, the epoch, and each stage's own timings."""

    outputs: dict[str, Array]
    latency_s: float
    epoch: int
    attempt: int
    hops: tuple[HopTiming, ...] = ()


@dataclass(slots=True)
class _Waiting:
    feeds: Mapping[str, Array]
    future: "asyncio.Future[Answer]"
    started_s: float
    traced: bool
    outputs: dict[int, dict[str, Array]] = field(default_factory=dict)  # by attempt
    hops: dict[int, tuple[HopTiming, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Deployment:
    core: Routing = field(default_factory=Routing)
    epochs: dict[int, EpochRoutes] = field(default_factory=dict)
    waiting: dict[str, _Waiting] = field(default_factory=dict)


class Router:
    """Requests in, answers out, for any number of deployments. All methods run in one event loop.

    `on_drained(deployment, epoch)` is called when an epoch told to drain has no request left here.
    """

    def __init__(self, *, on_drained: Callable[[str, int], None], name: str | None = None) -> None:
        self.name = name or f"router-{uuid4().hex[:12]}"
        self.metrics = RouterMetrics()
        self._on_drained = on_drained
        self._deployments: dict[str, _Deployment] = {}
        self._connections: dict[str, DialledConnection] = {}  # by address
        self._opening: dict[str, asyncio.Lock] = {}
        self._shaper = LinkShaper()
        self._ticker: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._reopening: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()

    async def switch(self, routes: EpochRoutes) -> None:
        """Open the streams that this epoch needs, then send new requests into it."""
        self._shape(routes)
        unreached = await self._connect_all(routes)
        held = self._deployments.setdefault(routes.deployment, _Deployment())
        held.epochs[routes.epoch] = routes
        known = Routes(epoch=routes.epoch, nodes=routes.nodes, outputs=routes.outputs)
        lost = tuple(reach.node for reach in unreached)
        self._carry_out(routes.deployment, held.core.switch(known, time.monotonic(), lost=lost))
        self._reopen_lost()
        self._news.set()
        if self._ticker is None:
            self._ticker = asyncio.create_task(self._tick(), name="router-tick")

    async def _connect_all(self, routes: EpochRoutes) -> list[Reach]:
        """Open what is not open; the stages' workers that can't be reached now."""
        unreached = []
        stages = {reach.address for _, reach in routes.stages}
        for reach in {reach.address: reach for reach in routes.reaches}.values():
            try:
                await self._connect(reach, routes.source)
            except NodesError as fault:
                self.metrics.note_fault(type(fault).__name__)
                if reach.address in stages:
                    unreached.append(reach)
        return unreached

    async def routed(self, deployment: str) -> None:
        """Wait until a deployment has routes here."""
        while deployment not in self._deployments or not self._deployments[deployment].epochs:
            self._news.clear()
            await self._news.wait()

    def inputs(self, deployment: str) -> tuple[TensorSpec, ...]:
        """What the deployment's newest epoch takes in."""
        return next(reversed(self._deployments[deployment].epochs.values())).inputs

    def renew(self, routes: EpochRoutes) -> None:
        """The emulated links have new rates, or a watched worker a new address; the epoch stays."""
        self._shape(routes)
        held = self._deployments.get(routes.deployment)
        if held is not None and routes.epoch in held.epochs:
            held.epochs[routes.epoch] = routes
            self._reopen_lost()

    def drain(self, deployment: str, epoch: int) -> None:
        """Send nothing more into this epoch; `on_drained` follows."""
        held = self._deployments.get(deployment)
        if held is None:
            self._on_drained(deployment, epoch)
        else:
            self._carry_out(deployment, held.core.drain(epoch, time.monotonic()))

    async def infer(
        self, deployment: str, feeds: Mapping[str, Array], *, budget_s: float = 30.0, trace: bool = False
    ) -> Answer:
        """Answer one request. BadInput for feeds that don't fit; RequestFailed, RequestTimeout otherwise."""
        held = self._deployments.get(deployment)
        if held is None or not held.epochs:
            raise UnknownDeployment(deployment, tuple(self._deployments))
        check_feeds(deployment, next(reversed(held.epochs.values())), feeds)
        request = uuid4().hex
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        now_s = time.monotonic()
        held.waiting[request] = _Waiting(feeds, future, now_s, trace)
        self._carry_out(deployment, held.core.submit(request, now_s, budget_s))
        try:
            return await future
        except asyncio.CancelledError:
            self._carry_out(deployment, held.core.cancel(request, time.monotonic()))
            raise

    def estimates(self) -> dict[tuple[str, str], tuple[float | None, float | None, int]]:
        """Per link from here: goodput in bytes/s, round trip in seconds, samples; None where not yet measured."""
        return {
            (c.node, c.peer_node): (c.link.goodput_bytes_per_s, c.link.rtt_s, c.link.samples)
            for c in self._connections.values()
        }

    def in_hand(self, deployment: str) -> int:
        """Requests taken in and not yet answered."""
        held = self._deployments.get(deployment)
        return 0 if held is None else held.core.in_hand

    async def probe(self, padding_bytes: int) -> None:
        """Ping the links that no stage uses with a padded frame, so that they are measured too."""
        newest = [next(reversed(held.epochs.values())) for held in self._deployments.values() if held.epochs]
        watched = dict.fromkeys(reach.address for routes in newest for reach in routes.watched)
        for connection in [self._connections[a] for a in watched if a in self._connections]:
            try:
                await connection.ping(0)
                await connection.ping(padding_bytes)
            except (NodesError, TimeoutError) as fault:
                self.metrics.note_fault(type(fault).__name__)

    async def close(self) -> None:
        """Close every stream; requests in hand fail with RequestFailed."""
        tasks = [*self._reopening, *self._watches, *([self._ticker] if self._ticker is not None else [])]
        for task in tasks:
            task.cancel()
        for held in self._deployments.values():
            held.epochs.clear()  # so that nothing is reopened as streams close
            for waiting in list(held.waiting.values()):
                if not waiting.future.done():
                    waiting.future.set_exception(RequestFailed("the client was closed before the answer came"))
        for connection in list(self._connections.values()):
            await connection.close()
        self._shaper.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _shape(self, routes: EpochRoutes) -> None:
        if routes.shaped:
            self._shaper.shape(routes.shaped, routes.paths)

    async def _connect(self, reach: Reach, source: str) -> DialledConnection:
        lock = self._opening.setdefault(reach.address, asyncio.Lock())
        async with lock:
            found = self._connections.get(reach.address)
            if found is not None and not found.closed:
                return found
            connection = await open_connection(
                reach.address,
                on_frame=self._on_frame,
                on_closed=self._on_closed,
                token=reach.token,
                node=source,
                origin=self.name,
                shaper=self._shaper,
            )
            self._connections[reach.address] = connection
            watch = asyncio.create_task(self._look_after(connection), name=f"watch-{reach.address}")
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
            return connection

    def _carry_out(self, deployment: str, actions: tuple[Action, ...]) -> None:
        held = self._deployments[deployment]
        for action in actions:
            match action:
                case Send():
                    self._send(deployment, held, action)
                case Cancel():
                    self._recall(deployment, held, action)
                case Deliver(request=request, attempt=attempt, epoch=epoch):
                    self._deliver(held.waiting[request], attempt, epoch)
                case FailRequest(request=request, kind=kind, error=error):
                    self._fail(held.waiting[request], kind, error)
                case Release(request=request):
                    held.waiting.pop(request, None)
                case Drained(epoch=epoch):
                    held.epochs.pop(epoch, None)
                    self._on_drained(deployment, epoch)

    def _send(self, deployment: str, held: _Deployment, send: Send) -> None:
        routes, waiting = held.epochs[send.epoch], held.waiting[send.request]
        stage, reach = routes.first
        header = Header(
            kind=Kind.TENSORS,
            deployment=deployment,
            epoch=send.epoch,
            stage=stage,
            request=send.request,
            attempt=send.attempt,
            budget_s=send.budget_s,
            origin=self.name,
            timings=() if waiting.traced else None,
        )
        try:
            connection = self._connections.get(reach.address)
            if connection is None:
                raise StreamClosed(f"no stream to {reach.node}")
            connection.post(pack(header, waiting.feeds, routes.codecs))
        except StreamClosed as closed:  # noted by the core at the next turn, never inside its own decision
            asyncio.get_running_loop().call_soon(self._lost, reach.node, str(closed))

    def _recall(self, deployment: str, held: _Deployment, cancel: Cancel) -> None:
        routes, waiting = held.epochs.get(cancel.epoch), held.waiting.get(cancel.request)
        if waiting is not None:
            waiting.outputs.pop(cancel.attempt, None)
        if routes is None:
            return
        stage, reach = routes.first
        header = Header(
            kind=Kind.CANCEL,
            deployment=deployment,
            epoch=cancel.epoch,
            stage=stage,
            request=cancel.request,
            attempt=cancel.attempt,
        )
        connection = self._connections.get(reach.address)
        if connection is not None and not connection.closed:
            connection.post(Frame(header))

    def _deliver(self, waiting: _Waiting, attempt: int, epoch: int) -> None:
        latency_s = time.monotonic() - waiting.started_s
        self.metrics.note_answer(latency_s)
        if not waiting.future.done():
            waiting.future.set_result(
                Answer(
                    outputs=waiting.outputs[attempt],
                    latency_s=latency_s,
                    epoch=epoch,
                    attempt=attempt,
                    hops=waiting.hops.get(attempt, ()),
                )
            )

    def _fail(self, waiting: _Waiting, kind: str, error: str) -> None:
        self.metrics.note_fault(kind)
        if not waiting.future.done():
            faults = {"caller": BadInput, "timeout": RequestTimeout}
            waiting.future.set_exception(faults.get(kind, RequestFailed)(error))

    def _on_frame(self, _connection: Connection, frame: Frame) -> None:
        header = frame.header
        held = self._deployments.get(header.deployment)
        if held is None:
            return
        now_s = time.monotonic()
        if header.kind is Kind.ERROR and header.fault is not None:
            if header.fault.kind == UNKNOWN_EPOCH:
                actions = held.core.epoch_lost(header.epoch, header.fault.message, now_s)
            else:
                actions = held.core.error(
                    header.request, header.attempt, header.fault.message, now_s, caller_fault=header.fault.caller_fault
                )
        elif header.kind is Kind.TENSORS and header.request in held.waiting:
            waiting = held.waiting[header.request]
            outputs = unpack(frame)
            waiting.outputs.setdefault(header.attempt, {}).update(outputs)
            if header.timings:
                waiting.hops[header.attempt] = tuple(header.timings)
            actions = held.core.answer(header.request, header.attempt, tuple(outputs), now_s)
        else:
            return
        self._carry_out(header.deployment, actions)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        for address in [a for a, held in self._connections.items() if held is connection]:
            del self._connections[address]
        self._lost(connection.peer_node, reason)
        self._reopen_lost()

    def _needed(self) -> dict[str, tuple[str, Reach]]:
        """What epochs send to or watch: by address, the source node and the worker."""
        routes = [routes for held in self._deployments.values() for routes in held.epochs.values()]
        return {reach.address: (each.source, reach) for each in routes for reach in each.reaches}

    def _reopen_lost(self) -> None:
        """Try to reach workers again while an epoch still needs them; a cut cable is not a dead worker."""
        under_way = {task.get_name() for task in self._reopening}
        for address in self._needed():
            if address not in self._connections and address not in under_way:
                task = asyncio.create_task(self._keep_trying(address), name=address)
                self._reopening.add(task)
                task.add_done_callback(self._reopened)

    def _reopened(self, task: "asyncio.Task[None]") -> None:
        self._reopening.discard(task)
        if not task.cancelled():
            self._reopen_lost()  # it may have been lost again before this was called

    async def _keep_trying(self, address: str) -> None:
        while (needed := self._needed().get(address)) is not None:
            source, reach = needed
            try:
                await self._connect(reach, source)
            except (NodesError, OSError):
                await asyncio.sleep(REOPEN_PAUSE_S)
                continue
            for name, held in self._deployments.items():
                self._carry_out(name, held.core.worker_found(reach.node, time.monotonic()))
            return

    async def _look_after(self, connection: DialledConnection) -> None:
        """Ping a stage's worker while requests are in hand; end the stream that does not answer."""
        while not connection.closed:
            await asyncio.sleep(PING_EVERY_S)
            if not any(held.core.in_hand for held in self._deployments.values()):
                continue
            try:
                await connection.ping(0, PING_TIMEOUT_S)
            except StreamClosed:
                connection.call.cancel()
                return

    def _lost(self, node: str, reason: str) -> None:
        self.metrics.note_fault("worker_lost")
        for name, held in self._deployments.items():
            self._carry_out(name, held.core.worker_lost(node, time.monotonic()))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for name, held in list(self._deployments.items()):
                due_s = held.core.next_deadline_s
                if due_s is not None and due_s <= time.monotonic():
                    self._carry_out(name, held.core.tick(time.monotonic()))


def check_feeds(deployment: str, routes: EpochRoutes, feeds: Mapping[str, Array]) -> None:
    """BadInput that names every missing, surplus, wrongly typed or wrongly shaped tensor at once."""
    faults = [f"{spec.name} is missing" for spec in routes.inputs if spec.name not in feeds]
    known = {spec.name: spec for spec in routes.inputs}
    for name, array in feeds.items():
        spec = known.get(name)
        if spec is None:
            faults.append(f"{name} is not an input")
            continue
        if array.dtype.name != spec.dtype:
            faults.append(f"{name} is {array.dtype.name}, wants {spec.dtype}")
        wanted = spec.shape
        fits = len(wanted) == array.ndim and all(w is None or w == h for w, h in zip(wanted, array.shape, strict=True))
        if not fits:
            faults.append(f"{name} has shape {list(array.shape)}, wants {['?' if d is None else d for d in wanted]}")
    if faults:
        takes = ", ".join(f"{s.name}: {s.dtype}{['?' if d is None else d for d in s.shape]}" for s in routes.inputs)
        raise BadInput(f"{deployment}: {'; '.join(faults)} (it takes {takes})")
