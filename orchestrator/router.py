"""The router: an asyncio shell around the routing core, in the process where requests arise.

It keeps one stream to each worker, sends what `routing.py` says, keeps a request's inputs until its answer
is in, and measures its links. It decides nothing about requests and nothing about plans.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from uuid import uuid4

from nodes.backend import Array, TensorSpec
from nodes.codec import unpack
from nodes.connection import Connection
from nodes.emulation import LinkShaper
from nodes.errors import BadInput, NodesError
from nodes.framing import Frame, Kind
from nodes.links import LinkEstimate
from nodes.partial import all_hops
from nodes.stream import DialledConnection
from orchestrator.actions import Action, Cancel, Deliver, Drained, FailRequest, Release, Send, Suspect
from orchestrator.answers import Answer, Waiting, weight
from orchestrator.barred import Barred
from orchestrator.detour import seen_links, way
from orchestrator.errors import RequestFailed, UnknownDeployment
from orchestrator.links_seen import LinkEstimate as SeenLink
from orchestrator.once import Once
from orchestrator.remembered import Remembered
from orchestrator.request import NO_WISH, Part
from orchestrator.request_log import RequestLog
from orchestrator.routed import Routed
from orchestrator.router_copies import note_copy, send_copy
from orchestrator.router_faults import Faulty, node_of
from orchestrator.router_feeds import check_feeds, taken
from orchestrator.router_frames import Sent
from orchestrator.router_metrics import RouterMetrics
from orchestrator.router_posts import Unsent, is_open, post_cancel, post_inputs
from orchestrator.routes import EpochRoutes, Reach
from orchestrator.sequences import Sequences
from orchestrator.splitting import Split
from orchestrator.stream_watch import look_after
from orchestrator.terms import USUAL, Asked, Step, Terms
from orchestrator.trial_watch import COPY, TrialWatch

REOPEN_PAUSE_S = 0.25
SEEN_S = 0.05  # how long a look at the links counts when requests are steered
OnSuspect = Callable[[str, int, str, str, str], None]


class Router:
    """Requests in, answers out, for any number of deployments. All methods run in one event loop.

    `on_drained(deployment, epoch)` is called when an epoch told to drain has no request left here,
    `on_suspect(deployment, epoch, stage, node, why)` for a stage whose bad outputs are no fault of their inputs.
    """

    def __init__(
        self,
        *,
        on_drained: Callable[[str, int], None],
        on_suspect: OnSuspect | None = None,
        name: str | None = None,
        remembered: Remembered[Answer] | None = None,
    ) -> None:
        self.name = name or f"router-{uuid4().hex[:12]}"
        self._deployments: dict[str, Routed] = {}
        self.metrics, self.log = RouterMetrics(self._deployments), RequestLog()
        self._on_drained, self._on_suspect = on_drained, on_suspect
        self._once = Once(Remembered[Answer]() if remembered is None else remembered, weight, self.metrics)
        self.sequences = Sequences(self.metrics.note_replay)
        self._connections: dict[str, DialledConnection] = {}  # by address
        self._opening: dict[str, asyncio.Lock] = {}
        self._barred = Barred()
        self._shaper = LinkShaper()
        self._ticker: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._seen: dict[tuple[str, str], SeenLink] = {}
        self._seen_s = -math.inf
        self.links_changed = asyncio.Event()  # for whoever tells of links, who clears it
        self._reopening: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()

    async def switch(self, routes: EpochRoutes) -> None:
        """Open the streams that this epoch needs, then send new requests into it."""
        self._shape(routes)
        unreached = await self._connect_all(routes)
        held = self._deployments.setdefault(routes.deployment, Routed())
        routes = routes.as_held(held.epochs.get(routes.epoch))
        if held.current not in (None, routes.epoch):
            self.metrics.figures.note_switch(routes.deployment)
        held.epochs[routes.epoch], held.current = routes, routes.epoch
        held.forget_trial(routes.epoch)
        lost = tuple(reach.node for reach in unreached)
        self._carry_out(routes.deployment, held.core.switch(routes.known(), time.monotonic(), lost=lost))
        self._reopen_lost()
        self._news.set()
        if self._ticker is None:
            self._ticker = asyncio.create_task(self._tick(), name="router-tick")

    async def offer(self, routes: EpochRoutes) -> None:
        """Hold the streams to an epoch that stands by, and send into it while the one in use fails."""
        self._shape(routes)
        unreached = await self._connect_all(routes)
        held = self._deployments.setdefault(routes.deployment, Routed())
        held.epochs.setdefault(routes.epoch, routes)
        lost = tuple(reach.node for reach in unreached)
        self._carry_out(routes.deployment, held.core.offer(routes.known(), time.monotonic(), lost=lost))
        self._reopen_lost()

    async def try_out(self, routes: EpochRoutes, split: Split) -> None:
        """Send a part of the requests, or copies, into this epoch beside the one in use, and count what both do."""
        self._shape(routes)
        unreached = await self._connect_all(routes)
        held = self._deployments.setdefault(routes.deployment, Routed())
        held.epochs.setdefault(routes.epoch, routes)
        held.core.try_out(routes.known(), split, lost=tuple(reach.node for reach in unreached))
        if held.trial is None or held.trial.split != split:
            held.trial = TrialWatch(split)
        self._reopen_lost()

    def trials(self) -> dict[str, TrialWatch]:
        """What was counted of the versions on trial, by deployment."""
        found = {name: held.trial for name, held in self._deployments.items() if held.trial is not None}
        for trial in found.values():
            trial.expire(time.monotonic())
        return found

    async def _connect_all(self, routes: EpochRoutes) -> list[Reach]:
        """Open what is not open to the stages' workers, all at once; those that can't be reached now.

        Nothing waits for those that are only watched: `_reopen_lost` opens them.
        """
        reaches = tuple({reach.address: reach for reach in routes.workers}.values())
        opening = (self._connect(reach, routes.source) for reach in reaches)
        for found in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(found, NodesError):
                self.metrics.note_fault(type(found).__name__)
            elif isinstance(found, BaseException):
                raise found
        return [reach for reach in reaches if reach.address not in self._connections]  # some were reached meanwhile

    async def routed(self, deployment: str) -> None:
        """Wait until a deployment has routes here."""
        while deployment not in self._deployments or not self._deployments[deployment].epochs:
            self._news.clear()
            await self._news.wait()

    @property
    def deployments(self) -> Mapping[str, Routed]:
        """What is known here of each deployment, for reading only."""
        return self._deployments

    def inputs(self, deployment: str) -> tuple[TensorSpec, ...]:
        """What the deployment's newest epoch takes in."""
        return self._deployments[deployment].newest.inputs

    def renew(self, routes: EpochRoutes) -> None:
        """The emulated links have new rates, or a watched worker a new address; the epoch stays."""
        self._shape(routes)
        held = self._deployments.get(routes.deployment)
        if held is not None and routes.epoch in held.epochs:
            held.epochs[routes.epoch] = routes.as_held(held.epochs[routes.epoch])
            self._reopen_lost()

    def drain(self, deployment: str, epoch: int) -> None:
        """Send nothing more into this epoch; `on_drained` follows."""
        held = self._deployments.get(deployment)
        if held is None:
            self._on_drained(deployment, epoch)
        else:
            held.forget_trial(epoch)
            self._carry_out(deployment, held.core.drain(epoch, time.monotonic()))

    def hurry(self, deployment: str, epoch: int, *, old_s: float, new_s: float) -> None:
        """Send anew what still waits in an old epoch and is answered sooner by the one in use.

        `old_s`, `new_s`: what a request takes in the two under today's links, as stragglers.moved wants it.
        """
        held = self._deployments.get(deployment)
        if held is not None:
            self._carry_out(deployment, held.core.hurry(epoch, old_s, new_s, time.monotonic()), "hurried")

    async def infer(
        self,
        deployment: str,
        feeds: Mapping[str, Array],
        *,
        budget_s: float = 30.0,
        trace: bool = False,
        request_id: str | None = None,
        key: str = "",
        version: int | None = None,
        terms: Terms = USUAL,
        step: Step | None = None,
    ) -> Answer:
        """Answer one request. BadInput for feeds that don't fit; Unavailable, RequestFailed, RequestTimeout otherwise.

        The same `request_id` given again within a minute of the answer gets the same answer, whatever the feeds:
        a request that is under way is joined, none is computed twice. So one with an id goes on when its caller
        goes away, until its own budget is used up. Failures are not kept. A caller without an id who loses this
        router before the answer cannot know whether it was computed, and has it computed again by asking again.
        A `version` other than the one in use is one on trial, or UnknownVersion; should it fail, the other one answers.
        `terms` say whose turn it is where requests wait, and whether it waits where a queue is full. A model that
        keeps state is asked in steps of sequences, and no other model is; BadInput.
        """
        begin = partial(self._begin, deployment, feeds, budget_s, Asked(trace, key, version, terms, step))
        if request_id is None:
            return await begin()
        return await self._once.once((deployment, request_id), begin, budget_s)

    async def _begin(self, deployment: str, feeds: Mapping[str, Array], budget_s: float, asked: Asked) -> Answer:
        held = self._deployments.get(deployment)
        if held is None or not held.epochs:
            self.metrics.note_end("unknown_deployment")
            raise UnknownDeployment(deployment, tuple(self._deployments))
        trial = held.concerns_trial(deployment, asked.version)
        routes = (held.on_trial if trial else held.active) or held.newest
        feeds, ask = taken(routes, feeds), partial(self._answer, deployment, held, asked, trial)
        try:
            if asked.step is not None:
                return await self.sequences.step(deployment, routes, feeds, asked.step, budget_s, ask)
            if routes.sequence is not None:
                raise BadInput(f"{deployment} keeps state between requests; tell which sequence this is a step of")
            check_feeds(deployment, routes, feeds)
        except BadInput:
            self.metrics.note_end("bad_input")
            raise
        return await ask(feeds, None, budget_s)

    async def _answer(
        self,
        deployment: str,
        held: Routed,
        asked: Asked,
        trial: bool | None,
        feeds: Mapping[str, Array],
        part: Part | None,
        budget_s: float,
    ) -> Answer:
        """Have the core see to one request. A step of a sequence goes to the version in use unless told otherwise."""
        request, (trace, key, _, terms, _) = uuid4().hex, asked
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        now_s = time.monotonic()
        held.waiting[request] = Waiting(feeds, future, now_s, trace, deployment, terms.priority, part, log=self.log)
        self._steer(held, now_s)
        wish, trial = (NO_WISH, trial) if part is None else (part.wish, bool(trial))
        begun = held.core.submit(request, now_s, budget_s, key=key, trial=trial, wait=terms.wait, wish=wish)
        self._carry_out(deployment, begun)
        if part is None:
            send_copy(held, self._connections, self.name, request, key, feeds, now_s)
        try:
            return await future
        except asyncio.CancelledError:
            if request in held.waiting:
                self.metrics.note_end("cancelled")
            self._carry_out(deployment, held.core.cancel(request, time.monotonic()), "cancelled")
            raise

    def _steer(self, held: Routed, now_s: float) -> None:
        """Have the next request go where it is answered first: the links may have changed since the plan was chosen."""
        epochs = held.core.choices()
        if len(epochs) < 2:
            return
        if now_s - self._seen_s > SEEN_S:
            self._seen, self._seen_s = seen_links(self.estimates()), now_s
        ways = {epoch: way(epoch, held.epochs[epoch].pace, self._seen) for epoch in epochs}
        held.core.learn({epoch: found for epoch, found in ways.items() if found is not None})

    def estimates(self) -> dict[tuple[str, str], LinkEstimate]:
        """Per link from here, by node names: what its stream has told so far."""
        return {(c.node, c.peer_node): c.link for c in self._connections.values()}

    def in_hand(self, deployment: str) -> int:
        """Requests taken in and not yet answered."""
        held = self._deployments.get(deployment)
        return 0 if held is None else held.core.in_hand

    async def probe(self, padding_bytes: int) -> None:
        """Measure the links that the newest epochs use or watch, where nothing large was sent of late."""
        newest = [held.newest for held in self._deployments.values() if held.epochs]
        wanted = dict.fromkeys(reach.address for routes in newest for reach in routes.reaches)
        for connection in [self._connections[address] for address in wanted if address in self._connections]:
            connection.probe_if_idle(padding_bytes)

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
        await self._once.close()
        await asyncio.to_thread(self.metrics.close)
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
            connection = await self._barred.open(
                reach.address,
                on_frame=self._on_frame,
                on_closed=self._on_closed,
                token=reach.token,
                node=source,
                origin=self.name,
                on_link_change=lambda _: self.links_changed.set(),
                shaper=self._shaper,
            )
            self._connections[reach.address] = connection
            watch = asyncio.create_task(
                look_after(connection, lambda: self._awaits(reach.address)), name=f"watch-{reach.address}"
            )
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
            return connection

    def _carry_out(self, deployment: str, actions: tuple[Action, ...], why: str = "waited") -> None:
        """Do it in this order; `why` says for what reason attempts among them are begun anew."""
        held = self._deployments[deployment]
        held.count(actions, why)
        for action in actions:
            match action:
                case Send():
                    if action.attempt > 1:
                        self.metrics.note_replay(why)
                    self._send(deployment, held, action)
                case Cancel():
                    self._recall(held, action)
                case Deliver():
                    self._deliver(held, action)
                case FailRequest():
                    self._fail(held.waiting[action.request], action)
                case Suspect():
                    self._tell_suspect(deployment, held, action)
                case Release(request=request):
                    held.waiting.pop(request, None)
                case Drained(epoch=epoch):
                    held.epochs.pop(epoch, None)
                    self.metrics.figures.forget(deployment, epoch)
                    self._on_drained(deployment, epoch)

    def _send(self, deployment: str, held: Routed, send: Send) -> None:
        routes, waiting = held.epochs[send.epoch], held.waiting[send.request]
        waiting.way = send.way
        sent = Sent(self.name, waiting.traced, waiting.priority, trace=waiting.trace, part=waiting.part)
        try:
            post_inputs(self._connections, routes, send, waiting.feeds, sent)
        except Unsent as closed:  # noted by the core at the next turn, never inside its own decision
            asyncio.get_running_loop().call_soon(self._unsent, deployment, send, closed.node, str(closed))

    def _recall(self, held: Routed, cancel: Cancel) -> None:
        routes, waiting = held.epochs.get(cancel.epoch), held.waiting.get(cancel.request)
        if waiting is not None:
            waiting.outputs.pop(cancel.attempt, None)
        if routes is not None:
            post_cancel(self._connections, routes, cancel)

    def _deliver(self, held: Routed, deliver: Deliver) -> None:
        waiting, routes = held.waiting[deliver.request], held.epochs.get(deliver.epoch)
        answer = waiting.deliver(deliver, 0 if routes is None else routes.version)
        self.metrics.note_answer(waiting.deployment, answer)

    def _fail(self, waiting: Waiting, failed: FailRequest) -> None:
        self.metrics.note_fault(failed.kind)
        self.metrics.note_end(failed.kind)
        waiting.fail(self._barred.told(failed))

    def _tell_suspect(self, deployment: str, held: Routed, told: Suspect) -> None:
        self.metrics.note_fault("suspect_stage")
        if self._on_suspect is not None and told.epoch in held.epochs:
            node = told.node or node_of(held.epochs[told.epoch], told.stage)
            self._on_suspect(deployment, told.epoch, told.stage, node, told.error)

    def _on_frame(self, _connection: Connection, frame: Frame) -> None:
        header = frame.header
        held = self._deployments.get(header.deployment)
        if held is None:
            return
        now_s = time.monotonic()
        if header.request.startswith(COPY):
            note_copy(held, frame, now_s)
            return
        why = "waited"
        if header.kind is Kind.ERROR and header.fault is not None:
            faulty = Faulty(header, header.fault, held.epochs.get(header.epoch), held.waiting.get(header.request))
            actions, why = faulty.tell(held.core, self._meet, now_s), header.fault.kind
        elif header.kind is Kind.TENSORS and header.request in held.waiting:
            waiting = held.waiting[header.request]
            outputs = unpack(frame)
            waiting.outputs.setdefault(header.attempt, {}).update(outputs)
            if header.timings:
                waiting.hops[header.attempt] = all_hops(waiting.hops.get(header.attempt, ()), header.timings)
            actions = held.core.answer(header.request, header.attempt, tuple(outputs), now_s)
        else:
            return
        self._carry_out(header.deployment, actions, why)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        closed, needed = [a for a, held in self._connections.items() if held is connection], self._needed()
        for address in closed:
            del self._connections[address]
        if not any(address in needed for address in closed):
            return  # of a worker that was replaced, and has nothing left to do
        self._lost(connection.peer_node, reason)
        if any(other.peer_node == connection.peer_node for other in self._connections.values()):
            self._found(connection.peer_node)  # by another worker of the node
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
            self._found(reach.node)
            return

    def _found(self, node: str) -> None:
        for name, held in self._deployments.items():
            self._carry_out(name, held.core.worker_found(node, time.monotonic()))

    def _awaits(self, address: str) -> bool:
        """Whether something is in hand that this worker may be needed for; one that was left behind may end."""
        return any(held.core.in_hand for held in self._deployments.values()) and address in self._needed()

    def _lost(self, node: str, reason: str) -> None:
        self.metrics.note_fault("worker_lost")
        met = self._meet(node)
        for name, held in self._deployments.items():
            others = any(other != name for other in met)
            self._carry_out(name, held.core.worker_lost(node, time.monotonic(), others=others), "worker_lost")

    def _meet(self, node: str) -> list[str]:
        """Deployments that have a request with this node's worker."""
        return [name for name, held in self._deployments.items() if held.core.meets(node)]

    def _unsent(self, deployment: str, send: Send, node: str, reason: str) -> None:
        held = self._deployments[deployment]
        now_s = time.monotonic()
        self._carry_out(deployment, held.core.unsent(send.request, send.attempt, node, reason, now_s))
        routes = held.epochs.get(send.epoch)
        addresses = () if routes is None else (one.address for one in routes.workers if one.node == node)
        if any(is_open(self._connections, one) for one in addresses):  # it was reached again before this was noted
            self._carry_out(deployment, held.core.worker_found(node, now_s))
        self._reopen_lost()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.sequences.forget_idle(time.monotonic())
            self._once.forget_old(time.monotonic())
            self.metrics.figures.look(self._connections.values(), time.monotonic())
            for name, held in list(self._deployments.items()):
                due_s = held.core.next_deadline_s
                if due_s is not None and due_s <= time.monotonic():
                    self._carry_out(name, held.core.tick(time.monotonic()), "overtaken_or_paused")
