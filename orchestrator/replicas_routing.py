"""Which replica of each stage a request goes to: what a router has with each, what each has taken, which are out.

Part of the routing core, so without clock or socket. What a replica takes begins as the plan has it and is learned from
answers: what came back after the one before it tells what each request takes there, what was sent to an idle replica
how long the way is. Both are forgotten in some seconds, so that a replica that was slow once is tried again. Workers
know nothing of this: a request carries its way along. Whether a request is sent at all is routing.py's to say.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import exp, inf

from partitioner.topology import NodeId
from policies.routing import Way, soonest_way

LEARNING = 0.25  # of each new figure in the mean
FORGET_S = 5.0  # after so long without an answer, a third is left of what was learned of a replica
SHUN_S = 1.0  # how long a replica that has just failed a request is used only where no other is
LEAST_S = 1e-4  # what a stage takes at least where nobody has measured it


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The nodes that share a stage, and what it is planned to take on each."""

    stage: str
    nodes: tuple[NodeId, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What routing needs to know of an epoch: the nodes a request may meet and the outputs that make it complete.

    `crews`: every stage in order with its nodes, if any has replicas; a request then meets one node of each.
    """

    epoch: int
    nodes: tuple[NodeId, ...]
    outputs: tuple[str, ...]
    crews: tuple[Crew, ...] = ()


@dataclass(slots=True)
class _Mean:
    """A forgetting mean."""

    value: float = 0.0
    at_s: float = -inf

    def add(self, value: float, now_s: float) -> None:
        fresh = self.at_s == -inf
        self.value = value if fresh else self.value + LEARNING * (value - self.value)
        self.at_s = now_s

    def at(self, now_s: float, before: float) -> float:
        """What is left of it, on the way back to what was believed `before`."""
        return before + (self.value - before) * exp((self.at_s - now_s) / FORGET_S)


@dataclass(slots=True)
class _Replica:
    """One node's part in one stage of one epoch."""

    in_hand: int = 0
    busy_s: float = -inf  # since when something is in hand
    answered_s: float = -inf
    shunned_s: float = -inf  # until then
    each: _Mean = field(default_factory=_Mean)
    alone: _Mean = field(default_factory=_Mean)

    def way(self, name: str, planned_s: float, now_s: float) -> Way:
        """What the policy is to know of it."""
        each_s = self.each.at(now_s, max(planned_s, LEAST_S))
        link_s = max(self.alone.at(now_s, each_s) - each_s, 0.0)
        silent_s = now_s - max(self.busy_s, self.answered_s) if self.in_hand else 0.0
        return Way(name=name, in_hand=self.in_hand, batch_s=(each_s,), link_s=link_s, silent_s=silent_s)


class Replicas:
    """What a router knows of the replicas of all epochs of one deployment; `there` counts what is under way in each."""

    def __init__(self) -> None:
        self.there: defaultdict[int, int] = defaultdict(int)
        self._known: dict[tuple[int, int, NodeId], _Replica] = {}  # epoch, number of the stage, node
        self._out: list[tuple[int, NodeId]] = []

    @property
    def are_whole(self) -> bool:
        """Whether no node has been taken out of any epoch."""
        return not self._out

    def are_enough(self, routes: Routes, lost: Collection[NodeId]) -> bool:
        """Whether each stage has a node left."""
        return all([self._able(routes.epoch, crew, lost) for crew in routes.crews])

    def way(
        self, routes: Routes, lost: Collection[NodeId], now_s: float, wanted: Sequence[NodeId] = ()
    ) -> tuple[NodeId, ...]:
        """The node of each stage where one more request is predicted to be through first; () without replicas.

        A node that is `wanted` for a stage is taken if it is able. Of a stage whose nodes have all failed just now any
        may be taken. ValueError if none is left.
        """
        if not wanted:
            wanted = ("",) * len(routes.crews)
        crews = enumerate(zip(routes.crews, wanted, strict=True))
        return tuple([self._choice(routes.epoch, place, crew, lost, now_s, to) for place, (crew, to) in crews])

    def _choice(
        self, epoch: int, place: int, crew: Crew, lost: Collection[NodeId], now_s: float, wanted: NodeId
    ) -> NodeId:
        able = self._able(epoch, crew, lost)
        if len(able) == 1:
            return able[0]
        if wanted in able:
            return wanted
        known = [(node, self._replica(epoch, place, node)) for node in able]
        trusted = [each for each in known if each[1].shunned_s <= now_s] or known
        return soonest_way(ways=[replica.way(node, crew.seconds, now_s) for node, replica in trusted]).name

    def sent(self, epoch: int, way: tuple[NodeId, ...], now_s: float) -> None:
        """A request goes this way."""
        self.there[epoch] += 1
        for replica in self._along(epoch, way) if way else ():
            replica.busy_s = replica.busy_s if replica.in_hand else now_s
            replica.in_hand += 1

    def left(self, epoch: int, way: tuple[NodeId, ...], sent_s: float, now_s: float, *, answered: bool) -> None:
        """A request that was sent this way at `sent_s` is under way there no more."""
        self.there[epoch] -= 1
        for replica in self._along(epoch, way) if way else ():
            replica.in_hand -= 1
            if not answered:
                continue
            if sent_s >= replica.answered_s:
                replica.alone.add(now_s - sent_s, now_s)
            else:
                replica.each.add(now_s - replica.answered_s, now_s)
            replica.answered_s = now_s

    def shun(self, routes: Routes, stage: str, node: NodeId, lost: Collection[NodeId], now_s: float) -> bool:
        """A request of this stage failed on this node; whether another node may take it at once."""
        for place, crew in enumerate(routes.crews):
            if crew.stage == stage and node in crew.nodes:
                self._replica(routes.epoch, place, node).shunned_s = now_s + SHUN_S
                others = [one for one in self._able(routes.epoch, crew, lost) if one != node]
                return any(self._replica(routes.epoch, place, one).shunned_s <= now_s for one in others)
        return False

    def take_out(self, epoch: int, node: NodeId) -> None:
        """The node holds nothing of the epoch any more: it gets none of its requests, ever."""
        if (epoch, node) not in self._out:
            self._out.append((epoch, node))

    def forget(self, epoch: int) -> None:
        """The epoch is gone."""
        self.there.pop(epoch, None)
        self._known = {key: replica for key, replica in self._known.items() if key[0] != epoch}
        self._out = [out for out in self._out if out[0] != epoch]

    def _able(self, epoch: int, crew: Crew, lost: Collection[NodeId]) -> Sequence[NodeId]:
        """The nodes of a stage that are neither lost nor out."""
        if not lost and not self._out:
            return crew.nodes
        return [node for node in crew.nodes if node not in lost and (epoch, node) not in self._out]

    def _replica(self, epoch: int, place: int, node: NodeId) -> _Replica:
        key = (epoch, place, node)
        if (replica := self._known.get(key)) is None:
            replica = self._known[key] = _Replica()
        return replica

    def _along(self, epoch: int, way: tuple[NodeId, ...]) -> list[_Replica]:
        return [self._replica(epoch, place, node) for place, node in enumerate(way)]


def node_on(way: tuple[NodeId, ...], routes: Routes, stage: str) -> NodeId:
    """Where a request that goes this way meets the stage; "" if it goes no such way."""
    return next((node for node, crew in zip(way, routes.crews, strict=False) if crew.stage == stage), "")
