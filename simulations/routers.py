"""Users' routers: the live routing core for each user, and what it wants done in simulated time.

Each user routes its own requests, as a live client does, so that nobody is overtaken by somebody else's. A gateway
tells all users of a cell what the deployment's controller tells routers; a user who is handed over to another cell
switches to that cell's deployment, while what it has in hand goes on where it is. As live, nothing is looked at more
often than TICK_S (budgets that end, attempts that were overtaken, pauses that are over).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import exp, log

from orchestrator.actions import Action, Cancel, Deliver, FailRequest, Release, Send
from orchestrator.detour import Pace, Ways, way
from orchestrator.links_seen import LinkEstimate
from orchestrator.routing import Routing
from orchestrator.worker_faults import FULL
from partitioner.plan import Plan
from partitioner.topology import NodeId
from simulations.requests import Attempt, Fabric
from simulations.scenario import Group
from simulations.ways import Service, Way, way_of

TICK_S = 0.05
AGAIN_S = 0.5  # between two looks at a user who waits, as what its core knows of delays may have changed
LOOK_S = 1.0  # an attempt is not overdue before (stragglers.LEAST_S)
EPOCHS = 1_000_000  # numbers of one deployment's epochs
ERROR_S = 0.01  # until a worker's word comes back that it lacks an epoch
KEPT = 512  # rates for which it is known what requests meet
LEAST_S = 1e-12  # a byte, on the best of links
SAME, SAME_S = 0.05, 5e-4  # of a link's seconds a byte, and of its delay: less changes nothing
FINE, COARSE = 10, 2  # rates that differ by less than a part of so many steer alike: much goes up, little comes down


Rates = tuple[float, float]  # of the radio, up and down, bits/s


class Request:
    """One request in hand, and what its outcome will be told of."""

    __slots__ = ("attempt", "began_s", "budget_s", "deadline_s", "epoch", "is_over", "name", "tries", "user")

    def __init__(self, name: str, user: "User", began_s: float, deadline_s: float, budget_s: float) -> None:
        self.name, self.user, self.began_s, self.deadline_s, self.budget_s = name, user, began_s, deadline_s, budget_s
        self.attempt: Attempt | None = None
        self.is_over, self.epoch, self.tries = False, 0, 0


class User:
    """One user: its routing core, and what it has in hand by name."""

    __slots__ = ("core", "device", "group", "in_hand", "is_watched", "known", "learned", "number", "post", "priority")

    def __init__(self, number: int, group: int, like: Group) -> None:
        self.number, self.group, self.device, self.priority = number, group, like.device, like.priority
        self.core = Routing()
        self.in_hand: dict[str, Request] = {}
        self.post: Post | None = None
        self.known: dict[int, Post] = {}  # epochs it was told of
        self.learned: object = None
        self.is_watched = False


class Post:
    """The gateway of one deployment: its users, the epoch that they use and those that stand by."""

    def __init__(self, name: str, index: int, outputs: tuple[str, ...], service: Service, routers: "Routers") -> None:
        self.name, self._first, self._outputs, self._routers = name, index * EPOCHS, outputs, routers
        self._service = service
        self.users: dict[int, User] = {}
        self.current: int | None = None
        self.offered: dict[int, None] = {}
        self.ways: dict[int, Way] = {}
        self.paces: dict[int, Pace | None] = {}
        self.in_flight: dict[int, int] = {}
        self.gone: dict[int, None] = {}  # unloaded, whatever users were told
        self._draining: dict[int, Callable[[], None]] = {}
        self._lost: dict[NodeId, None] = {}
        self._wires: dict[tuple[str, str], tuple[float, LinkEstimate]] = {}  # seconds a byte of all but the radio
        self._share: Rates = (1.0, 1.0)
        self._met: dict[tuple[int, int], Ways] = {}  # by rates; as long as all else stays what it is

    def join(self, user: User) -> None:
        """A user is here now, and was elsewhere or nowhere before."""
        now_s, before = self._routers.now_s, user.post
        user.post = self
        self.users[user.number] = user
        if self.current is not None:
            self._switch(user, now_s)
            for number in self.offered:
                self._tell(user, user.core.offer(self.ways[number].routes, now_s))
        for node in self._lost:
            self._tell(user, user.core.worker_lost(node, now_s, others=True))
        if before is not None:
            del before.users[user.number]
            for number in [number for number, post in user.known.items() if post is before]:
                del user.known[number]
                self._tell(user, user.core.drain(number, now_s))

    def switch(self, epoch: int, plan: Plan, pace: Pace | None, leaves: int | None, gain: tuple[float, float]) -> None:
        """As shell.Gateway."""
        number = self._hear_of(epoch, plan, pace)
        self.current = number
        self.offered.pop(number, None)
        now_s = self._routers.now_s
        for user in list(self.users.values()):
            self._switch(user, now_s)
            if leaves is not None and user.in_hand and gain[1] < gain[0]:
                self._tell(user, user.core.hurry(self._first + leaves, gain[0], gain[1], now_s))

    def _switch(self, user: User, now_s: float) -> None:
        assert self.current is not None
        user.known[self.current] = self
        user.learned = None
        self._tell(user, user.core.switch(self.ways[self.current].routes, now_s, lost=self._lost))

    def offer(self, epoch: int, plan: Plan, pace: Pace | None) -> None:
        """As shell.Gateway."""
        number = self._hear_of(epoch, plan, pace)
        self.offered[number] = None
        now_s = self._routers.now_s
        for user in self.users.values():
            user.known[number] = self
            user.learned = None
            self._tell(user, user.core.offer(self.ways[number].routes, now_s, lost=self._lost))

    def _hear_of(self, epoch: int, plan: Plan, pace: Pace | None) -> int:
        number = self._first + epoch
        if number not in self.ways:
            self.ways[number] = way_of(plan, number, self._outputs, self._service)
            self.in_flight[number] = 0
        self.paces[number] = pace
        self._draining.pop(number, None)
        self._met.clear()
        return number

    def drain(self, epoch: int, drained: Callable[[], None]) -> None:
        """As shell.Gateway."""
        number, now_s = self._first + epoch, self._routers.now_s
        self.offered.pop(number, None)
        self._draining[number] = drained
        for user in [user for user in self._routers.users if number in user.known]:
            del user.known[number]
            self._tell(user, user.core.drain(number, now_s))
        self.left(number, 0)

    def drop(self, epoch: int) -> None:
        """As shell.Gateway."""
        number = self._first + epoch
        self.gone[number] = None
        self.offered.pop(number, None)
        for machine in self._routers.fabric.machines.values():
            machine.forget(number)

    def renew(self, epoch: int, pace: Pace | None) -> None:
        """As shell.Gateway."""
        number = self._first + epoch
        if number not in self.ways:
            return
        before, self.paces[number] = self.paces[number], pace
        if before is None or pace is None or (before.form, before.stage_s) != (pace.form, pace.stage_s):
            self._met.clear()

    def lose(self, node: NodeId) -> None:
        """A machine is gone, or cut off: streams to it are dead, and every router here notices."""
        self._lost[node] = None
        for user in list(self.users.values()):
            self._tell(user, user.core.worker_lost(node, self._routers.now_s, others=True))

    def find(self, node: NodeId) -> None:
        """It can be reached again; whether it still has anything loaded, its controller says."""
        del self._lost[node]

    def left(self, number: int, less: int = 1) -> None:
        """An attempt is in this epoch no more."""
        self.in_flight[number] -= less
        if number in self._draining and not self.in_flight[number]:
            self._draining.pop(number)()

    def sees(self, links: Iterable[LinkEstimate], device: NodeId, rates: Rates, alone: Rates) -> bool:
        """All links are so now that the radio gives users here these `rates`, where it would give `alone` to one.

        Whether anything but the radio has changed.
        """
        are_new = False
        self._share = (rates[0] / alone[0], rates[1] / alone[1])
        for link in links:
            own = 8 / rates[0] if link.source == device else 8 / rates[1] if link.target == device else 0.0
            beyond = max(1 / link.bytes_per_s - own, 0.0)
            before = self._wires.get(link.ends)
            if (
                before is None
                or abs(beyond - before[0]) * link.bytes_per_s > SAME
                or abs(link.propagation_s - before[1].propagation_s) > SAME_S
            ):
                self._wires[link.ends] = beyond, link
                are_new = True
        if are_new:
            self._met.clear()
        return are_new

    def steer(self, user: User, alone: Rates) -> None:
        """Have the user's next request go where it is answered first, by what its own radio gives it alone."""
        if not self.offered:
            return
        up, down = alone[0] * self._share[0], alone[1] * self._share[1]
        key = (int(log(up) * FINE) if up > 1 else 0, int(log(down) * COARSE) if down > 1 else 0)
        ways = self._met.get(key)
        if ways is None:
            if len(self._met) >= KEPT:
                self._met.clear()
            rates = exp((key[0] + 0.5) / FINE), exp((key[1] + 0.5) / COARSE)
            ways = self._met[key] = self._ways_at(user.device, rates)
        if ways is not user.learned:
            user.learned = ways
            user.core.learn(ways)

    def _ways_at(self, device: NodeId, rates: Rates) -> Ways:
        """What a request meets in each epoch, for a user whose radio gives so much, up and down."""
        mine = {}
        for ends, (beyond, link) in self._wires.items():
            own = 8 / rates[0] if link.source == device else 8 / rates[1] if link.target == device else 0.0
            mine[ends] = replace(link, bytes_per_s=1 / max(beyond + own, LEAST_S))
        found = {
            number: way(number, self.paces.get(number), mine) for number in (self.current, *self.offered) if number
        }
        return Ways({number: one for number, one in found.items() if one is not None})

    def _tell(self, user: User, actions: tuple[Action, ...]) -> None:
        self._routers.carry_out(user, actions)


class Routers:
    """All users' routers over one fabric. `on_end(request, kind)` hears of each request's end ("" for an answer)."""

    def __init__(self, fabric: Fabric, users: list[User], on_end: Callable[[Request, str], None]) -> None:
        self.fabric, self.users, self._on_end = fabric, users, on_end
        self.posts: list[Post] = []
        self._number = 0
        self._young: dict[float, deque[tuple[float, Request]]] = {}  # by how long they are left alone
        for machine in fabric.machines.values():
            machine.served, machine.refused = fabric.served, self._overtaken
        fabric.engine.after(TICK_S, self._tick)

    @property
    def now_s(self) -> float:
        """Simulated time."""
        return self.fabric.engine.now_s

    def ask(self, user: User, deadline_s: float, budget_s: float) -> None:
        """A user asks."""
        self._number += 1
        now_s = self.fabric.engine.now_s
        request = Request(str(self._number), user, now_s, deadline_s, budget_s)
        user.in_hand[request.name] = request
        post = user.post
        if post is not None and post.offered:
            alone = self.fabric.air.alone
            post.steer(user, (alone["up"][user.number], alone["down"][user.number]))
        self.carry_out(user, user.core.submit(request.name, now_s, budget_s))
        if not request.is_over:
            self._watch(request, min(budget_s, LOOK_S))

    def _watch(self, request: Request, span_s: float) -> None:
        """Have a look at its user after that time, if it is still there then."""
        waiting = self._young.get(span_s)
        if waiting is None:
            waiting = self._young[span_s] = deque()
        waiting.append((self.fabric.engine.now_s + span_s, request))

    def _tick(self) -> None:
        now_s = self.fabric.engine.now_s
        for waiting in list(self._young.values()):
            while waiting and waiting[0][0] <= now_s:
                _, request = waiting.popleft()
                if not request.is_over and not request.user.is_watched:
                    self._look_after(request.user)
        self.fabric.engine.after(TICK_S, self._tick)

    def _look_after(self, user: User) -> None:
        """As long as it has something in hand: let its core do what is due."""
        now_s, core = self.fabric.engine.now_s, user.core
        due_s = core.next_deadline_s
        if due_s is not None and due_s <= now_s:
            self.carry_out(user, core.tick(now_s))
            due_s = core.next_deadline_s
        user.is_watched = due_s is not None
        if due_s is not None:
            self.fabric.engine.at(min(max(due_s, now_s + TICK_S), now_s + AGAIN_S), self._look_after, user)

    def carry_out(self, user: User, actions: tuple[Action, ...]) -> None:
        """Do what a routing core wants done."""
        for action in actions:
            if type(action) is Release:
                continue
            if type(action) is Send:
                self._send(user, action)
            elif type(action) is Deliver:
                self._end(user.in_hand[action.request], "")
            elif type(action) is Cancel:
                self._recall(user.in_hand[action.request])
            elif type(action) is FailRequest:
                self._end(user.in_hand[action.request], action.kind)

    def _send(self, user: User, send: Send) -> None:
        request = user.in_hand[send.request]
        post = self.posts[send.epoch // EPOCHS]
        post.in_flight[send.epoch] += 1
        request.epoch, request.tries = send.epoch, send.attempt
        way = post.ways[send.epoch]
        request.attempt = Attempt(
            self, send.attempt, user.number, user.device, way, send.way, send.budget_s, user.priority
        )
        request.attempt.request = request
        if send.epoch in post.gone:
            self.fabric.engine.after(ERROR_S, self._unknown, user, send.epoch)
        else:
            self.fabric.begin(request.attempt)

    def _unknown(self, user: User, epoch: int) -> None:
        """A worker says that it has no such epoch."""
        self.carry_out(user, user.core.epoch_lost(epoch, f"epoch {epoch} is not there any more", self.now_s))

    def _recall(self, request: Request) -> None:
        if request.attempt is not None:
            self.fabric.withdraw(request.attempt)
            request.attempt = None
            self.posts[request.epoch // EPOCHS].left(request.epoch)

    def _end(self, request: Request, kind: str) -> None:
        request.is_over = True
        del request.user.in_hand[request.name]
        self._on_end(request, kind)
        request.attempt = None  # which knows its request: no cycle is left for the collector
        if not kind:
            self.posts[request.epoch // EPOCHS].left(request.epoch)

    def came_back(self, attempt: Attempt) -> None:
        """All of an attempt's outputs are at its user."""
        request: Request = attempt.request
        user = request.user
        outputs = attempt.way.routes.outputs
        self.carry_out(user, user.core.answer(request.name, attempt.number, outputs, self.fabric.engine.now_s))

    def refused(self, attempt: Attempt, node: NodeId, stage: str) -> None:
        """A machine's queue is full."""
        request: Request = attempt.request
        said = request.user.core.error(
            request.name, attempt.number, f"{node}: queue full", self.now_s, kind=FULL, stage=stage
        )
        self.carry_out(request.user, said)
        if not request.is_over:
            self._watch(request, TICK_S)

    def _overtaken(self, work: object) -> None:
        """Its budget ended while it waited: the core's own tick tells the user."""
        work.attempt.under_way = None  # type: ignore[attr-defined]

    def lost(self, attempt: Attempt, node: NodeId) -> None:
        """An attempt met a machine that is gone, or that no way leads to."""
        request: Request = attempt.request
        said = request.user.core.unsent(request.name, attempt.number, node, f"{node} cannot be reached", self.now_s)
        self.carry_out(request.user, said)
