"""The routing core: the life of each request, from submit to delivered or failed.

Sans-IO: no sockets, no clock; it sees names and numbers, never tensors. A request's attempt lives in
exactly one epoch, and outputs of two attempts are never mixed. Requests that find no healthy epoch wait
for one within their budget. What is late, told twice or of a forgotten request is ignored.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.actions import Action, Cancel, Deliver, Drained, FailRequest, Release, Send
from orchestrator.errors import IllegalTransition
from orchestrator.states import Story
from partitioner.topology import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What routing needs to know of an epoch: the nodes a request meets and the outputs that make it complete."""

    epoch: int
    nodes: tuple[NodeId, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class _Request:
    name: str
    submitted_s: float
    deadline_s: float
    story: Story
    attempt: int = 0
    epoch: int | None = None  # of the attempt in flight
    losses: int = 0
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # outputs of this attempt still to come


class Routing:
    """All requests of one deployment at one router. Every method returns what to do, in order.

    A request is sent `max_attempts` times at most, and no more once `max_losses` workers died with it.
    """

    def __init__(self, *, max_attempts: int = 4, max_losses: int = 2) -> None:
        self._max_attempts = max_attempts
        self._max_losses = max_losses
        self._requests: dict[str, _Request] = {}
        self._routes: dict[int, Routes] = {}
        self._current: int | None = None
        self._draining: list[int] = []
        self._lost: list[NodeId] = []
        self._broken: list[int] = []
        self._is_closed = False

    def submit(self, request: str, now_s: float, budget_s: float) -> tuple[Action, ...]:
        """Take in a new request that must be answered within `budget_s`. IllegalTransition for a name in use."""
        if request in self._requests:
            story = self._requests[request].story
            raise IllegalTransition(f"request {request}", story.state, "submit", story.told())
        story = Story("request", request, "waiting")
        taken = _Request(request, now_s, now_s + budget_s, story)
        self._requests[request] = taken
        if self._is_closed:
            return tuple(self._fail(taken, "closed", "the deployment is being deleted; deploy it again", now_s))
        return tuple(self._send(taken, now_s))

    def answer(self, request: str, attempt: int, outputs: Iterable[str], now_s: float) -> tuple[Action, ...]:
        """Outputs have come from a stage. The request is delivered when all of its epoch's outputs are there."""
        found = self._in_flight(request, attempt)
        if found is None:
            return ()
        came = tuple(outputs)
        found.missing = [name for name in found.missing if name not in came]
        return () if found.missing else tuple(self._deliver(found, now_s))

    def error(
        self, request: str, attempt: int, message: str, now_s: float, *, caller_fault: bool = False
    ) -> tuple[Action, ...]:
        """A stage or a stream reports a failure: the caller's own fault fails at once, else it is sent again."""
        found = self._in_flight(request, attempt)
        if found is None:
            return ()
        found.errors.append(message)
        return tuple(self._fail(found, "caller", message, now_s) if caller_fault else self._replay(found, now_s))

    def worker_lost(self, node: NodeId, now_s: float) -> tuple[Action, ...]:
        """A node's worker is gone: what its epochs had in flight is sent again, as soon as an epoch without it is."""
        if node not in self._lost:
            self._lost.append(node)
        actions: list[Action] = []
        for request in list(self._requests.values()):
            if request.epoch is not None and node in self._routes[request.epoch].nodes:
                request.losses += 1
                request.errors.append(f"the worker on {node} was lost")
                actions += self._replay(request, now_s)
        return tuple(actions)

    def worker_found(self, node: NodeId, now_s: float) -> tuple[Action, ...]:
        """The lost worker answers again, the same process with its stages still loaded; waiting requests go out."""
        self._lost = [lost for lost in self._lost if lost != node]
        return tuple(self._send_waiting(now_s))

    def epoch_lost(self, epoch: int, message: str, now_s: float) -> tuple[Action, ...]:
        """A worker says that it does not have this epoch (it was restarted, say); its requests wait for another."""
        if epoch not in self._broken and epoch in self._routes:
            self._broken.append(epoch)
        actions: list[Action] = []
        for request in [r for r in self._requests.values() if r.epoch == epoch]:
            request.errors.append(message)
            actions += self._replay(request, now_s)
        return tuple(actions)

    def switch(self, routes: Routes, now_s: float, *, lost: Iterable[NodeId] = ()) -> tuple[Action, ...]:
        """New requests, and those waiting, go to this epoch from now on; those in flight finish where they are.

        An epoch not heard of before has just been loaded, so its nodes are well, whatever they were before,
        but for those `lost` that could not be reached just now.
        """
        if routes.epoch not in self._routes:
            self._lost = [node for node in self._lost if node not in routes.nodes]
        self._lost += [node for node in lost if node not in self._lost]
        self._routes[routes.epoch] = routes
        self._current, self._is_closed = routes.epoch, False
        self._draining = [epoch for epoch in self._draining if epoch != routes.epoch]
        return tuple(self._send_waiting(now_s))

    def drain(self, epoch: int, now_s: float) -> tuple[Action, ...]:
        """The epoch gets no new request; Drained is said when its last one has ended.

        Draining the current epoch closes the deployment: waiting and new requests fail until the next switch.
        """
        actions: list[Action] = []
        if epoch not in self._draining:
            self._draining.append(epoch)
        if epoch == self._current:
            self._current, self._is_closed = None, True
            for request in [r for r in self._requests.values() if r.story.state == "waiting"]:
                actions += self._fail(request, "closed", "the deployment is being deleted; deploy it again", now_s)
        return (*actions, *self._drained(epoch))

    def cancel(self, request: str, now_s: float) -> tuple[Action, ...]:
        """The caller no longer waits. Unknown requests are ignored: they may just have ended."""
        found = self._requests.get(request)
        if found is None:
            return ()
        recalled = list(_recall(found))
        return (*recalled, *self._end(found, "cancel", now_s))

    def tick(self, now_s: float) -> tuple[Action, ...]:
        """Fail every request whose budget is used up."""
        actions: list[Action] = []
        for request in [r for r in self._requests.values() if r.deadline_s <= now_s]:
            actions += self._fail(request, "timeout", _why_late(request), now_s)
        return tuple(actions)

    @property
    def next_deadline_s(self) -> float | None:
        """When the next `tick` is due, or None with nothing in hand."""
        return min((request.deadline_s for request in self._requests.values()), default=None)

    @property
    def in_hand(self) -> int:
        """Requests that have not ended."""
        return len(self._requests)

    def _in_flight(self, request: str, attempt: int) -> _Request | None:
        found = self._requests.get(request)
        return found if found is not None and found.attempt == attempt and found.epoch is not None else None

    def _send(self, request: _Request, now_s: float) -> Iterator[Action]:
        """Send to the current epoch if it is healthy, else leave the request waiting."""
        routes = None if self._current is None else self._routes[self._current]
        if routes is None or not self._is_healthy(routes):
            return
        request.story.step("send", now_s)
        request.attempt += 1
        request.epoch = routes.epoch
        request.missing = list(routes.outputs)
        budget_s = request.deadline_s - now_s
        yield Send(request=request.name, attempt=request.attempt, epoch=routes.epoch, budget_s=budget_s)

    def _is_healthy(self, routes: Routes) -> bool:
        return routes.epoch not in self._broken and not any(node in self._lost for node in routes.nodes)

    def _send_waiting(self, now_s: float) -> Iterator[Action]:
        for request in [r for r in self._requests.values() if r.story.state == "waiting"]:
            yield from self._send(request, now_s)

    def _replay(self, request: _Request, now_s: float) -> Iterator[Action]:
        if request.losses >= self._max_losses:
            error = f"{request.losses} workers were lost with it ({'; '.join(request.errors)}); it is not sent again"
            yield from self._fail(request, "quarantined", error, now_s)
        elif request.attempt >= self._max_attempts:
            error = f"failed {request.attempt} times, the last time: {request.errors[-1]}"
            yield from self._fail(request, "worker", error, now_s)
        else:
            left = request.epoch
            yield from _recall(request)
            request.story.step("wait", now_s)
            request.epoch = None
            yield from self._send(request, now_s)
            yield from self._drained(left)

    def _deliver(self, request: _Request, now_s: float) -> Iterator[Action]:
        assert request.epoch is not None, f"{request.name} is delivered from no epoch"
        yield Deliver(request=request.name, attempt=request.attempt, epoch=request.epoch)
        yield from self._end(request, "deliver", now_s)

    def _fail(self, request: _Request, kind: str, error: str, now_s: float) -> Iterator[Action]:
        yield from _recall(request)
        yield FailRequest(request=request.name, kind=kind, error=f"request {request.name}: {error}")
        yield from self._end(request, "fail", now_s)

    def _end(self, request: _Request, verb: str, now_s: float) -> Iterator[Action]:
        request.story.step(verb, now_s)
        del self._requests[request.name]
        yield Release(request=request.name)
        yield from self._drained(request.epoch)

    def _drained(self, epoch: int | None) -> Iterator[Action]:
        """Drained, if the epoch is being drained and this was its last request."""
        if epoch in self._draining and all(request.epoch != epoch for request in self._requests.values()):
            self._draining.remove(epoch)
            self._broken = [broken for broken in self._broken if broken != epoch]
            self._routes.pop(epoch, None)
            yield Drained(epoch=epoch)


def _recall(request: _Request) -> Iterator[Action]:
    if request.epoch is not None:
        yield Cancel(request=request.name, attempt=request.attempt, epoch=request.epoch)


def _why_late(request: _Request) -> str:
    budget_s = request.deadline_s - request.submitted_s
    what = f"no answer within {budget_s:.3g} s"
    if request.epoch is None:
        what += ", no healthy epoch to send it to"
    else:
        what += f", attempt {request.attempt} is in epoch {request.epoch}"
        what += f" without {', '.join(request.missing)}"
    return what if not request.errors else f"{what}; before: {request.errors[-1]}"
