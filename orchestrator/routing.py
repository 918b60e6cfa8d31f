"""The routing core: the life of each request, from submit to delivered or failed.

Sans-IO: no sockets, no clock; it sees names and numbers, never tensors. A request's attempt lives in
exactly one epoch, and outputs of two attempts are never mixed. Requests that find no healthy epoch wait
for one within their budget. What is late, told twice or of a forgotten request is ignored. Who is blamed for a dead
worker is suspicion.py's rule, for a bad output soundness.py's, when to begin anew without a failure stragglers.py's,
which replica of a stage is taken replicas_routing.py's.
"""

from collections.abc import Iterable, Mapping

from orchestrator.actions import Action, Deliver, Drained, FailRequest, Release, Send, Suspect
from orchestrator.detour import Ways, soonest
from orchestrator.errors import IllegalTransition
from orchestrator.replicas_routing import Replicas, Routes, node_on
from orchestrator.request import NO_WISH, Request, Wish, held_up, recall, why_late
from orchestrator.soundness import Streaks, Where, contradicted, is_inputs_fault
from orchestrator.splitting import Split, concerns
from orchestrator.stragglers import Pace, moved
from orchestrator.suspicion import Loss, alone, is_guilty, is_suspect
from orchestrator.worker_faults import BAD_OUTPUT, BROKEN_STREAM, FULL, ITEM_GONE, LATE, STATE_LOST
from partitioner.topology import NodeId
from policies.routing import Way

MAX_MOVES = 2  # to a faster epoch: a request that is always moved is never answered
CLOSED = "the deployment is draining or gone: unavailable, retry"


class Routing:
    """All requests of one deployment at one router. Every method returns what to do, in order.

    A request may fail by itself `max_attempts` times; what was no fault of its own (a worker lost, an epoch gone, a
    stream broken) may happen any number of times within its budget. It is quarantined once `max_losses` workers
    died while it was alone with them (suspicion.py).
    """

    def __init__(self, *, max_attempts: int = 4, max_losses: int = 2) -> None:
        self._max_attempts = max_attempts
        self._max_losses = max_losses
        self._requests: dict[str, Request] = {}
        self._suspects: list[Request] = []
        self._routes: dict[int, Routes] = {}
        self._replicas = Replicas()
        self._paces: dict[tuple[int, tuple[NodeId, ...]], Pace] = {}  # of an epoch, by the way through its replicas
        self._streaks = Streaks()
        self._serial = 0
        self._current: int | None = None
        self._offered: list[int] = []
        self._split: Split | None = None
        self._ways = Ways()
        self._draining: list[int] = []
        self._lost: list[NodeId] = []
        self._broken: list[int] = []
        self._is_closed = False

    def submit(
        self,
        request: str,
        now_s: float,
        budget_s: float,
        key: str = "",
        trial: bool | None = None,
        wait: bool = True,
        wish: Wish = NO_WISH,
    ) -> tuple[Action, ...]:
        """Take in a new request, to be answered within `budget_s`. IllegalTransition for a name in use. During a trial
        `trial` tells whether it goes there first; if that is None, its name or, where keys stick, its `key` does. One
        that may `wait` tries again where a queue is full, others fail. It goes where `wish` says while that is healthy.
        """
        if request in self._requests:
            known = self._requests[request]
            raise IllegalTransition(f"request {request}", known.state, "submit", known.told())
        taken = Request(request, now_s, now_s + budget_s, wait, wish)
        split = self._split
        if split is not None and split.answers and (concerns(split, request, key) if trial is None else trial):
            taken.choice = split.epoch
        self._requests[request] = taken
        if self._is_closed:
            return self._fail(taken, "closed", CLOSED, now_s)
        return self._send(taken, now_s)

    def answer(self, request: str, attempt: int, outputs: Iterable[str], now_s: float) -> tuple[Action, ...]:
        """Outputs have come from a stage. The request is delivered when all of its epoch's outputs are there."""
        found = self._in_flight(request, attempt)
        if found is None:
            return ()
        came = tuple(outputs)
        if came != found.missing:
            found.missing = tuple(name for name in found.missing if name not in came)
            if found.missing:
                return ()
        return self._deliver(found, now_s)

    def error(
        self,
        request: str,
        attempt: int,
        message: str,
        now_s: float,
        *,
        caller_fault: bool = False,
        kind: str = "",
        stage: str = "",
    ) -> tuple[Action, ...]:
        """A `stage` reports a failure of that `kind`: the caller's own fault fails at once, else it is sent again.

        After a broken stream, a full queue or an item that is not there that is after a pause, so that attempts are not
        used up in a moment, but at once where another replica can take it; only the full queue counts against it.
        """
        found = self._in_flight(request, attempt)
        if found is None or found.epoch is None:
            return ()
        found.errors += (message,)
        is_callers = caller_fault and (self._split is None or found.epoch != self._split.epoch)
        if is_callers or kind == STATE_LOST:  # on trial, the version may be at fault instead
            return self._fail(found, "caller" if is_callers else "sequence", message, now_s)
        found.failures += kind not in (BROKEN_STREAM, ITEM_GONE)
        node = node_on(found.way, self._routes[found.epoch], stage)
        if kind == BROKEN_STREAM:
            found.left_node, found.left_s = node, now_s
        is_elsewhere = bool(node) and self._replicas.shun(self._routes[found.epoch], stage, node, self._lost, now_s)
        hopeless = "timeout" if kind == LATE else "overloaded" if kind == FULL and not found.waits else ""
        if hopeless and not is_elsewhere:
            return self._fail(found, hopeless, message, now_s)
        if kind in (BROKEN_STREAM, FULL, ITEM_GONE) and not is_elsewhere:
            found.pause(now_s)
            left = found.epoch
            actions = self._replay(found, now_s)
            found.fled = left if kind == BROKEN_STREAM and found.epoch is None and not node else None
            return actions
        if kind == BAD_OUTPUT:
            return self._bad_output(found, (found.epoch, stage, node), now_s)
        return self._replay(found, now_s)

    def worker_lost(self, node: NodeId, now_s: float, *, others: bool = False) -> tuple[Action, ...]:
        """A node's worker is gone: what its epochs had in flight is sent again, as soon as an epoch without it is.

        `others`: requests of other deployments were with it too, so that none of these was alone with it.
        """
        if node not in self._lost:
            self._lost.append(node)
        requests = self._requests.values()
        met = [request for request in requests if self._meets(request, node) or request.has_just_left(node, now_s)]
        return self._blame(met, node, f"the worker on {node} was lost", now_s, others)

    def stage_hung(
        self, epoch: int, node: NodeId, message: str, now_s: float, *, others: bool = False
    ) -> tuple[Action, ...]:
        """A stage on this node never comes back from a run; its worker ends itself, so it is as good as lost."""
        if epoch not in self._routes:
            return ()
        self._give_up(epoch, node)
        met = [request for request in self._requests.values() if request.epoch == epoch and request.goes_by(node)]
        return self._blame(met, node, message, now_s, others)

    def unsent(self, request: str, attempt: int, node: NodeId, reason: str, now_s: float) -> tuple[Action, ...]:
        """An attempt never left: there is no stream to this node. It waits; no worker was lost with it."""
        if node not in self._lost:
            self._lost.append(node)
        found = self._in_flight(request, attempt)
        if found is None:
            return ()
        found.errors += (reason,)
        return self._replay(found, now_s)

    def worker_found(self, node: NodeId, now_s: float) -> tuple[Action, ...]:
        """The lost worker answers again, the same process with its stages still loaded; waiting requests go out.

        So it did not die, and what was held against those that were with it is withdrawn.
        """
        self._lost = [lost for lost in self._lost if lost != node]
        for loss in self._losses():
            loss.withdrawn = loss.withdrawn or (loss.node == node and not loss.settled)
        self._look_for_suspects()
        return self._send_waiting(now_s)

    def epoch_lost(self, epoch: int, message: str, now_s: float, *, node: NodeId = "") -> tuple[Action, ...]:
        """A worker says that it does not have this epoch: its requests wait for another, or go to other replicas.

        It was restarted, then; losses on the epoch's nodes that were withdrawn count again. `node` tells whose worker
        it is, where stages have replicas; late news, of which that isn't known any more, says nothing.
        """
        routes = self._routes.get(epoch)
        if routes is None or (routes.crews and not node):
            return ()
        if self._give_up(epoch, node):
            nodes = (node,) if routes.crews else routes.nodes
            for loss in self._losses():
                loss.withdrawn = loss.withdrawn and loss.node not in nodes
            self._look_for_suspects()
        actions: list[Action] = []
        for request in [r for r in self._requests.values() if r.epoch == epoch and r.goes_by(node)]:
            request.errors += (message,)
            actions += self._replay(request, now_s)
        return (*actions, *self._send_waiting(now_s))

    def where(self, request: str, attempt: int, stage: str) -> NodeId:
        """The replica of the stage that this attempt, which is under way, goes by; "" if that isn't known."""
        found = self._in_flight(request, attempt)
        return "" if found is None or found.epoch is None else node_on(found.way, self._routes[found.epoch], stage)

    def switch(self, routes: Routes, now_s: float, *, lost: Iterable[NodeId] = ()) -> tuple[Action, ...]:
        """New requests, and those waiting, go to this epoch from now on; those in flight finish where they are.

        Nodes that could not be reached just now are `lost`.
        """
        self._hear_of(routes, lost)
        self._current, self._is_closed = routes.epoch, False
        self._offered = [epoch for epoch in self._offered if epoch != routes.epoch]
        self._end_split(routes.epoch)
        return self._send_waiting(now_s)

    def try_out(self, routes: Routes, split: Split, *, lost: Iterable[NodeId] = ()) -> None:
        """An epoch of a version on trial: first attempts of new requests go there as `split` says, all others do not.

        Nodes that could not be reached just now are `lost`. It ends when the epoch is drained or switched to.
        """
        self._hear_of(routes, lost)
        self._split = split

    def offer(self, routes: Routes, now_s: float, *, lost: Iterable[NodeId] = ()) -> tuple[Action, ...]:
        """An epoch stands by: while the one in use is not healthy, the first of those offered that is takes its place.

        Nodes that could not be reached just now are `lost`. It is taken back by `drain`.
        """
        self._hear_of(routes, lost)
        self._offered = [*(epoch for epoch in self._offered if epoch != routes.epoch), routes.epoch]
        return self._send_waiting(now_s)

    def _hear_of(self, routes: Routes, lost: Iterable[NodeId]) -> None:
        """An epoch not heard of before has just been loaded, so its nodes are well, whatever they were before,
        but for those `lost`.
        """
        if routes.epoch not in self._routes:
            self._lost = [node for node in self._lost if node not in routes.nodes]
            for loss in self._losses():
                loss.settled = loss.settled or loss.node in routes.nodes
        self._lost += [node for node in lost if node not in self._lost]
        self._routes[routes.epoch] = routes
        self._draining = [epoch for epoch in self._draining if epoch != routes.epoch]

    def choices(self) -> list[int]:
        """Healthy epochs that a request could go to: the one in use, then those that stand by."""
        known = () if self._current is None else (self._current, *self._offered)
        if not self._lost and not self._broken and self._replicas.are_whole:
            return list(known)
        return [epoch for epoch in known if self._is_healthy(self._routes[epoch])]

    def learn(self, ways: Mapping[int, Way]) -> None:
        """What a request meets in each of the choices; those left out are not known."""
        self._ways = ways if isinstance(ways, Ways) else Ways(ways)

    def hurry(self, epoch: int, old_s: float, new_s: float, now_s: float) -> tuple[Action, ...]:
        """Requests still in this old epoch are sent anew where that answers them sooner.

        A request takes `old_s` there and `new_s` in the epoch in use, alone and under today's links
        (stragglers.moved). No request is moved more than twice.
        """
        if self._current in (None, epoch) or not self._is_healthy(self._routes[self._current or 0]):
            return ()
        there = sorted((r for r in self._requests.values() if r.epoch == epoch), key=lambda r: r.serial)
        going = moved([now_s - request.sent_s for request in there], old_s, new_s)
        actions: list[Action] = []
        for request in [there[position] for position in going if there[position].moves < MAX_MOVES]:
            request.moves += 1
            actions += self._replay(request, now_s)
        return tuple(actions)

    def drain(self, epoch: int, now_s: float) -> tuple[Action, ...]:
        """The epoch gets no new request; Drained is said when its last one has ended.

        Draining the current epoch closes the deployment: waiting and new requests fail until the next switch.
        """
        actions: list[Action] = []
        if epoch not in self._draining:
            self._draining.append(epoch)
        self._offered = [offered for offered in self._offered if offered != epoch]
        self._end_split(epoch)
        if epoch == self._current:
            self._current, self._is_closed = None, True
            for request in [r for r in self._requests.values() if r.state == "waiting"]:
                actions += self._fail(request, "closed", CLOSED, now_s)
        return (*actions, *self._drained(epoch))

    def cancel(self, request: str, now_s: float) -> tuple[Action, ...]:
        """The caller no longer waits. Unknown requests are ignored: they may just have ended."""
        found = self._requests.get(request)
        return () if found is None else (*recall(found), *self._end(found, "cancel", now_s))

    def tick(self, now_s: float) -> tuple[Action, ...]:
        """Fail every request whose budget is used up, begin anew what was overtaken, send what has paused."""
        actions: list[Action] = []
        for request in [r for r in self._requests.values() if r.deadline_s <= now_s]:
            actions += self._fail(request, "timeout", why_late(request, self._held_up()), now_s)
        for request in [r for r in self._requests.values() if self._is_overtaken(r, now_s)]:
            request.errors += (f"attempt {request.attempt} was overtaken by later ones",)
            request.failures += 1
            actions += self._replay(request, now_s)
        return (*actions, *self._send_waiting(now_s))

    @property
    def next_deadline_s(self) -> float | None:
        """When the next `tick` is due, or None with nothing in hand."""
        return min((self._due_s(request) for request in self._requests.values()), default=None)

    @property
    def in_hand(self) -> int:
        """Requests that have not ended."""
        return len(self._requests)

    def meets(self, node: NodeId) -> bool:
        """Whether a request is with this node's worker now."""
        return any(self._meets(request, node) for request in self._requests.values())

    def _meets(self, request: Request, node: NodeId) -> bool:
        epoch = request.epoch if request.epoch is not None else request.fled
        return epoch in self._routes and node in self._routes[epoch].nodes and request.goes_by(node)

    def _due_s(self, request: Request) -> float:
        pace = None if request.epoch is None else self._paces.get((request.epoch, request.way))
        return request.looked_at_s(None if pace is None else pace.overdue_s())

    def _is_overtaken(self, request: Request, now_s: float) -> bool:
        pace = None if request.epoch is None else self._paces.get((request.epoch, request.way))
        return pace is not None and pace.overtaken(request.serial, now_s - request.sent_s)

    def _in_flight(self, request: str, attempt: int) -> Request | None:
        found = self._requests.get(request)
        return found if found is not None and found.attempt == attempt and found.epoch is not None else None

    def _send(self, request: Request, now_s: float) -> tuple[Action, ...]:
        """Send to the current epoch if it is healthy and the request's turn, else leave the request waiting."""
        routes = self._target(request)
        if routes is None or request.state != "waiting" or not request.is_due(now_s):
            return ()  # one that ended or was sent meanwhile: the end of a suspect lets others go
        if request.losses and is_guilty(request.losses, self._max_losses):
            # Not before: a worker that is found again did not die.
            return self._fail(request, "quarantined", request.why_quarantined(), now_s)
        if self._suspects and not self._is_next(request, now_s):
            return ()
        request.step("send", now_s)
        request.attempt += 1
        self._serial += 1
        request.epoch, request.fled, request.sent_s, request.serial = routes.epoch, None, now_s, self._serial
        request.missing = routes.outputs + request.wish.also
        wanted = request.wish.way if request.wish.epoch == routes.epoch else ()
        request.way = self._replicas.way(routes, self._lost, now_s, wanted) if routes.crews else ()
        self._replicas.sent(routes.epoch, request.way, now_s)
        return (Send(request.name, request.attempt, routes.epoch, request.deadline_s - now_s, request.way),)

    def _target(self, request: Request) -> Routes | None:
        """Of the healthy epochs the one where it is answered first; where that isn't known the one in use, if any.

        For a first attempt it is the epoch on trial, if that was chosen and is healthy.
        """
        if self._current is None:
            return None
        is_on_trial = self._split is not None and request.choice == self._split.epoch
        if is_on_trial and request.attempt == 0 and self._is_healthy(self._routes[request.choice or 0]):
            return self._routes[request.choice or 0]
        if not self._offered:
            routes = self._routes[self._current]
            return routes if self._is_healthy(routes) else None
        if not (choices := self.choices()):
            return None
        if request.wish.epoch in choices:
            choices = [request.wish.epoch]
        if len(self._requests) == 1:  # so nothing is in hand anywhere
            return self._routes[self._ways.soonest_when_idle(choices)]
        return self._routes[soonest(choices, self._ways, self._replicas.there)]

    def _end_split(self, epoch: int) -> None:
        if self._split is not None and self._split.epoch == epoch:
            self._split = None

    def _is_healthy(self, routes: Routes) -> bool:
        if routes.crews:
            return self._replicas.are_enough(routes, self._lost)
        is_met = bool(self._lost) and any(node in self._lost for node in routes.nodes)
        return not is_met and routes.epoch not in self._broken

    def _give_up(self, epoch: int, node: NodeId) -> bool:
        """Send nothing more into the epoch, or to this one of its replicas; False if the epoch was given up before."""
        if self._routes[epoch].crews:
            self._replicas.take_out(epoch, node)
        elif epoch in self._broken:
            return False
        else:
            self._broken.append(epoch)
        return True

    def _held_up(self) -> str:
        is_healthy = self._current is not None and self._is_healthy(self._routes[self._current])
        broken = [epoch for epoch in self._broken if epoch in self._routes]
        return held_up(bool(self._suspects) and is_healthy, broken, self._lost)

    def _is_next(self, request: Request, now_s: float) -> bool:
        """With suspects in hand one request is in flight, a suspect, and nothing beside it."""
        target = self._target(request)
        nodes = () if target is None else target.nodes
        if any(
            self._meets(other, node) for other in self._requests.values() if other.epoch is not None for node in nodes
        ):
            return False
        ready = [suspect for suspect in self._suspects if suspect.epoch is None and suspect.is_due(now_s)]
        return bool(ready) and request is min(ready, key=lambda suspect: alone(suspect.losses))

    def _losses(self) -> list[Loss]:
        return [loss for request in self._requests.values() for loss in request.losses]

    def _look_for_suspects(self) -> None:
        self._suspects = [request for request in self._requests.values() if is_suspect(request.losses)]

    def _send_waiting(self, now_s: float) -> tuple[Action, ...]:
        actions: list[Action] = []
        for request in [r for r in self._requests.values() if r.state == "waiting"]:
            actions += self._send(request, now_s)
        return tuple(actions)

    def _blame(self, met: list[Request], node: NodeId, message: str, now_s: float, others: bool) -> tuple[Action, ...]:
        """Note who was there when a worker was lost, and begin their attempts anew.

        Who has a replica to itself while others are with its like is as little to blame as any of them.
        """
        was_alone = len(met) == 1 and not others
        was_alone = was_alone and not any(one.way and one is not met[0] for one in self._requests.values())
        for request in met:
            request.losses += (Loss(node, was_alone),)
            request.errors += (message,)
            request.fled = None
        self._look_for_suspects()
        actions: list[Action] = []
        for request in [each for each in met if each.epoch is not None and each.goes_by(node)]:
            actions += self._replay(request, now_s)
        return (*actions, *self._send_waiting(now_s))

    def _bad_output(self, request: Request, where: Where, now_s: float) -> tuple[Action, ...]:
        request.bad += (where,)
        if not is_inputs_fault(request.bad):
            return self._replay(request, now_s)
        error = f"{request.errors[-1]}; {len(request.bad)} attempts ended so, which its inputs must be the cause of"
        if not self._streaks.ended_badly(where):
            return self._fail(request, "input", error, now_s)
        epoch, stage, node = where
        why = f"stage {stage} fails request after request: {error}"
        suspect = Suspect(epoch=epoch, stage=stage, error=why, node=node)
        return (suspect, *self._fail(request, "input", error, now_s))

    def _replay(self, request: Request, now_s: float) -> tuple[Action, ...]:
        if request.failures >= self._max_attempts:
            error = f"failed {request.failures} times, the last time: {request.errors[-1]}"
            return self._fail(request, "worker", error, now_s)
        left, recalled = request.epoch, recall(request)
        if left is not None:
            request.step("wait", now_s)
            self._replicas.left(left, request.way, request.sent_s, now_s, answered=False)
        request.epoch, request.way = None, ()
        return (*recalled, *self._send(request, now_s), *self._drained(left))

    def _deliver(self, request: Request, now_s: float) -> tuple[Action, ...]:
        assert request.epoch is not None, f"{request.name} is delivered from no epoch"
        lane = (request.epoch, request.way)
        if (pace := self._paces.get(lane)) is None:
            pace = self._paces[lane] = Pace()
        pace.answered(request.serial, now_s - request.sent_s)
        self._streaks.answered(request.epoch)
        suspects = contradicted(request.bad, request.errors[-1]) if request.bad else ()
        delivery = Deliver(request.name, request.attempt, request.epoch)
        return (delivery, *suspects, *self._end(request, "deliver", now_s))

    def _fail(self, request: Request, kind: str, error: str, now_s: float) -> tuple[Action, ...]:
        told = f"request {request.name}: {error}"
        failure = FailRequest(request.name, kind, told, alone(request.losses) if request.losses else 0)
        return (*recall(request), failure, *self._end(request, "fail", now_s))

    def _end(self, request: Request, verb: str, now_s: float) -> tuple[Action, ...]:
        request.step(verb, now_s)
        if request.epoch is not None:
            is_answered = verb == "deliver"
            self._replicas.left(request.epoch, request.way, request.sent_s, now_s, answered=is_answered)
        del self._requests[request.name]
        released: tuple[Action, ...] = (Release(request.name),)
        if self._draining:
            released += self._drained(request.epoch)
        if self._suspects:
            self._suspects = [suspect for suspect in self._suspects if suspect is not request]
            released += self._send_waiting(now_s)
        return released

    def _drained(self, epoch: int | None) -> tuple[Action, ...]:
        """Drained, if the epoch is being drained and this was its last request."""
        if epoch is None or epoch not in self._draining or self._replicas.there.get(epoch):
            return ()
        self._draining.remove(epoch)
        self._broken = [broken for broken in self._broken if broken != epoch]
        self._routes.pop(epoch, None)
        self._paces = {lane: pace for lane, pace in self._paces.items() if lane[0] != epoch}
        self._replicas.forget(epoch)
        self._streaks.answered(epoch)
        return (Drained(epoch=epoch),)
